# SPDX-License-Identifier: Apache-2.0
"""A browser: headless Chromium, driven by tests/page/browser.mjs with Playwright."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from common.paths import ROOT, build_dir

DRIVER = ROOT / "tests/page/browser.mjs"
CHROMIUM = "/usr/bin/chromium"
MODULES = build_dir() / "page/node_modules"  # tools/test --only page puts them there


class Browser:
    """One command at a time; what the page does wrong in its console is kept."""

    def __init__(self, words: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen([*words, "node", str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         env={**os.environ, "KR_CHROMIUM": CHROMIUM, "KR_MODULES": str(MODULES)})

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _do(self, command: str, **how: Any) -> Any:
        self._process.stdin.write(json.dumps({"command": command, **how}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "error" not in answer, f"{command} {how}: {answer['error']}"
        return answer["value"]

    def open(self, url: str, **how: Any) -> dict[str, Any]:
        return self._do("open", url=url, **how)

    def text(self, at: str) -> str:
        return self._do("text", at=at)

    def count(self, at: str) -> int:
        return self._do("count", at=at)

    def facts(self) -> dict[str, str | None]:
        """Every number that the page shows, as the API said it."""
        return self._do("values", at="[data-fact]")

    def click(self, at: str) -> None:
        self._do("click", at=at)

    def fill(self, at: str, text: str) -> None:
        self._do("fill", at=at, text=text)

    def press(self, key: str) -> None:
        self._do("press", key=key)

    def focused(self) -> str:
        return self._do("focused")

    def js(self, code: str) -> Any:
        return self._do("js", code=code)

    def wait(self, code: str, seconds: float = 15) -> None:
        """Until this JavaScript is true."""
        self._do("wait", code=code, seconds=seconds)

    def wait_for_text(self, at: str, text: str, seconds: float = 15) -> None:
        self.wait(f"(document.querySelector({json.dumps(at)})?.innerText ?? '').includes({json.dumps(text)})", seconds)

    def screenshot(self, name: str, full: bool = True) -> Path:
        """Into build/page."""
        path = build_dir() / "page" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._do("screenshot", path=str(path), full=full)
        return path

    def axe(self) -> list[str]:
        """Serious and critical findings."""
        return self._do("axe")

    def mistakes(self) -> list[str]:
        """Errors in the console, and requests to anybody else."""
        return self._do("mistakes")
