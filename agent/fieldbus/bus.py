"""Buses: one owner task each, a bounded queue, time-outs, gaps, retry, quarantine, reopening, statistics.

The rules and their reasons:
* One request at a time. Requests queue (`QUEUE_LIMIT`); a full queue refuses at once instead of growing.
* A device that fails `FAILURES_BEFORE_QUARANTINE` requests in a row is left alone for a growing time and then asked once without retry,
  so that a dead slave costs the others one time-out per pause.
* An RTU answer carries no address: a late one must not be taken for the answer to the next question. What tells answers apart is function
  and length. So a question of the same kind as one that is still unanswered is only asked after one of another kind was answered (a
  one-register read), because answers keep their order; and a device with no kind left rests until nothing can be late any more.
* No thread and no polling: the bus wakes up when asked, when bytes come, or when a time-out ends. Time is the event loop's.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import field
from enum import IntEnum
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

from agent.domain.values import dataclass
from agent.fieldbus.errors import (
    BusClosed,
    BusError,
    BusException,
    BusOverloaded,
    BusQuarantined,
    BusTimeout,
    BusUnavailable,
    BusUrlError,
)
from agent.fieldbus.url import BusUrl, Endpoint, Framing, SerialEndpoint

QUEUE_LIMIT: Final = 32
ATTEMPTS: Final = 2
OPEN_TIMEOUT_S: Final = 3.0
REOPEN_FIRST_S: Final = 0.5
REOPEN_LAST_S: Final = 10.0
FAILURES_BEFORE_QUARANTINE: Final = 3
QUARANTINE_FIRST_S: Final = 2.0
QUARANTINE_LAST_S: Final = 30.0
SILENT_BEFORE_RECONNECT_TCP: Final = 4
"""Time-outs in a row, of whatever device, after which a TCP connection is taken for half open."""
SILENT_BEFORE_REOPEN_SERIAL: Final = 12
REST_TIMEOUTS: Final = 3
"""Time-outs after which no answer is taken to be late any more."""
OTHER_DEVICE_GAP_S: Final = 0.05
"""Silence before another device of an RTU line is asked: 5 ms were seen too little, 10 ms enough, some masters use 200 ms."""
GATEWAY_CODES: Final = frozenset({10, 11})
"""Exceptions that a gateway sends for a device that is silent behind it."""
BUSY_CODES: Final = frozenset({5, 6})


class Table(IntEnum):
    """The register table, by the function code that reads it."""

    HOLDING = 3
    INPUT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTiming:
    """What one device needs: `timeout_s` per read, `gap_s` of silence before it is asked (RTU lines; at least 3.5 characters are kept)."""

    timeout_s: float = 1.0
    gap_s: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatistics:
    """One device of a bus. `quarantine_s` is how long it is still left alone."""

    device: int
    requests: int
    answers: int
    timeouts: int
    exceptions: int
    failures_in_a_row: int
    quarantine_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStatistics:
    """One bus since its start. `bad_frames` had a wrong CRC or did not fit the request; `reconnects` counts openings after the first."""

    bus: str
    is_open: bool
    requests: int
    answers: int
    timeouts: int
    exceptions: int
    bad_frames: int
    reconnects: int
    overloads: int
    devices: tuple[DeviceStatistics, ...]


class Link(Protocol):
    """The wire, as the bus uses it (`agent.fieldbus.link`)."""

    @property
    def is_open(self) -> bool: ...

    @property
    def bad_frames(self) -> int: ...

    async def open(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...

    async def read(self, device: int, function: int, address: int, count: int, timeout_s: float) -> tuple[int, ...]: ...

    async def write(self, device: int, address: int, values: Sequence[int], timeout_s: float) -> None: ...


Kind: TypeAlias = tuple[int, int]
"""What an RTU answer shows of its question: function code and number of registers."""
WRITE: Final = 16
"""Function code: write multiple registers."""


@dataclass(slots=True)
class _Device:
    requests: int = 0
    answers: int = 0
    timeouts: int = 0
    exceptions: int = 0
    failures_in_a_row: int = 0
    quarantine_s: float = 0.0
    free_at: float = 0.0
    unanswered: set[Kind] = field(default_factory=set)
    """Kinds of questions that timed out on an RTU line since the last answer that could not be mistaken."""


@dataclass(slots=True, kw_only=True)
class _Job:
    device: int
    table: Table
    address: int
    count: int
    timing: DeviceTiming
    answer: asyncio.Future[tuple[int, ...]] = field(repr=False)
    values: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        return (WRITE, len(self.values)) if self.values else (int(self.table), self.count)


def _pymodbus_link(endpoint: Endpoint) -> Link:
    from agent.fieldbus.link import ModbusLink

    return ModbusLink(endpoint)


class Bus:
    """One serial line or TCP connection and the task that owns it. Made by `BusPool`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint: Final = endpoint
        self._link: Link | None = None
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(QUEUE_LIMIT)
        self._devices: defaultdict[int, _Device] = defaultdict(_Device)
        self._is_rtu = endpoint.framing is Framing.RTU
        self._is_closed = False
        self._last_device = 0
        self._quiet_since = 0.0
        self._silent_in_a_row = 0
        self._open_again_at = 0.0
        self._open_pause_s = 0.0
        self._unavailable_because = ""
        self._openings = 0
        self._overloads = 0

    async def read(self, device: int, table: Table, address: int, count: int, timing: DeviceTiming) -> tuple[int, ...]:
        """Read registers in turn with everybody else. Raises BusTemporary; cancelling the caller withdraws the request."""
        answer: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        return await self._do(_Job(device=device, table=table, address=address, count=count, timing=timing, answer=answer))

    async def write(self, device: int, address: int, values: Sequence[int], timing: DeviceTiming) -> None:
        """Write holding registers, in turn with everybody else. May be repeated: only what may be written twice. Raises BusTemporary."""
        answer: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        await self._do(
            _Job(
                device=device,
                table=Table.HOLDING,
                address=address,
                count=len(values),
                timing=timing,
                answer=answer,
                values=tuple(values),
            )
        )

    async def _do(self, job: _Job) -> tuple[int, ...]:
        if self._is_closed:
            raise BusClosed(f"{self.endpoint}: the bus is closed")
        self._refuse_quarantined(job.device)
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            self._overloads += 1
            raise BusOverloaded(
                f"{self.endpoint}: {QUEUE_LIMIT} requests are waiting already; read less often or use another bus"
            ) from None
        return await job.answer

    async def own(self) -> None:
        """Serve the queue until cancelled; then close the wire and refuse what waits."""
        try:
            # Not `while True`: Python 3.11's `wait_for`, with which pymodbus waits, forgets a cancellation that comes in the same turn as
            # the answer, and other releases of pymodbus make an error of it.
            owner = asyncio.current_task()
            while owner is None or not owner.cancelling():
                job = await self._queue.get()
                if job.answer.done():
                    continue
                try:
                    words = await self._serve(job)
                except BusError as error:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                except BaseException:
                    self._refuse(job)
                    raise
                else:
                    if not job.answer.done():
                        job.answer.set_result(words)
        finally:
            self.close()

    def close(self) -> None:
        """Close the wire and refuse what waits and what comes."""
        self._is_closed = True
        if self._link is not None:
            self._link.close()
        while not self._queue.empty():
            self._refuse(self._queue.get_nowait())

    def statistics(self) -> BusStatistics:
        """Count what happened on this bus so far."""
        devices = tuple(
            DeviceStatistics(
                device=number,
                requests=one.requests,
                answers=one.answers,
                timeouts=one.timeouts,
                exceptions=one.exceptions,
                failures_in_a_row=one.failures_in_a_row,
                quarantine_s=max(0.0, one.free_at - asyncio.get_running_loop().time()),
            )
            for number, one in sorted(self._devices.items())
        )
        return BusStatistics(
            bus=str(self.endpoint),
            is_open=self._link is not None and self._link.is_open,
            requests=sum(one.requests for one in devices),
            answers=sum(one.answers for one in devices),
            timeouts=sum(one.timeouts for one in devices),
            exceptions=sum(one.exceptions for one in devices),
            bad_frames=0 if self._link is None else self._link.bad_frames,
            reconnects=max(0, self._openings - 1),
            overloads=self._overloads,
            devices=devices,
        )

    def _refuse(self, job: _Job) -> None:
        if not job.answer.done():
            job.answer.set_exception(BusClosed(f"{self.endpoint}: the bus was closed while the request waited"))

    def _refuse_quarantined(self, device: int) -> None:
        state = self._devices[device]
        remaining = state.free_at - asyncio.get_running_loop().time()
        if remaining > 0:
            raise BusQuarantined(
                f"{self.endpoint} device {device}: silent {state.failures_in_a_row} times in a row, asked again in {remaining:.1f} s",
                remaining_s=remaining,
            )

    async def _serve(self, job: _Job) -> tuple[int, ...]:
        self._refuse_quarantined(job.device)
        device = self._devices[job.device]
        attempts = ATTEMPTS if device.quarantine_s == 0 else 1
        while True:
            attempts -= 1
            link = await self._open_link()
            try:
                words = await self._exchange(link, device, job)
            except BusException as error:
                device.exceptions += 1
                if error.code in GATEWAY_CODES:
                    self._failed(device, job)
                    raise
                self._answered(device)
                if error.code not in BUSY_CODES or attempts <= 0:
                    raise
            except BusTimeout:
                device.timeouts += 1
                self._silent(link)
                if attempts <= 0 or self._resync_kind(device, job) is None:
                    self._failed(device, job)
                    raise
            except BusUnavailable as error:
                link.close()
                self._unavailable_because = str(error)
                if attempts <= 0:
                    raise
            else:
                self._answered(device)
                return words

    async def _exchange(self, link: Link, device: _Device, job: _Job) -> tuple[int, ...]:
        kind = job.kind
        if kind in device.unanswered:
            detour = self._resync_kind(device, job)
            if detour is None:
                device.unanswered.clear()  # the device has rested (`_failed`): nothing is late any more
            else:
                with contextlib.suppress(BusException):  # a refusal is an answer too
                    await self._ask(link, device, job, detour)
        return await self._ask(link, device, job, kind)

    def _resync_kind(self, device: _Device, job: _Job) -> Kind | None:
        """Choose a kind of question whose answer cannot be mistaken for one that is out; None if there is none left."""
        if job.kind not in device.unanswered:
            return job.kind
        other = Table.HOLDING if job.table is Table.INPUT else Table.INPUT
        for kind in ((int(job.table), 1), (int(other), 1)):
            if kind not in device.unanswered:
                return kind
        return None

    async def _ask(self, link: Link, device: _Device, job: _Job, kind: Kind) -> tuple[int, ...]:
        await self._keep_gap(job)
        device.requests += 1
        function, count = kind
        try:
            if function == WRITE:
                words: tuple[int, ...] = ()
                await link.write(job.device, job.address, job.values, job.timing.timeout_s)
            else:
                words = await link.read(job.device, function, job.address, count, job.timing.timeout_s)
        except BusException:
            if all(out_function != function for out_function, _ in device.unanswered):
                device.unanswered.clear()  # answers come in order: everything older has passed
            raise
        except (BusTimeout, BusUnavailable):
            if self._is_rtu:
                device.unanswered.add(kind)  # also when the port was lost: a slave's late answer outlives our port
            raise
        else:
            device.unanswered.clear()
            return words
        finally:
            self._last_device = job.device
            self._quiet_since = asyncio.get_running_loop().time()

    async def _keep_gap(self, job: _Job) -> None:
        if not self._is_rtu:
            return
        gap = job.timing.gap_s
        if isinstance(self.endpoint, SerialEndpoint):
            gap = max(gap, 3.5 * self.endpoint.character_s)  # Modbus over Serial Line 1.02, 2.5.1.1
        if self._last_device not in {0, job.device}:
            gap = max(gap, OTHER_DEVICE_GAP_S)
        pause = self._quiet_since + gap - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _open_link(self) -> Link:
        if self._link is None:
            self._link = _pymodbus_link(self.endpoint)
        link = self._link
        if link.is_open:
            return link
        now = asyncio.get_running_loop().time()
        if now < self._open_again_at:
            raise BusUnavailable(f"{self._unavailable_because}; tried again in {self._open_again_at - now:.1f} s")
        try:
            await link.open(OPEN_TIMEOUT_S)
        except BusUnavailable as error:
            self._unavailable_because = str(error)
            self._open_pause_s = min(max(2 * self._open_pause_s, REOPEN_FIRST_S), REOPEN_LAST_S)
            self._open_again_at = asyncio.get_running_loop().time() + self._open_pause_s
            raise
        self._openings += 1
        self._open_pause_s = 0.0
        self._silent_in_a_row = 0
        return link

    def _answered(self, device: _Device) -> None:
        device.answers += 1
        device.failures_in_a_row = 0
        device.quarantine_s = 0.0
        device.free_at = 0.0
        self._silent_in_a_row = 0

    def _failed(self, device: _Device, job: _Job) -> None:
        device.failures_in_a_row += 1
        must_rest = self._resync_kind(device, job) is None
        if must_rest or device.failures_in_a_row >= FAILURES_BEFORE_QUARANTINE:
            device.quarantine_s = min(
                max(2 * device.quarantine_s, QUARANTINE_FIRST_S, REST_TIMEOUTS * job.timing.timeout_s), QUARANTINE_LAST_S
            )
            device.free_at = asyncio.get_running_loop().time() + device.quarantine_s

    def _silent(self, link: Link) -> None:
        self._silent_in_a_row += 1
        limit = SILENT_BEFORE_REOPEN_SERIAL if isinstance(self.endpoint, SerialEndpoint) else SILENT_BEFORE_RECONNECT_TCP
        if self._silent_in_a_row >= limit:
            self._silent_in_a_row = 0
            link.close()


