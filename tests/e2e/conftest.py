# SPDX-License-Identifier: Apache-2.0
"""One lab for all tests that want the same options; every test finds it whole, and it is gone at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.plan import Options
from support.chassis import Chassis, lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with the same options run one after the other: changing the lab's options rebuilds it."""
    items.sort(key=lambda item: str(_options(item)) if item.module.__name__ != "test_lab" else "~")


def _options(item: pytest.Item) -> Options:
    """Given by a module's OPTIONS, or by a test's parameter `options`."""
    call = getattr(item, "callspec", None)
    if call and "options" in call.params:
        return call.params["options"]
    return getattr(item.module, "OPTIONS", Options())


@pytest.fixture(scope="session", autouse=True)
def _take_down() -> Iterator[None]:
    yield
    lab("down")


@pytest.fixture
def chassis(request: pytest.FixtureRequest) -> Chassis:
    """Up, whole, nothing drained. Cheap when it is so already."""
    up = Chassis.up(_options(request.node))
    up.wait_for_states("up")
    return up


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A file for openssl's session."""
    return tmp_path / "session.pem"
