"""A real browser over the WebDriver protocol (W3C), as little of it as the tests need: Debian's chromium and chromedriver."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name under which the protocol hands out elements."""
START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",  # of the CI's containers; the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
T = TypeVar("T")


class WebDriverError(Exception):
    """The browser could not do it; its own words."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message.splitlines()[0] if message else ''}")
        self.kind = kind


class Element:
    """A thing on the page."""

    def __init__(self, browser: "Browser", reference: str) -> None:
        self._browser = browser
        self.reference = reference

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._browser.ask(method, f"/element/{self.reference}/{path}", body)

    @property
    def text(self) -> str:
        """What a person reads there."""
        return str(self._ask("GET", "text"))

    def attribute(self, name: str) -> str | None:
        value = self._ask("GET", f"attribute/{name}")
        return None if value is None else str(value)

    @property
    def is_displayed(self) -> bool:
        return bool(self._ask("GET", "displayed"))

    @property
    def is_enabled(self) -> bool:
        return bool(self._ask("GET", "enabled"))

    def click(self) -> None:
        """Scrolls there and clicks; an error when something else lies over it."""
        self._ask("POST", "click", {})

    def type(self, text: str) -> None:
        self._ask("POST", "value", {"text": text})


class Browser:
    """One window. Elements are named by their data-testid."""

    def __init__(self, url: str, session: str) -> None:
        self._url = f"{url}/session/{session}"

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return _ask(method, self._url + path, body)

    def open(self, url: str) -> None:
        self.ask("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self.ask("GET", "/url"))

    def resize(self, width: int, height: int) -> None:
        self.ask("POST", "/window/rect", {"width": width, "height": height})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript on the page; what it returns (a promise is waited for)."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def all(self, testid: str) -> list[Element]:
        found = self.ask("POST", "/elements", {"using": "css selector", "value": f'[data-testid="{testid}"]'})
        return [Element(self, each[ELEMENT]) for each in found]

    def __getitem__(self, testid: str) -> Element:
        found = self.ask("POST", "/element", {"using": "css selector", "value": f'[data-testid="{testid}"]'})
        return Element(self, found[ELEMENT])

    @contextlib.contextmanager
    def frame(self, testid: str) -> Iterator[None]:
        """What is inside a frame of the page."""
        self.ask("POST", "/frame", {"id": {ELEMENT: self[testid].reference}})
        try:
            yield
        finally:
            self.ask("POST", "/frame", {"id": None})

    def until(self, condition: Callable[[], T], what: str, timeout_s: float = 20.0) -> T:
        """Wait for something true; what is not there yet, or is just being replaced, is waited for."""
        deadline = time.monotonic() + timeout_s
        trouble = ""
        while True:
            try:
                if found := condition():
                    return found
                trouble = ""
            except WebDriverError as error:
                if error.kind not in {"no such element", "stale element reference", "no such frame"}:
                    raise
                trouble = f" ({error})"
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}{trouble}"
            time.sleep(0.1)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def log(self) -> list[str]:
        """What the browser's console complained of since the last time."""
        entries = self.ask("POST", "/se/log", {"type": "browser"})
        return [str(entry["message"]) for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]


@contextlib.contextmanager
def chromium(directory: Path, *, width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """A new headless browser with an empty profile in `directory`."""
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver is not None, "chromedriver is missing: apt-get install chromium-driver"
    assert browser is not None, "chromium is missing: apt-get install chromium"
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        (directory / "chromedriver.log").open("wb") as log,
        subprocess.Popen([driver, f"--port={port}"], stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for(url)
            options = {
                "binary": browser,
                "args": [*FLAGS, f"--user-data-dir={directory / 'profile'}", f"--window-size={width},{height}"],
            }
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = _ask("POST", f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(url, session)
            finally:
                with contextlib.suppress(OSError, WebDriverError):
                    _ask("DELETE", f"{url}/session/{session}", None)
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError):
            if _ask("GET", f"{url}/status", None)["ready"]:
                return
        assert time.monotonic() < deadline, "chromedriver does not answer"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask(method: str, url: str, body: dict[str, Any] | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with _OPENER.open(request, timeout=ANSWER_TIMEOUT_S) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        with error:
            value = json.load(error)["value"]
        raise WebDriverError(value["error"], value["message"]) from None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Past the proxy that a machine may have: everything here is on loopback."""
