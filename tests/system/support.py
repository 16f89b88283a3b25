"""What the system tests share: a scratch folder, a `rekindle run`, its metrics, its process tree.

Only the standard library. Every process that is signalled was started here or descends from one
that was; it is named by pid *and* start time, so that a reused pid is never hit.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STATIC_TARGET = "x86_64-unknown-linux-musl"
STATIC = REPOSITORY / "target" / STATIC_TARGET / "release/rekindle"
# A proxy of the machine must not stand between a test and its loopback.
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))


class Failed(Exception):
    """The product did not do what the test asks."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def wait_until(what, seconds, condition, every=0.02):
    """Polls until `condition()` is true, and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(every)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url, timeout=5.0):
    """Status and body of a GET; (0, "") when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def binary():
    """The program under test: `$REKINDLE`, else the release build."""
    path = Path(os.environ.get("REKINDLE", REPOSITORY / "target/release/rekindle")).resolve()
    if not path.exists():
        sys.exit(f"{path} is not there: run `cargo build --release` first, or set REKINDLE")
    return path


def static_rekindle(*options):
    """Builds what `STATIC` is, for a place without a libc; `options` are cargo's."""
    command = ["cargo", "build", "--quiet", "--locked", "--release", "--target", STATIC_TARGET,
               *options]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdin=subprocess.DEVNULL)


@dataclass(frozen=True)
class Process:
    """One process, told from any later one with the same pid by its start time."""

    pid: int
    started: int
    parent: int
    session: int
    name: str
    state: str

    @classmethod
    def read(cls, pid):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        name, _, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()
        return cls(int(pid), int(fields[19]), int(fields[1]), int(fields[3]), name, fields[0])

    def lives(self):
        """Whether it still runs; a zombie does not."""
        now = Process.read(self.pid)
        return bool(now and now.started == self.started and now.state not in "ZX")

    def signal(self, number):
        check(self.pid > 1, f"refusing to signal pid {self.pid}")
        if self.lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def descendants(pid):
    """All processes below `pid` that run."""
    everyone = [Process.read(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found, parents = [], {pid}
    while parents:
        below = [p for p in everyone if p and p.parent in parents and p.state not in "ZX"]
        found += below
        parents = {p.pid for p in below}
    return found


class Metrics:
    """What a supervisor tells on the page of metrics that `page()` fetches."""

    def metrics(self):
        """The scraped samples: `name{labels}` as printed, to value."""
        lines = [line for line in self.page().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (l.rpartition(" ") for l in lines)}

    def metric(self, family, **labels):
        """The sum of a family's samples that carry these labels."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        samples = [value for sample, value in self.metrics().items()
                   if re.split("[{]", sample)[0] == family and all(w in sample for w in wanted)]
        check(samples, f"no sample of {family} with {labels} on /metrics")
        return sum(samples)

    def settled(self):
        """Whether the last outage is over: the first pass has lasted."""
        return self.metric("rekindle_outage_start_timestamp_seconds") == 0


class Rekindle(Metrics):
    """A `rekindle run` with its log in a file; ended, with all that it started, on leaving."""

    def __init__(self, scratch, *arguments, env=None):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = scratch / "rekindle.log"
        command = [binary(), "run", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--state-dir", scratch / "state", "--log-format", "human", *arguments]
        self.command = [str(word) for word in command]
        self.env = {**(env or os.environ), "RUNTIME_DIRECTORY": str(scratch / "run")}
        self.seen = set()

    def __enter__(self):
        log = self.log.open("ab")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
            start_new_session=True)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.tree()
            self.process.kill()
            self.process.wait()
        for process in self.seen:
            process.signal(signal.SIGKILL)

    def tree(self):
        """Everything below it now; remembered, so that nothing is left behind by a failing test."""
        found = descendants(self.process.pid)
        self.seen.update(found)
        return found

    def page(self):
        return get(f"{self.base}/metrics")[1]

    def status(self):
        return json.loads(get(f"{self.base}/status")[1])

    def alive(self):
        check(self.process.poll() is None, f"rekindle ended with {self.process.poll()}")
        return True

    def ready(self):
        return self.alive() and get(f"{self.base}/readyz")[0] == 200

    def tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def main(run):
    """Runs a test; on failure says what is wrong, and returns 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run()
    except Failed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        sys.exit(1)
