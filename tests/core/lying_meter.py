"""A station whose meter lies: what really flowed is known, every read-out goes through the agent's own judge as the driver gives it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from agent.domain.effects import Enqueue, Remark
from agent.domain.events import Event, MeterDiscontinuity, MeterLost, MeterRead
from agent.domain.ids import EvseId, TransactionId
from agent.domain.metering import Measurand, Phase, Quality, Quantity, Reading
from agent.domain.records import Recovered, StationRecord
from agent.domain.transaction import TransactionEventType, TransactionRecord
from agent.metering.judgement import MeterJudge
from agent.metering.lifetime import Counter, LifetimeState
from tests.core.rig import EVSE1, Rig

RATED_W = Decimal(22_080)
LOAD_W = Decimal(7_200)
STALE_MS = 5_000
ENERGY = Measurand.ENERGY_ACTIVE_IMPORT_REGISTER


@dataclass(frozen=True)
class Shown:
    """What the meter gives: the register before it is rounded to its step (None: a marker for no value), power, serial number."""

    energy_wh: Decimal | None
    watts: Decimal
    serial_number: str | None


Lie: TypeAlias = Callable[[Shown], Shown | None]
"""What becomes of the truth; None: no answer."""


def honest(truth: Shown) -> Shown:
    """No lie."""
    return truth


@dataclass(frozen=True)
class Bill:
    """One ended transaction: billed, and what flowed through the contactor meanwhile, both in Wh."""

    record: TransactionRecord
    billed_wh: int
    delivered_wh: Decimal


@dataclass
class LyingMeterRig(Rig):
    """`lie` stands between the register and the agent. `step_wh` is the meter's step, at `modulus_wh` it begins anew.

    `resume` is the lifetime register of before.
    """

    lie: Lie = honest
    step_wh: Decimal = Decimal(1)
    counter: Counter = field(default_factory=Counter)
    true_serial: str | None = "M-1"
    resume: LifetimeState | None = None
    began: dict[TransactionId, tuple[Decimal, int]] = field(default_factory=dict)
    initial_wh: Decimal = Decimal("1000000.4")
    load_w: Decimal = LOAD_W
    modulus_wh: Decimal | None = None

    def __post_init__(self) -> None:
        self.judge = MeterJudge(RATED_W, self.resume, self.counter)
        self.bills: list[Bill] = []
        self.registers_told: dict[TransactionId, list[int]] = {}
        self.good_at_ms = self.first_ms
        self.is_lost = False
        self.known_serial: str | None = None
        self.is_identified = False
        super().__post_init__()
        self.energy[EVSE1] = self.initial_wh

    def pass_ms(self, ms: int, *, reads: bool = True, watts: Decimal | None = None) -> None:
        """Let time pass under the present load."""
        super().pass_ms(ms, reads=reads, watts=self.load_w if watts is None else watts)

    def read(self, evse_id: EvseId = EVSE1, **_: object) -> None:
        """Read once a second, as the driver does: identify, judge, report."""
        register = self.energy[evse_id] if self.modulus_wh is None else self.energy[evse_id] % self.modulus_wh
        truth = Shown(register, self.load_w if self.boards[evse_id].is_closed else Decimal(0), self.true_serial)
        shown = self.lie(truth)
        problem = "silent"
        if shown is not None:
            problem = self._read(shown) or ""
        if self.at.mono_ms - self.good_at_ms >= STALE_MS and not self.is_lost:
            self.is_lost, self.is_identified = True, False
            self.apply(MeterLost(EVSE1, problem))

    def _read(self, shown: Shown) -> str | None:
        if not self.is_identified:
            self.known_serial, self.is_identified = shown.serial_number, True
        reading = self._reading(shown)
        doubts = self.judge.doubts(reading)
        if not doubts and self.judge.breaks_line(reading):
            self.known_serial = shown.serial_number
            reading = self._reading(shown)
        judgement = self.judge.judge(reading, doubts)
        if judgement.reading.quality is Quality.GOOD:
            self.good_at_ms, self.is_lost = self.at.mono_ms, False
        broken = judgement.broken
        if broken is not None and broken.kind is not None and broken.first_new is not None:
            self.apply(MeterDiscontinuity(EVSE1, broken.kind, broken.last_good, broken.first_new))
        self.apply(MeterRead(judgement.reading))
        return judgement.problem

    def _reading(self, shown: Shown) -> Reading:
        energy = None if shown.energy_wh is None else shown.energy_wh // self.step_wh * self.step_wh
        amps = shown.watts / 690
        quantities = [Quantity(Measurand.POWER_ACTIVE_IMPORT, shown.watts)]
        quantities += [Quantity(Measurand.CURRENT_IMPORT, amps, phase) for phase in (Phase.L1, Phase.L2, Phase.L3)]
        quantities += [Quantity(Measurand.VOLTAGE, Decimal(230), phase) for phase in (Phase.L1_N, Phase.L2_N, Phase.L3_N)]
        return Reading(
            evse_id=EVSE1,
            at=self.at,
            energy_wh=energy,
            quantities=tuple(quantities),
            serial_number=self.known_serial,
            resolution_wh=self.step_wh,
        )

    def apply(self, event: Event) -> list[object]:  # type: ignore[override]
        """Note what is billed as it is decided."""
        effects = super().apply(event)
        for effect in effects:
            if isinstance(effect, Enqueue):
                notice = effect.notice
                told = self.registers_told.setdefault(notice.transaction_id, [])
                sampled = [int(q.value) for value in notice.meter_values for q in value.quantities if q.measurand is ENERGY]
                if notice.event_type is TransactionEventType.ENDED:
                    assert sampled == sorted(sampled), "the end repeats what was sampled"
                    sampled = sampled[-1:]
                told += sampled
                told += [] if notice.register_wh is None else [notice.register_wh]
                if notice.event_type is TransactionEventType.STARTED:
                    assert notice.register_wh is not None
                    self.began[notice.transaction_id] = (self.energy[EVSE1], notice.register_wh)
                elif notice.event_type is TransactionEventType.ENDED:
                    record = self.evse.transaction
                    assert record is not None
                    assert record.energy_wh is not None
                    true_wh, start_wh = self.began[notice.transaction_id]
                    assert notice.register_wh == start_wh + record.energy_wh, "a portal that subtracts gets the bill"
                    self.bills.append(Bill(record, record.energy_wh, self.energy[EVSE1] - true_wh))
        return list(effects)

    def reboot(self, lie: Lie) -> "LyingMeterRig":
        """Cut the power now: what is on disk goes on in another run, with a meter that may lie from its first read-out."""
        record = self.evse.transaction
        open_ones = (record,) if record is not None and self.evse.has_transaction else ()
        recovered = Recovered(station=StationRecord(was_accepted=True), transactions=open_ones, last_boot_id=self.boot_id)
        assert self.at.utc is not None
        return LyingMeterRig(
            config=self.config,
            values=self.values,
            recovered=recovered,
            boot_id=self.boot_id + "'",
            first_pilot=self.evse.pilot.state,
            utc=self.at.plus_ms(60_000).utc,
            lie=lie,
            step_wh=self.step_wh,
            counter=self.counter,
            true_serial=self.true_serial,
            resume=self.judge.lifetime,
            began=dict(self.began),
            initial_wh=self.energy[EVSE1],
            load_w=self.load_w,
            modulus_wh=self.modulus_wh,
        )

    def told(self, name: str) -> list[str]:
        """The details of the remarks with a name."""
        return [e.detail for e in self.effects if isinstance(e, Remark) and e.name == name]
