"""A machine of its own for Docker: namespaces whose first program keeps a dockerd running.

That program does for dockerd what systemd does for it on a server, and what Docker keeps outside of
its data lies in memory, as /run does. So killing that one program is a power cut for the daemon,
its helpers and all containers at once, and leaves no process and no mount behind. The daemon makes
neither bridges nor firewall rules: containers use the network of the host.

This does not know what is tested: `run` does.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support import check, descendants, wait_until

PATIENCE = 60  # the daemon is there after 1 to 2 s on an idle machine
NEEDED = ["unshare", "dockerd", "docker", "containerd", "runc"]
CGROUPS = Path("/sys/fs/cgroup")
FOLDERS = [Path("/etc/docker"), Path("/run/docker")]
INIT = f"""
for folder in {' '.join(map(str, FOLDERS))}; do
    mount -t tmpfs tmpfs "$folder"
done
while :; do
    dockerd "$@" &
    wait "$!" || sleep 0.2
done
"""


def skip(why):
    """Ends the test where it cannot be run; where all has to be run, that is a failure."""
    check(not os.environ.get("REKINDLE_REQUIRE_ALL"), why)
    print(f"skipped: {why}", flush=True)
    sys.exit(0)


class Machine:
    """It is off to begin with; on leaving it is switched off, and what it left is removed."""

    def __init__(self, scratch):
        if os.geteuid() != 0:
            skip("only root can run dockerd")
        missing = [tool for tool in NEEDED if not shutil.which(tool)]
        if missing:
            skip(f"not installed: {', '.join(missing)} (Debian: apt-get install docker.io)")
        self.log = scratch / "dockerd.log"
        self.cgroup = f"rekindle-test-{os.getpid()}"
        host = f"unix://{scratch}/docker.sock"
        self.command = [
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
            "sh", "-e", "-c", INIT, "init", "--host", host, "--group", "root",
            "--data-root", f"{scratch}/docker", "--exec-root", "/run/docker",
            "--pidfile", "/run/docker/pid", "--bridge", "none", "--iptables=false",
            "--ip-forward=false", "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--cgroup-parent", f"/{self.cgroup}"]
        # An image of a few files needs no builder but the one that dockerd itself has.
        self.env = {"PATH": os.environ["PATH"], "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0",
                    "DOCKER_CONFIG": f"{scratch}/client"}
        self.process = None
        self.seen = set()
        self.made = [folder for folder in FOLDERS if not folder.exists()]

    def __enter__(self):
        for folder in self.made:
            folder.mkdir()
        return self

    def __exit__(self, *_):
        self.cut()
        for folder in self.cgroups():
            below = [path for path in folder.rglob("*") if path.is_dir()]
            for path in [*sorted(below, reverse=True), folder]:
                path.rmdir()
        for folder in self.made:
            folder.rmdir()

    def power_on(self):
        """Starts it, and waits for its daemon."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        wait_until("dockerd answers", PATIENCE, self.serves, every=0.1)

    def cut(self):
        """The power cut: nobody gets to do anything. Comes back when all processes are gone."""
        if not self.process:
            return
        below = [p for p in self.tree() if p.parent == self.process.pid]
        # The kernel buries the first program after all others. Without one there is no other.
        for process in below:
            process.signal(signal.SIGKILL)
        if not below:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.process = None

    def serves(self):
        check(self.process.poll() is None, f"the machine ended with {self.process.poll()}")
        return self.docker("info", good=None)

    def docker(self, *words, good=0):
        """Runs the client; what it printed. `good`: the exit code it must have, None for any."""
        command = ["docker", *map(str, words)]
        done = subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE)
        check(good in (None, done.returncode),
              f"`{' '.join(command)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip() if done.returncode == 0 else ""

    def daemon(self):
        """The running dockerd."""
        return next(process for process in self.tree() if process.name == "dockerd")

    def tree(self):
        """All processes of the machine; remembered, to see in the end that none is left."""
        found = descendants(self.process.pid)
        self.seen.update(found)
        return found

    def process_of(self, pid):
        """The process that has this pid in the machine."""
        def has_it(process):
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                return False
            pids = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
            return pids[1:2] == [str(pid)]
        found = next(filter(has_it, self.tree()), None)
        check(found, f"the machine has no process {pid}")
        return found

    def cgroups(self):
        """Its folders in the tree of cgroups, or with version 1 in each of the trees."""
        return [*CGROUPS.glob(self.cgroup), *CGROUPS.glob(f"*/{self.cgroup}")]
