"""The contract that every driver has to keep. Subclass `DriverContract`, give it a `bench`, and pytest runs it (docs/hardware.md).

A bench is a driver together with hands on its hardware: in the laboratory the simulator's control, on a real board a pilot test box and a
relay that shorts the mirror contact.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from typing import Protocol

import pytest

from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.domain.pilot import X1, PilotState, pwm
from agent.hal.api import EvsePorts, HalDriver
from tests.hal.board import RecordedSink

OFFER = pwm(Decimal(16))


class Bench(Protocol):
    """A driver that was not started yet, and what can be done to its hardware by hand."""

    driver: HalDriver
    evse_ids: tuple[EvseId, ...]
    lockable: EvseId | None

    async def vehicle(self, evse_id: EvseId, state: PilotState) -> None:
        """Put the pilot into A, B or C, as a test box does. For C the caller has set PWM."""

    async def is_closed(self, evse_id: EvseId) -> bool:
        """Look at the contactor itself, not at what the driver reports."""


async def until(condition: Callable[[], object], timeout_s: float = 3.0) -> None:
    """Wait until something is true; fail when it does not become so."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


class DriverContract:
    """What the guard and the engine rely on. Subclasses define the fixture `bench`."""

    @pytest.fixture
    async def sink(self) -> RecordedSink:
        return RecordedSink()

    @pytest.fixture
    async def ports(self, bench: Bench, sink: RecordedSink) -> AsyncIterator[Mapping[EvseId, EvsePorts]]:
        yield await bench.driver.start(sink)
        await bench.driver.aclose()

    async def test_the_present_state_is_reported_at_the_start(self, bench: Bench, sink: RecordedSink) -> None:
        """The guard forbids everything that it has not heard of: pilot and mirror contact of every EVSE come before `start` returns."""
        ports = await bench.driver.start(sink)
        for evse_id in bench.evse_ids:
            assert sink.last("pilot", evse_id) == ("pilot", evse_id, PilotState.A)
            assert sink.last("contactor", evse_id) == ("contactor", evse_id, False)
            assert (sink.last("lock", evse_id) is not None) == (ports[evse_id].lock is not None)
        await bench.driver.aclose()

    async def test_gives_exactly_the_configured_evses(self, bench: Bench, ports: Mapping[EvseId, EvsePorts]) -> None:
        assert tuple(sorted(ports)) == tuple(sorted(bench.evse_ids))
        for evse_id in bench.evse_ids:
            assert (ports[evse_id].lock is not None) == (evse_id == bench.lockable)

    async def test_a_vehicle_is_reported(self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]) -> None:
        evse_id = bench.evse_ids[0]
        ports[evse_id].pilot.set_output(X1)
        await bench.vehicle(evse_id, PilotState.B)
        await until(lambda: sink.last("pilot", evse_id) == ("pilot", evse_id, PilotState.B))
        await bench.vehicle(evse_id, PilotState.A)
        await until(lambda: sink.last("pilot", evse_id) == ("pilot", evse_id, PilotState.A))

    async def test_the_mirror_contact_follows_the_orders(self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]) -> None:
        evse_id = bench.evse_ids[0]
        await self._close(bench, sink, ports, evse_id)
        ports[evse_id].contactor.open()
        await until(lambda: sink.last("contactor", evse_id) == ("contactor", evse_id, False), 1.0)

    async def test_reports_never_come_from_within_a_port_call(
        self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]
    ) -> None:
        """A report within a call would run the engine inside its own effect."""
        evse_id = bench.evse_ids[0]
        await self._close(bench, sink, ports, evse_id)
        seen = len(sink.reports)
        for call in (ports[evse_id].contactor.open, lambda: ports[evse_id].pilot.set_output(X1), ports[evse_id].contactor.close):
            call()
        assert len(sink.reports) == seen
        ports[evse_id].contactor.open()

    async def test_opens_from_another_thread_while_the_loop_stands(
        self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]
    ) -> None:
        """The guard's thread calls `open` and `renew_permission` when the loop is stuck."""
        evse_id = bench.evse_ids[0]
        await self._close(bench, sink, ports, evse_id)

        def from_the_thread() -> None:
            ports[evse_id].contactor.renew_permission()
            ports[evse_id].contactor.open()

        await asyncio.to_thread(from_the_thread)
        await until(lambda: sink.last("contactor", evse_id) == ("contactor", evse_id, False), 1.0)

    async def test_a_permission_that_is_not_renewed_opens_the_contactor(
        self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]
    ) -> None:
        """Where the driver says that its hardware does so. IEC leaves the time open; the agent counts on 1 s."""
        if not bench.driver.permission_expires:
            pytest.skip("this hardware has no permission of its own")
        evse_id = bench.evse_ids[0]
        await self._close(bench, sink, ports, evse_id)
        await until(lambda: sink.last("contactor", evse_id) == ("contactor", evse_id, False), 1.3)

    async def test_a_renewed_permission_keeps_the_contactor_closed(
        self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]
    ) -> None:
        evse_id = bench.evse_ids[0]
        await self._close(bench, sink, ports, evse_id)
        for _ in range(6):
            await asyncio.sleep(0.25)
            ports[evse_id].contactor.renew_permission()
        assert sink.last("contactor", evse_id) == ("contactor", evse_id, True)

    async def test_closing_the_driver_leaves_the_contactor_open(
        self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]
    ) -> None:
        evse_id = bench.evse_ids[0]
        await self._close(bench, sink, ports, evse_id)
        await bench.driver.aclose()
        await bench.driver.aclose()
        assert not await bench.is_closed(evse_id)

    async def test_the_lock_reports_what_it_did(self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts]) -> None:
        if bench.lockable is None:
            pytest.skip("this bench has no socket outlet")
        evse_id = bench.lockable
        lock = ports[evse_id].lock
        assert lock is not None
        lock.lock()
        await until(lambda: sink.last("lock", evse_id) == ("lock", evse_id, True))
        lock.unlock()
        await until(lambda: sink.last("lock", evse_id) == ("lock", evse_id, False))

    async def test_starting_twice_is_refused(self, bench: Bench, ports: Mapping[EvseId, EvsePorts]) -> None:
        with pytest.raises(HalError):
            await bench.driver.start(RecordedSink())

    async def _close(self, bench: Bench, sink: RecordedSink, ports: Mapping[EvseId, EvsePorts], evse_id: EvseId) -> None:
        """Bring a vehicle to C and the contactor to closed, as the engine does."""
        ports[evse_id].pilot.set_output(OFFER)
        await bench.vehicle(evse_id, PilotState.C)
        await until(lambda: sink.last("pilot", evse_id) == ("pilot", evse_id, PilotState.C))
        ports[evse_id].contactor.renew_permission()
        ports[evse_id].contactor.close()
        await until(lambda: sink.last("contactor", evse_id) == ("contactor", evse_id, True), 1.0)
