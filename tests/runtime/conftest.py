"""Tests of the runtime may run in virtual time."""

from tests.virtual_time import pytest_asyncio_loop_factories, pytest_configure

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure"]
