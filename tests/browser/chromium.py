"""A headless Chromium for tests, driven through its DevTools protocol: open, look, click, type, take a picture."""

import base64
import itertools
import json
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

from tests.absent import absent

_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # containers run as root, where Chromium has no sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--window-size=1400,1600",
)
_START_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1
_TEXT: Final = "(document.body?.innerText ?? '')"
_FIND: Final = """
(() => [...document.querySelectorAll(%s)].filter(element =>
  element.getClientRects().length && (%s === null || element.innerText.trim() === %s))[%d])()
"""


class Page:
    """One tab. `errors`: what its console was told was wrong. `requests`: every address it asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to an address; it may take `wait_for` until the page shows anything."""
        self._call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression (a promise's is awaited). Raises AssertionError when it throws."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}\n{_exception(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 30.0) -> Any:
        """Value of a JavaScript expression once it is true; AssertionError with the page's text when it stays false."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(condition)):
            if time.monotonic() > deadline:
                text = self.evaluate(f"location.href + '\\n' + {_TEXT}")
                raise AssertionError(f"not within {seconds:.0f} s: {condition}\nThe page:\n{text[:1500]}")
            time.sleep(_LOOK_SECONDS)
        return value

    def wait_for_text(self, text: str, seconds: float = 30.0) -> None:
        """Wait until the page shows a text."""
        self.wait_for(f"{_TEXT}.includes({json.dumps(text)})", seconds)

    def click(self, selector: str, text: str | None = None, nth: int = 0) -> None:
        """Click the middle of a visible element: the nth that a CSS selector finds, of those that read `text`."""
        wanted = json.dumps(text)
        find = _FIND % (json.dumps(selector), wanted, wanted, nth)
        self.wait_for(f"!!{find}")
        middle = f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}}), {find}.getBoundingClientRect()"
        place = self.evaluate(f"(box => [box.x + box.width / 2, box.y + box.height / 2])(({middle}))")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1, buttons=1
            )

    def type(self, selector: str, text: str, nth: int = 0) -> None:
        """Replace what stands in a text input."""
        self.click(selector, nth=nth)
        self.evaluate("document.activeElement.select()")
        self._call("Input.insertText", text=text)

    def choose(self, selector: str, option: str) -> None:
        """Choose an option of a `<select>` by its text."""
        self.evaluate(
            f"""(select => {{
              select.value = [...select.options].find(one => one.text === {json.dumps(option)}).value;
              select.dispatchEvent(new Event('input', {{bubbles: true}}));
              select.dispatchEvent(new Event('change', {{bubbles: true}}));
            }})(document.querySelector({json.dumps(selector)}))"""
        )

    def screenshot(self, path: Path) -> None:
        """Write the whole page, also what is scrolled out of sight, as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **params: object) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=_ANSWER_SECONDS))
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            if "method" in message:
                self._take(message["method"], message["params"])

    def _take(self, event: str, details: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif event == "Network.webSocketCreated":
            self.requests.append(details["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(_exception(details["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in details["args"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] == "error":
            entry = details["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A browser with its profile in `folder` and one empty tab. It ends with the block."""
    program = shutil.which("chromium")
    if program is None:
        absent("Chromium", "apt-get install --no-install-recommends chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with connect(_tab(folder, process), max_size=None) as socket:
            yield Page(socket)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tab(folder: Path, process: "subprocess.Popen[bytes]") -> str:
    """Address of the protocol of the browser's first tab."""
    said = folder / "DevToolsActivePort"
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if said.exists() and (lines := said.read_text().splitlines()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"Chromium did not start:\n{(folder / 'log').read_text()[-4000:]}")
        time.sleep(_LOOK_SECONDS)


def _exception(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details["text"]))
