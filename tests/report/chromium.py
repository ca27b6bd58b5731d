"""A headless Chromium, by the WebDriver protocol: what the tests of pages ask a browser."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
HOW_TO = "needs chromium and chromedriver: apt-get install chromium chromium-driver"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-features=OptimizationHints,OnDeviceModel",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]


class Browser:
    """A session with a browser, which shows one page at a time."""

    def __init__(self, address: str, profile: Path) -> None:
        options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = ""
        self._address = address
        found = self._send("POST", "session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"session/{found['sessionId']}/"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address = f"{self._address}/{self._session}{path}".rstrip("/")
        request = urllib.request.Request(address, data, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._send("POST", "goog/cdp/execute", {"cmd": name, "params": parameters})

    def show(self, page: Path, *, width: int, scheme: str, height: int = 900) -> None:
        """Open a page in a window of a width, in a colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.command("Emulation.setEmulatedMedia", features=[scheme_feature, still])
        self._send("POST", "url", {"url": page.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """Return what a script returns."""
        return self._send("POST", "execute/sync", {"script": script, "args": []})

    def press(self, key: str, code: str) -> None:
        """Press a key."""
        text = {"Enter": "\r", " ": " "}.get(key)
        named = {"key": key, "code": code, "windowsVirtualKeyCode": {"Tab": 9}.get(key, 32)}
        down = {**named, "type": "keyDown", **({"text": text} if text else {})}
        self.command("Input.dispatchKeyEvent", **down)
        self.command("Input.dispatchKeyEvent", **named, type="keyUp")

    def console(self) -> list[str]:
        """Return what the console said since it was last asked."""
        return [entry["message"] for entry in self._send("POST", "se/log", {"type": "browser"})]

    def screenshot(self, target: Path) -> None:
        """Write a picture of the whole page."""
        content = self.command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": content["height"], "scale": 1}
        picture = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        target.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, target: Path) -> None:
        """Write the page as it is printed."""
        target.write_bytes(base64.b64decode(self.command("Page.printToPDF")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own in a new folder; it ends with the context."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    try:
        started = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
        port = next(match[1] for match in started if match)
        yield Browser(f"http://127.0.0.1:{port}", folder / "profile")
    finally:
        os.killpg(driver.pid, signal.SIGKILL)  # the browser is in its group
        driver.wait()
        driver.stdout.close()
