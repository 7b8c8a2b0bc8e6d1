"""The driver of every meter that speaks Modbus and has a template: identifies it, polls it, judges what it says, reports.

A read-out carries the moment at which its import register was read; nothing is repeated with a newer time. What cannot be read is missing,
and what cannot be true is marked.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from agent.domain.metering import Quantity, Reading
from agent.fieldbus.errors import BusException, BusTemporary, BusTimeout, BusUrlError
from agent.fieldbus.url import parse_bus_url
from agent.metering.api import MeterConfigError, MeterSink, MeterSpec, MeterStatus, Now
from agent.metering.commissioning import self_check
from agent.metering.judgement import Judgement, MeterJudge
from agent.metering.lifetime import Counter
from agent.metering.registers import TEXT_TYPES, decode_number, decode_text, plain
from agent.metering.template import MeterTemplate, Point, RegisterField, TemplateError, load_template

if TYPE_CHECKING:
    from agent.fieldbus.bus import BusDevice, BusPool

log = logging.getLogger(__name__)

SERIAL_TIMEOUTS: Final = 3
SERIAL_AGAIN_S: Final = 60.0
"""A serial number that got no answer so often, which is not a refusal, is asked for again after this time."""
RECOVERY_AGAIN_S: Final = 30.0
"""A meter that stays locked is written to again after this time: registers may wear out."""


class WrongMeter(Exception):
    """Another meter answers than the template is for."""


def open_modbus_meter(spec: MeterSpec, *, buses: "BusPool", sink: MeterSink, now: Now) -> "ModbusMeter":
    """Make the meter at `spec.url` by `spec.template`. Raises MeterConfigError."""
    try:
        template = load_template(spec.template)
        device = buses.device(parse_bus_url(spec.url), template.timing)
    except (TemplateError, BusUrlError) as error:
        raise MeterConfigError(f"EVSE {spec.evse_id}: {error}") from error
    if not 0 < spec.interval_s < spec.stale_after_s:
        raise MeterConfigError(
            f"EVSE {spec.evse_id}: interval_s = {spec.interval_s:g} must be above 0 and below stale_after_s = {spec.stale_after_s:g}"
        )
    return ModbusMeter(spec, template=template, device=device, sink=sink, now=now)


def decode_point(point: Point, words: Sequence[int]) -> tuple[Decimal, Decimal] | None:
    """Turn the registers of a point into its value and its step in the measurand's unit; None when the meter gives no value."""
    number = decode_number(words, point.register.type, point.register.word_order)
    if number is None or (point.invalid and number.value in point.invalid):
        return None
    return plain(number.value * point.unit), plain(abs(number.step * point.unit))


def decode_identity(register: RegisterField, words: Sequence[int]) -> str | None:
    """Turn identity registers into text: a serial number or a code; None when there is none."""
    if register.type in TEXT_TYPES:
        return decode_text(words, register.type)
    number = decode_number(words, register.type, register.word_order)
    return None if number is None else str(number.value)


