"""The supervisors that the footprint benchmark compares, each set to keep one program running.

s6 does not probe. monit, and Rekindle where it is measured at rest, ask the same demo gateway over
HTTP once a second.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SETTLE = "20ms"  # each crash of the benchmark is a first one: healthy, stable, then killed


class Supervisor:
    """A running supervisor; `process` is the one that is measured."""

    def __init__(self, name, command, scratch):
        self.name = name
        self.stamps = scratch / f"{name}.stamps"
        log = (scratch / f"{name}.log").open("ab")
        env = {"PATH": "/usr/bin:/bin", "STAMP_FILE": str(self.stamps),
               "RUNTIME_DIRECTORY": str(scratch / f"{name}.run")}
        self.process = subprocess.Popen(
            [str(word) for word in command], env=env, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True)

    def latest(self):
        """Pid and stamp of the child that was executed last; None before the first."""
        lines = self.stamps.read_text().splitlines() if self.stamps.exists() else []
        return tuple(int(word) for word in lines[-1].split()) if lines else None


def rekindle(binary, scratch, stamp, name="rekindle", helper=False):
    """Rekindle without a hook and without a probe, its child the stamping program.

    With a helper the child leaves a second process behind, which has to be looked for.
    """
    command = f'"sh", "-c", "sleep 1000 & exec {stamp}"' if helper else f'"{stamp}"'
    config = scratch / f"{name}.toml"
    config.write_text(f"""
        [supervisor]
        listen = "off"
        state_dir = "{scratch / name}"
        [service.stamp]
        command = [{command}]
        boot_hook = false
        settle = "{SETTLE}"
        [service.stamp.backoff]
        stable_after = "{SETTLE}"
    """)
    return Supervisor(name, [binary, "run", "--config", config], scratch)


def rekindle_probing(binary, scratch, port, listen, name, period="1s", timeout="1s", threshold=3):
    """Rekindle with the demo gateway as its child, a probe each period, and /metrics open."""
    config = scratch / f"{name}.toml"
    config.write_text(f"""
        [supervisor]
        listen = "127.0.0.1:{listen}"
        state_dir = "{scratch / name}"
        [service.gateway]
        command = ["{binary}", "demo-gateway", "--port", "{port}"]
        boot_hook = false
        settle = "{SETTLE}"
        unhealthy_stop_timeout = "200ms"
        [service.gateway.probe.liveness]
        http = "http://127.0.0.1:{port}/health"
        period = "{period}"
        timeout = "{timeout}"
        failure_threshold = {threshold}
        [service.gateway.backoff]
        stable_after = "{SETTLE}"
    """)
    return Supervisor(name, [binary, "run", "--config", config], scratch)


def bare_loop(respawn, scratch, stamp):
    """The C loop of respawn.c."""
    return Supervisor("bare C loop", [respawn, stamp], scratch)


def s6(scratch, stamp):
    """One s6-supervise; its run file is the program itself, so no shell is in between."""
    service = scratch / "s6"
    service.mkdir()
    shutil.copy(stamp, service / "run")
    return Supervisor("s6", ["s6-supervise", service], scratch)


def monit(scratch, stamp, probe_port=None):
    """monit with a cycle of 1 s, restarting the program or asking the demo gateway."""
    pidfile, stamps = scratch / "monit.child", scratch / "monit.stamps"
    start = f"/bin/sh -c 'STAMP_FILE={stamps} {stamp} & echo $! > {pidfile}'"
    probing = f"""
        check host gateway with address 127.0.0.1
            if failed port {probe_port} protocol http request "/health" with timeout 1 seconds
                then alert
    """
    restarting = f"""
        check process stamp with pidfile {pidfile}
            start program = "{start}"
            stop program = "/bin/true"
    """
    control = scratch / "monitrc"
    control.write_text(f"""
        set daemon 1
        set pidfile {scratch / "monit.pid"}
        set idfile {scratch / "monit.id"}
        set statefile {scratch / "monit.state"}
        {probing if probe_port else restarting}
    """)
    control.chmod(0o600)
    return Supervisor("monit", ["monit", "-I", "-c", control], scratch)


@contextlib.contextmanager
def crowd(size):
    """So many idle processes that are nobody's business."""
    fork = f"import os, signal\nfor _ in range({size - 1}): os.fork() or signal.pause()\n"
    crowd = subprocess.Popen([sys.executable, "-c", fork + "print(1, flush=True); signal.pause()"],
                             stdout=subprocess.PIPE, start_new_session=True)
    try:
        crowd.stdout.readline()
        yield
    finally:
        os.killpg(crowd.pid, signal.SIGKILL)
        crowd.wait()
        crowd.stdout.close()


def end(supervisors, grace=10.0):
    """Asks each to end, waits, and kills what does not."""
    for supervisor in supervisors:
        supervisor.process.terminate()
    deadline = time.monotonic() + grace
    for supervisor in supervisors:
        try:
            supervisor.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            supervisor.process.kill()
            supervisor.process.wait()


def compiled(source, folder):
    """A C program of this folder, compiled."""
    program = folder / Path(source).stem
    subprocess.run(["cc", "-O2", "-o", program, Path(__file__).parent / source], check=True)
    return program
