"""Tests on the event loop whose clock jumps (`simulator.virtual_time`).

Import the two hooks into a `conftest.py`, then mark a test (or a module by `pytestmark`) with `pytest.mark.virtual_time`:

    from tests.virtual_time import pytest_asyncio_loop_factories, pytest_configure  # noqa: F401
"""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from simulator.virtual_time import VirtualTimeLoop

__all__ = ["VirtualTimeLoop", "pytest_asyncio_loop_factories", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: run the test on an event loop whose clock jumps (tests.virtual_time)")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time") is not None:
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}
