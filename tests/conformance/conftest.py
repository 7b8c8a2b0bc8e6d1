"""The certification suite runs in virtual time, except where a process of its own is killed."""

from tests.virtual_time import pytest_asyncio_loop_factories, pytest_configure

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure"]
