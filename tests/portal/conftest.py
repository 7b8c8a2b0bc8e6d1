"""Hours of holds and time-outs pass in milliseconds for tests marked `virtual_time`."""

from tests.virtual_time import pytest_asyncio_loop_factories, pytest_configure  # noqa: F401
