"""A headless Chromium that is spoken to over pipes, by the DevTools protocol."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

FOUND = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
# Chromium reads from descriptor 3 and writes to 4.
BEGIN = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
TROUBLE = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Browser:
    """One page; `events` are what it has reported."""

    def __init__(self, read, write):
        self._read, self._write, self._rest, self._count = read, write, b"", 0
        self._session, self.events = {}, []
        pages = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Call a method and wait for its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                return answer["result"]
            self.events.append(answer)

    def open(self, path):
        """Open a file and wait until it has loaded."""
        self.call("Page.navigate", url=path.absolute().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression):
        """The value of an expression of JavaScript."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key):
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def troubles(self):
        """What went to the console."""
        return [event for event in self.events if event["method"] in TROUBLE]

    def requests(self):
        """The addresses that were loaded."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]

    def _next(self):
        while b"\0" not in self._rest:
            piece = os.read(self._read, 65536)
            assert piece, "Chromium has ended"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browser(profile, width=800, height=900):
    """A browser with an empty profile, closed at the end."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    flags = [*QUIET.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}", "--remote-debugging-pipe"]
    command = [sys.executable, "-c", BEGIN, str(theirs_in), str(theirs_out), FOUND, *flags, "about:blank"]
    process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        page = Browser(ours_in, ours_out)
        yield page
        page.call("Browser.close")
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
