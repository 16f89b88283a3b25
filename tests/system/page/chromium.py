"""A headless Chromium, driven by the DevTools protocol over a pipe; only the standard library.

Everything that a page says on its console, every request that it makes and every exception is kept,
so that a test can hold that there was nothing but what it expects.
"""

import base64
import contextlib
import json
import os
import queue
import subprocess
import threading
import time

from support import Failed, check, wait_until

ANSWER_WITHIN = 60
FLAGS = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
         "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-extensions", "--hide-scrollbars", "--no-proxy-server", "--mute-audio"]


class Chromium:
    """The browser, with a profile in a scratch folder; ended on leaving."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.answers, self.pages, self.number = queue.Queue(), {}, 0

    def __enter__(self):
        to_us, from_them = os.pipe()
        to_them, from_us = os.pipe()

        def as_expected():
            os.dup2(to_them, 3)
            os.dup2(from_them, 4)

        log = (self.scratch / "chromium.log").open("wb")
        profile = f"--user-data-dir={self.scratch / 'profile'}"
        self.process = subprocess.Popen(
            ["chromium", *FLAGS, profile, "about:blank"], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, pass_fds=(3, 4), preexec_fn=as_expected, start_new_session=True)
        os.close(to_them)
        os.close(from_them)
        self.writer, self.reader = os.fdopen(from_us, "wb"), os.fdopen(to_us, "rb")
        threading.Thread(target=self.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Failed, OSError):
            self.call("Browser.close")
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()

    def read(self):
        """Passes answers on to whoever waits, and events to their pages."""
        message = b""
        while chunk := self.reader.read1(65536):
            *whole, message = (message + chunk).split(b"\0")
            for told in map(json.loads, whole):
                if "id" in told:
                    self.answers.put(told)
                elif told.get("sessionId") in self.pages:
                    self.pages[told["sessionId"]].hear(told["method"], told["params"])

    def call(self, method, session=None, **parameters):
        self.number += 1
        order = {"id": self.number, "method": method, "params": parameters}
        if session:
            order["sessionId"] = session
        self.writer.write(json.dumps(order).encode() + b"\0")
        self.writer.flush()
        while True:
            try:
                answer = self.answers.get(timeout=ANSWER_WITHIN)
            except queue.Empty:
                raise Failed(f"Chromium does not answer to {method}") from None
            if answer["id"] == self.number:
                check("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]

    def open(self, url, *, script=True):
        """A new tab at `url`, loaded; with `script=False`, JavaScript is off in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        self.pages[session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setScriptExecutionDisabled", value=not script)
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.go(url)
        return page


class Page:
    """A tab, and what happened in it."""

    def __init__(self, browser, target, session):
        self.browser, self.target, self.session = browser, target, session
        self.said, self.requests, self.loads = [], [], 0

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def hear(self, method, parameters):
        if method == "Runtime.consoleAPICalled":
            self.said.append(f"{parameters['type']}: {parameters['args']}")
        elif method == "Runtime.exceptionThrown":
            self.said.append(f"exception: {parameters['exceptionDetails']}")
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            self.said.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loads += 1

    def go(self, url):
        before = self.loads
        self.call("Page.navigate", url=url)
        wait_until(f"{url} is loaded", 30, lambda: self.loads > before)

    def run(self, expression):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        check("exceptionDetails" not in answer, f"{expression}: {answer.get('exceptionDetails')}")
        return answer["result"].get("value")

    def text(self, element):
        return self.run(f"document.getElementById('{element}').innerText")

    def wait_for(self, what, seconds, expression):
        return wait_until(what, seconds, lambda: self.run(expression), every=0.05)

    def size(self, width, height, scale=1):
        """As large as a window of so many CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=False)

    def scheme(self, scheme):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code)

    def picture(self, path, most_height):
        """The page, from its top, as a PNG."""
        time.sleep(0.4)  # the length of a transition
        width, height = self.run("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, most_height), "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                         clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def accessible(self):
        """The nodes of the accessibility tree that are not ignored: role and name."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", ""))
                for node in nodes if not node["ignored"]]

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