class ModbusMeter:
    """One meter on a shared bus. `run` in a task; reports to `sink`."""

    def __init__(self, spec: MeterSpec, *, template: MeterTemplate, device: "BusDevice", sink: MeterSink, now: Now) -> None:
        self._spec = spec
        self._template = template
        self._device = device
        self._sink = sink
        self._now = now
        energy = template.energy
        self._judge = MeterJudge(spec.max_power_w, spec.resume, Counter(energy.register.type, energy.unit))
        self._serial: str | None = None
        self._is_identified = False
        self._serial_again_at: float | None = None
        self._serial_timeouts = 0
        self._recovery_again_at = 0.0
        self._wake = asyncio.Event()
        self._stale_timer: asyncio.TimerHandle | None = None
        self._is_lost = False
        self._problem: str | None = "not read yet"
        self._doubt = ""
        self._last_reading: Reading | None = None
        self._readings = self._suspect_readings = self._failed_reads = 0

    async def run(self) -> None:
        """Read every `interval_s` until cancelled."""
        loop = asyncio.get_running_loop()
        self._wait_for_staleness()
        turn = loop.time()
        try:
            while True:
                self._wake.clear()
                await self._read_once()
                missed = max(0, int((loop.time() - turn) / self._spec.interval_s))
                turn += (missed + 1) * self._spec.interval_s
                try:
                    async with asyncio.timeout_at(turn):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            if self._stale_timer is not None:
                self._stale_timer.cancel()

    def read_now(self) -> None:
        """Read out of turn, as soon as the bus is free."""
        self._wake.set()

    def status(self) -> MeterStatus:
        """Tell what is known."""
        return MeterStatus(
            evse_id=self._spec.evse_id,
            template=self._template.name,
            where=str(self._device),
            serial_number=self._serial,
            last_reading=self._last_reading,
            is_lost=self._is_lost,
            problem=self._problem,
            lifetime=self._judge.lifetime,
            readings=self._readings,
            suspect_readings=self._suspect_readings,
            failed_reads=self._failed_reads,
            checks=self_check(self._last_reading, self._judge.evidence),
        )

    async def _read_once(self) -> None:
        try:
            if not self._is_identified:
                await self._recover()
            if not self._is_identified or self._serial_is_due():
                await self._identify()
            reading = await self._read_registers()
            doubts = self._judge.doubts(reading)
            if not doubts and self._judge.breaks_line(reading):
                # Before a break is believed: is it still the same meter?
                await self._identify()
                reading = replace(reading, serial_number=self._serial)
        except (BusTemporary, WrongMeter) as error:
            self._failed_reads += 1
            self._is_identified = self._is_identified and isinstance(error, BusTemporary)
            self._problem = str(error)
            log.debug("meter read failed evse_id=%s reason=%s", self._spec.evse_id, error)
            return
        self._report(self._judge.judge(reading, doubts))

    def _report(self, judgement: Judgement) -> None:
        reading, broken, problem = judgement.reading, judgement.broken, judgement.problem
        self._readings += 1
        if problem is not None:
            self._suspect_readings += 1
            if self._doubt != judgement.doubt:
                log.warning("meter doubted evse_id=%s reason=%s", self._spec.evse_id, problem)
            self._doubt, self._problem = judgement.doubt, problem
        else:
            self._doubt = ""
            self._problem = None
            self._wait_for_staleness()
            if self._is_lost:
                self._is_lost = False
                log.info("meter recovered evse_id=%s energy_wh=%s", self._spec.evse_id, reading.energy_wh)
                self._sink.on_recovered(self._spec.evse_id)
        self._last_reading = reading
        if broken is not None and broken.kind is not None and broken.first_new is not None:
            log.warning(
                "meter register broken evse_id=%s kind=%s last_good_wh=%s first_new_wh=%s serial_number=%s",
                self._spec.evse_id,
                broken.kind,
                None if broken.last_good is None else broken.last_good.energy_wh,
                broken.first_new.energy_wh,
                self._serial,
            )
            self._sink.on_discontinuity(self._spec.evse_id, broken.kind, broken.last_good, broken.first_new)
        self._sink.on_reading(reading)

    def _wait_for_staleness(self) -> None:
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._stale_timer = asyncio.get_running_loop().call_later(self._spec.stale_after_s, self._lose)

    def _lose(self) -> None:
        self._is_lost = True
        self._is_identified = False  # who comes back may be another one
        reason = f"no good read-out for {self._spec.stale_after_s:g} s: {self._problem or 'no answer yet'}"
        log.warning("meter lost evse_id=%s reason=%s", self._spec.evse_id, reason)
        self._sink.on_lost(self._spec.evse_id, reason)

    async def _recover(self) -> None:
        """Write what the template wants whenever the meter is met anew. One that refuses may be well: reading it will tell."""
        now = asyncio.get_running_loop().time()
        if not self._template.recovery or now < self._recovery_again_at:
            return
        for write in self._template.recovery:
            try:
                await self._device.write(write.address, write.values)
            except BusException as error:
                log.warning("meter recovery refused evse_id=%s reason=%s", self._spec.evse_id, error)
        self._recovery_again_at = now + RECOVERY_AGAIN_S
        log.info("meter recovery written evse_id=%s registers=%d", self._spec.evse_id, len(self._template.recovery))

    async def _identify(self) -> None:
        for check in self._template.checks:
            register = check.register
            words = await self._device.read(register.table, register.address, register.count)
            code = decode_identity(register, words)
            if code not in check.allowed:
                raise WrongMeter(
                    f"{self._device}: register 0x{register.address:04X} says {code}, template {self._template.name} is for "
                    f"{', '.join(sorted(check.allowed))}: another meter or another device address"
                )
        if not self._template.checks:
            # Proves that somebody is there before the serial number is asked for, which some meters do not have and do not answer.
            first = self._template.blocks[0]
            await self._device.read(first.table, first.address, first.count)
        if self._template.serial_number is not None:
            self._serial = await self._read_serial(self._template.serial_number)
        self._is_identified = True

    async def _read_serial(self, register: RegisterField) -> str | None:
        """Read the serial number; None where the meter refuses, or is silent for the third time while it answers everything else."""
        self._serial_again_at = None
        try:
            words = await self._device.read(register.table, register.address, register.count)
        except BusException:
            return None
        except BusTimeout:
            self._serial_timeouts += 1
            if self._serial_timeouts < SERIAL_TIMEOUTS:
                raise
            self._serial_again_at = asyncio.get_running_loop().time() + SERIAL_AGAIN_S
            return None
        self._serial_timeouts = 0
        serial = decode_identity(register, words)
        return None if serial == "0" else serial

    def _serial_is_due(self) -> bool:
        return self._serial_again_at is not None and asyncio.get_running_loop().time() >= self._serial_again_at

    async def _read_registers(self) -> Reading:
        quantities: list[Quantity] = []
        energy_wh: Decimal | None = None
        resolution_wh = self._template.step_wh
        at = None
        for block in self._template.blocks:
            words = await self._device.read(block.table, block.address, block.count)
            if any(point.is_energy for point in block.points):
                at = self._now()
            for point in block.points:
                decoded = decode_point(point, block.words(point.register, words))
                if decoded is None:
                    continue
                value, step = decoded
                quantities.append(Quantity(point.measurand, value, point.phase))
                if point.is_energy:
                    energy_wh = value
                    resolution_wh = max(resolution_wh, step)
        return Reading(
            evse_id=self._spec.evse_id,
            at=self._now() if at is None else at,
            energy_wh=energy_wh,
            quantities=tuple(quantities),
            serial_number=self._serial,
            resolution_wh=resolution_wh,
        )
