"""A sandbox that can lose its power: PID and mount namespaces around `rekindle run`.

The kernel is the same all the time. A machine that has booted since is one with another boot id and
a later `btime`: both files are bind-mounted in the sandbox's own mount namespace.
"""

import contextlib
import json
import random
import signal
import socket
import time
import uuid
from pathlib import Path

from support import Rekindle, check, wait_until

MOUNT_AND_RUN = """
if [ -e "$0/boot_id" ]; then
    mount --bind "$0/boot_id" /proc/sys/kernel/random/boot_id && mount --bind "$0/stat" /proc/stat
fi && exec "$@"
"""


def boot_anew(scratch):
    """From now on a sandbox there is on a machine that was booted just now."""
    stat = Path("/proc/stat").read_text().splitlines()
    booted = f"btime {int(time.time())}"
    lines = [booted if line.startswith("btime ") else line for line in stat]
    (scratch / "stat").write_text("\n".join(lines) + "\n")
    (scratch / "boot_id").write_text(f"{uuid.uuid4()}\n")


def boot_id(scratch):
    """The boot id that a sandbox there finds."""
    own = scratch / "boot_id"
    file = own if own.exists() else Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip()


def written(scratch):
    """The state on the disk, as the next run finds it; None if there is none yet."""
    for name in ("state.json", "state.json.old"):
        try:
            return json.loads((scratch / "state" / name).read_text())["state"]
        except FileNotFoundError:
            continue  # it may be between its two names
    return None


def quiet_port():
    """A free port that stays free between two starts: others are given later ones."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, first_given)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class Sandbox(Rekindle):
    """One `rekindle run` as the init of a sandbox, up to the power cut."""

    def __init__(self, scratch, *arguments, env=None):
        super().__init__(scratch, *arguments, env=env)
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--mount", "--kill-child"]
        self.scratch = scratch
        self.command = [*unshare, "sh", "-c", MOUNT_AND_RUN, str(scratch), *self.command]

    def __enter__(self):
        self.began = time.monotonic()
        super().__enter__()
        self.init = wait_until("the sandbox has an init", 60, lambda: self.alive() and next(
            (p for p in self.tree() if p.parent == self.process.pid), None), every=0.001)
        return self

    def cut(self):
        """Everything in the sandbox is killed at once: the kernel sees to that with its init."""
        tree = self.tree()
        self.init.signal(signal.SIGKILL)
        # It is told as dead once nobody is left in its namespace.
        self.process.wait(timeout=60)
        left = [process for process in tree if process.lives()]
        check(not left, f"left after the cut: {left}")

    def child(self):
        """The service's main process; None between two of them."""
        inside = self.status()["services"][0]["pid"]
        return next((p for p in self.tree() if inside and inside == pid_inside(p)), None)

    def labelled(self, family):
        """A family's counts that are not 0, by the value of their last label."""
        return {sample.rpartition('="')[2].rstrip('"}'): int(value)
                for sample, value in self.metrics().items()
                if sample.startswith(f"{family}{{") and value}

    def acknowledged(self):
        """The state on the disk, if the page tells that it was written; else None.

        The page tells when the last write was over: of all earlier ones the last is on the disk.
        """
        state = written(self.scratch)
        told = self.metric("rekindle_state_heartbeat_timestamp_seconds")
        return state if state and told >= state["heartbeat"] else None


def pid_inside(process):
    """Its pid in the innermost namespace."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), None)
