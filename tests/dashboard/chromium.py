"""A real browser, driven over the pipe of the DevTools protocol. Nothing but Chromium is needed.

with browser() as chromium, chromium.page() as page:
    page.go("http://127.0.0.1:8443/ui/")
    page.click("text=Brokers")
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from tests.support.waiting import eventually

Scheme = Literal["light", "dark"]

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ANSWER_S: Final = 60.0
"""A call that is not answered within this time has failed: the machine may be busy."""
SIZE: Final = (1280, 900)
KEYS: Final = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40,
}  # fmt: skip
FLAGS: Final = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check",
    "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-proxy-server",
    "--force-color-profile=srgb", "--force-device-scale-factor=1", "--mute-audio",
    "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """A running Chromium."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out = os.fdopen(to_browser, "wb", buffering=0)
        self._in = os.fdopen(from_browser, "rb", buffering=0)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._heard: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Close the pipes, once the process is gone."""
        self._out.close()
        self._reader.join(ANSWER_S)
        self._in.close()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        with self._changed:
            done = lambda: number in self._answers or self._is_over  # noqa: E731 - used once, here
            assert self._changed.wait_for(done, ANSWER_S), f"{method} was not answered"
            assert number in self._answers, "the browser has ended"
            answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    @contextlib.contextmanager
    def page(self) -> Iterator[Page]:
        """Open a page with nothing kept from others; it must not have complained when it closes."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        target_id = target["targetId"]
        session = self.call("Target.attachToTarget", targetId=target_id, flatten=True)["sessionId"]
        page = Page(self, session)
        self._heard[session] = page.hear
        page.begin()
        try:
            yield page
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)
        assert not page.complaints, page.complaints

    def _read(self) -> None:
        kept = b""
        while piece := self._in.read(1 << 16):
            *messages, kept = (kept + piece).split(b"\0")
            for raw in messages:
                self._take(json.loads(raw))
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            with self._changed:
                self._answers[message["id"]] = message
                self._changed.notify_all()
        elif (hear := self._heard.get(message.get("sessionId", ""))) is not None:
            hear(message["method"], message["params"])


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        """Errors of scripts, and what the content security policy has stopped."""
        self.requests: list[str] = []
        """Every URL that was asked for."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol about this page."""
        return self._browser.call(method, self._session, **parameters)

    def begin(self) -> None:
        """Listen, and take a size."""
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.resize(*SIZE)

    def hear(self, method: str, said: dict[str, Any]) -> None:
        """Note what happened; called by the thread that reads."""
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", str(details)))
        elif method == "Log.entryAdded":
            entry = said["entry"]  # a refusal of the node, of the source `network`, is no fault
            if entry["level"] == "error" and entry["source"] != "network":
                self.complaints.append(entry["text"])

    def resize(self, width: int, height: int) -> None:
        """Take another size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Say what the user prefers: `color_scheme="dark"`, `reduced_motion="reduce"`."""
        wanted = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def go(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)
        eventually(lambda: bool(self.js("document.readyState === 'complete'")), ANSWER_S)

    def js(self, expression: str) -> Any:
        """Evaluate an expression; what it promises is awaited."""
        done = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """Read what can be seen of an element; empty where there is none."""
        quoted = json.dumps(selector)
        return str(self.js(f"document.querySelector({quoted})?.innerText ?? ''"))

    def shows(self, text: str, selector: str = "body", timeout_s: float = 30.0) -> None:
        """Wait until an element shows a text."""
        try:
            eventually(lambda: text in self.text(selector), timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{text!r} is not in:\n{self.text()}") from error

    def click(self, selector: str) -> None:
        """Click on the middle of an element; `text=Brokers` finds a link or button by its text."""
        place = self.js(
            f"(() => {{ const e = {_finding(selector)}; if (!e) return null;"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        assert place is not None, f"there is no {selector} in:\n{self.text()}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def point(self, selector: str, x: float, y: float) -> None:
        """Move the pointer to a place within an element."""
        at = self.js(
            f"(() => {{ const e = {_finding(selector)}; e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x, r.y]; })()"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=at[0] + x, y=at[1] + y)

    def fill(self, selector: str, text: str) -> None:
        """Type a text into an input, in place of what is there."""
        self.js(f"(() => {{ const e = {_finding(selector)}; e.focus(); e.select(); }})()")
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option."""
        self.js(
            f"(() => {{ const e = {_finding(selector)}; e.value = {json.dumps(value)};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key and let it go."""
        about = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": KEYS[key],
            "modifiers": 8 if shift else 0,
        }
        typed = {"Enter": "\r", " ": " "}.get(key)
        down = {"type": "keyDown", "text": typed} if typed else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Keep a picture of it: of the whole page, or of what fits the window."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def accessible(self) -> list[dict[str, Any]]:
        """Give what a screen reader is told: role, name and properties of every element."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": node.get("role", {}).get("value", ""),
                "name": node.get("name", {}).get("value", ""),
                **{one["name"]: one["value"].get("value") for one in node.get("properties", [])},
            }
            for node in nodes
            if not node.get("ignored")
        ]


def _finding(selector: str) -> str:
    if not selector.startswith("text="):
        return f"document.querySelector({json.dumps(selector)})"
    wanted = json.dumps(selector.removeprefix("text="))
    return (
        f"[...document.querySelectorAll('a, button, summary')]"
        f".find((one) => one.textContent.trim() === {wanted})"
    )


def chromium_path() -> str:
    """Find the browser. Without one the tests fail: a page that nobody looked at is not tested."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found is not None, "there is no Chromium here: apt-get install chromium"
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser until the block ends."""
    with tempfile.TemporaryDirectory(prefix="felix-browser-", ignore_cleanup_errors=True) as home:
        its_in, our_out = os.pipe()
        our_in, its_out = os.pipe()
        # The protocol is spoken on descriptors 3 and 4, which only a shell can hand over by number.
        command = ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "chromium", chromium_path()]
        command += [*FLAGS, f"--user-data-dir={home}"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses root
        process = subprocess.Popen(
            command,
            pass_fds=(its_in, its_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": home},
            start_new_session=True,
        )
        os.close(its_in)
        os.close(its_out)
        running = Browser(our_out, our_in)
        try:
            yield running
        finally:
            with contextlib.suppress(AssertionError, OSError):
                running.call("Browser.close")
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its own session, with all its helpers
                process.wait()
            running.close()
