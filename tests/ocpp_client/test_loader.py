"""Reading the outbox: the window is filled, the newest row is found with few reads, a bad disk is survived."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.outbox import OutboxRow
from agent.ocpp_client.loader import RowLoader, newest_row
from agent.ocpp_client.queue import WINDOW, Queue
from tests.ocpp_client.peers import until
from tests.ocpp_client.small_version import MemoryOutbox, row

pytestmark = pytest.mark.virtual_time


def queue() -> Queue:
    return Queue(station_id="CP1", new_id=lambda: "id")


@given(st.sets(st.integers(1, 100_000), max_size=40))
async def test_the_newest_row_is_found_wherever_it_is(numbers: set[int]) -> None:
    outbox = MemoryOutbox([row(number) for number in numbers])
    assert await newest_row(outbox, queue()) == max(numbers, default=0)
    assert outbox.reads <= 60


async def test_a_queue_that_was_read_to_its_end_needs_no_read() -> None:
    outbox = MemoryOutbox([row(7)])
    known = queue()
    assert known.load_after(is_global=True) == 0
    known.add(await outbox.rows(0, 64))
    outbox.reads = 0
    assert await newest_row(outbox, known) == 7
    assert outbox.reads == 0


async def test_the_window_is_filled_and_then_left_alone() -> None:
    outbox = MemoryOutbox([row(number) for number in range(1, 1000)])
    filled = queue()
    loader = RowLoader(outbox, filled, is_accepted=lambda: False, is_global=lambda: True, loaded=lambda: None)
    task = asyncio.ensure_future(loader.run())
    await asyncio.sleep(1)
    assert filled.depth == WINDOW
    reads = outbox.reads
    loader.kick()
    await asyncio.sleep(1)
    assert outbox.reads == reads
    task.cancel()


async def test_a_disk_that_fails_is_tried_again() -> None:
    class Failing(MemoryOutbox):
        async def rows(self, after: int, limit: int) -> Sequence[OutboxRow]:
            found = await super().rows(after, limit)
            if self.reads < 4:
                raise OSError("disk")
            return found

    outbox, filled = Failing([row(1)]), queue()
    loads: list[float] = []
    clock = asyncio.get_running_loop().time
    loader = RowLoader(outbox, filled, is_accepted=lambda: False, is_global=lambda: True, loaded=lambda: loads.append(clock()))
    began = clock()
    task = asyncio.ensure_future(loader.run())
    await until(lambda: loads)
    assert loads[0] - began == pytest.approx(15)
    assert filled.depth == 1
    task.cancel()