@dataclass(frozen=True, slots=True)
class BusDevice:
    """One device on a shared bus: what a driver holds."""

    bus: Bus
    number: int
    timing: DeviceTiming

    async def read(self, table: Table, address: int, count: int) -> tuple[int, ...]:
        """Read `count` (1..125) registers from the wire address on. Raises BusTemporary."""
        return await self.bus.read(self.number, table, address, count, self.timing)

    async def write(self, address: int, values: Sequence[int]) -> None:
        """Write 1 to 123 holding registers from the wire address on. Raises BusTemporary."""
        await self.bus.write(self.number, address, values, self.timing)

    def __str__(self) -> str:
        return f"{self.bus.endpoint} device {self.number}"


class BusPool:
    """All buses of the process: `async with BusPool() as buses`. Leaving the block closes them; the tasks are its TaskGroup's."""

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()
        self._buses: dict[str, Bus] = {}
        self._owners: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for owner in self._owners:
            owner.cancel()
        if kind is None or issubclass(kind, asyncio.CancelledError):
            await self._tasks.__aexit__(kind, error, trace)
        else:
            await self._tasks.__aexit__(None, None, None)  # the block's own error goes on as it is, not wrapped in a group
        for bus in self._buses.values():
            bus.close()  # an owner that was cancelled before its first turn has not done it
        self._buses.clear()

    def device(self, url: BusUrl, timing: DeviceTiming | None = None) -> BusDevice:
        """Give the device at `url`; all that name the same port or address share its bus. Raises BusUrlError on other line settings."""
        endpoint = url.endpoint
        bus = self._buses.get(endpoint.resource)
        if bus is None:
            bus = self._buses[endpoint.resource] = Bus(endpoint)
            self._owners.append(self._tasks.create_task(bus.own(), name=f"fieldbus {endpoint.resource}"))
        elif bus.endpoint != endpoint:
            raise BusUrlError(
                f"{endpoint.resource} is used as [{bus.endpoint}] by another device and cannot be [{endpoint}]; give both the same settings"
            )
        return BusDevice(bus, url.device, DeviceTiming() if timing is None else timing)

    def statistics(self) -> tuple[BusStatistics, ...]:
        """Statistics of each bus."""
        return tuple(bus.statistics() for bus in self._buses.values())
