"""Rekindle and its demo gateway in a guest, seen from the host."""

import json

from support import Failed, Metrics, check, wait_until

PATIENCE = 120


class Supervisor(Metrics):
    """Rekindle and its demo gateway in a guest."""

    PAGE = "wget -qO- http://127.0.0.1:7354/metrics"

    def __init__(self, machine):
        self.machine = machine

    def start(self, by="exec"):
        """Starts it, its log on the console; `by` is what the shell does for it that becomes it."""
        self.machine.ask(f"({by} rekindle run --config /etc/rekindle.toml --log-format human) "
                         "2>&1 </dev/null | cat >/dev/ttyS0 &")
        self.wait("the demo gateway serves, and settles", self.serves)

    def serves(self):
        return 'state="healthy"} 1' in self.page() and self.settled()

    def page(self):
        return self.machine.ask(self.PAGE, fails=True)

    def status(self):
        status = json.loads(self.machine.ask("wget -qO- http://127.0.0.1:7354/status"))
        return status["services"][0]

    def pid(self):
        """The child's main process."""
        return self.status()["pid"]

    def restarts(self):
        return self.metric("rekindle_restarts_total")

    def passes(self):
        return self.metric("rekindle_probe_attempts_total", probe="liveness", result="success")

    def goes_on(self, child):
        """It is still the same child, and passes again and again."""
        before = self.passes()
        self.wait("it passes again and again", lambda: self.passes() >= before + 4)
        check(self.pid() == child, "the child is another one")
        check(self.restarts() == 0, "it was restarted")

    def healed(self, reason):
        """Waits for the end of an outage that has led to one more restart for this reason."""
        self.wait(f"a restart for {reason}",
                  lambda: self.metric("rekindle_restarts_total", reason=reason) == 1)
        self.wait("it serves again, and settles", self.serves)

    def wait(self, what, condition):
        try:
            return wait_until(what, PATIENCE, condition, every=0.1)
        except Failed as failure:
            console = self.machine.log.read_text(errors="replace")[-3000:]
            said = self.machine.ask("wget -qO- http://127.0.0.1:7354/status; ps", fails=True)
            raise Failed(f"{failure}; the console:\n{console}\nthe guest:\n{said}") from None
