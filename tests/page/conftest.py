# SPDX-License-Identifier: Apache-2.0
"""The lab of the end-to-end tests, and a browser."""

from collections.abc import Iterator

import pytest

from e2e import conftest
from lab import lifecycle
from support.browser import Browser
from support.chassis import Chassis

_take_down, chassis = conftest._take_down, conftest.chassis


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture
def url(chassis: "Chassis") -> str:
    """Of the page, with the lab up and whole."""
    return lifecycle.page()
