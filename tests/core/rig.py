"""A station in pure time: events go in, ticks come when they are due, and a small board obeys the effects."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from agent.core import variables as var
from agent.core.state import Evse, EvseConfig, Station, StationConfig
from agent.core.station import new_station, next_deadline, step
from agent.core.variables import Variables, definitions
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import Command, Outcome, VariableAssignment
from agent.domain.effects import (
    Answer,
    CloseContactor,
    Effect,
    Enqueue,
    LockPlug,
    OpenContactor,
    Remark,
    Send,
    SetPilot,
    UnlockPlug,
)
from agent.domain.events import (
    AuthorizationAnswered,
    CommandReceived,
    ContactorReported,
    Event,
    IdTokenPresented,
    LinkChanged,
    LinkState,
    LockReported,
    MeterRead,
    PilotMeasured,
    Started,
    Tick,
)
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.metering import Measurand, Quantity, Reading
from agent.domain.notices import AuthorizeNotice, Notice, StatusNotice, TransactionNotice
from agent.domain.pilot import X1, PilotOutput, PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.time import Instant
from agent.domain.variables import ValueSource, VariableKey

EVSE1 = EvseId(1)
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TAG = IdToken("CAFE0001")


@dataclass
class Board:
    """One EVSE's hardware as the effects leave it."""

    output: PilotOutput = X1
    is_closed: bool = False
    is_locked: bool = False


def assign(variables: Variables, values: dict[VariableKey, str], source: ValueSource = ValueSource.CONFIGURATION) -> Variables:
    after, results = variables.assign([VariableAssignment(key=k, value=v) for k, v in values.items()], source)
    assert not any(r.reason for r in results), results
    return after


PRICED = {
    var.WEB_PAYMENTS_ENABLED: "true",
    var.WEB_PAYMENTS_TEMPLATE: "https://pay.example/{chargingstationid}/{evse}",
    var.CURRENCY: "NOK",
    var.VAT_PERCENT: "25",
    var.PRICE_KWH: "4.50",
    var.PRICE_HOUR: "30",
    var.PRICE_SESSION: "5",
}


@dataclass
class Rig:
    """`apply` gives an event to the core; `pass_ms` lets time pass with every tick that falls due; the board reports back by itself."""

    values: dict[VariableKey, str] = field(default_factory=dict)
    evses: tuple[EvseConfig, ...] = (EvseConfig(evse_id=EVSE1),)
    config: dict[str, object] = field(default_factory=dict)
    recovered: Recovered = field(default_factory=lambda: Recovered(station=StationRecord(was_accepted=True)))
    boot_id: str = "boot-1"
    first_ms: int = 1_000
    utc: datetime | None = START
    auto_report: bool = True
    first_pilot: PilotState | None = PilotState.A

    def __post_init__(self) -> None:
        self.at = Instant(self.boot_id, self.first_ms, self.utc)
        variables = assign(Variables.of(definitions(evses=len(self.evses), is_tethered=self.evses[0].is_tethered)), self.values)
        config = replace(StationConfig(evses=self.evses, station_id="CP001"), **self.config)
        self.station: Station = new_station(config, variables, self.at)
        self.boards = {evse.evse_id: Board() for evse in self.evses}
        self.effects: list[Effect] = []
        self.log: list[tuple[Event, Instant]] = []
        self.energy = {evse.evse_id: Decimal("1000000.4") for evse in self.evses}
        self.serial = "M-1"
        self._ids = 0
        self.apply(Started(self.recovered))
        for evse in self.evses:
            if self.first_pilot is not None:
                self.pilot(self.first_pilot, evse.evse_id)

    def apply(self, event: Event) -> list[Effect]:
        """Give an event, and let the board obey what it ordered."""
        self.log.append((event, self.at))
        self.station, effects = step(self.station, event, self.at)
        self.effects.extend(effects)
        replies: list[Event] = []
        for effect in effects:
            replies.extend(self._obey(effect))
        for reply in replies:
            self.apply(reply)
        return list(effects)

    def _obey(self, effect: Effect) -> Iterable[Event]:
        match effect:
            case SetPilot(evse_id=evse_id, output=output):
                self.boards[evse_id].output = output
            case OpenContactor(evse_id=evse_id):
                self.boards[evse_id].is_closed = False
                if self.auto_report:
                    yield ContactorReported(evse_id, is_closed=False)
            case CloseContactor(evse_id=evse_id):
                self.boards[evse_id].is_closed = True
                if self.auto_report:
                    yield ContactorReported(evse_id, is_closed=True)
            case LockPlug(evse_id=evse_id):
                self.boards[evse_id].is_locked = True
                if self.auto_report:
                    yield LockReported(evse_id, is_locked=True)
            case UnlockPlug(evse_id=evse_id):
                self.boards[evse_id].is_locked = False
                if self.auto_report:
                    yield LockReported(evse_id, is_locked=False)
            case _:
                pass

    def pass_ms(self, ms: int, *, reads: bool = True, watts: Decimal = Decimal(7200)) -> None:
        """Let time pass in steps of at most a second; the meter is read every second while `reads`."""
        end = self.at.mono_ms + ms
        while self.at.mono_ms < end:
            due = next_deadline(self.station)
            to_next = min(end - self.at.mono_ms, 1_000 - self.at.mono_ms % 1_000)
            if due is not None:
                to_next = max(0, min(to_next, due.mono_ms - self.at.mono_ms))
            for evse_id, board in self.boards.items():
                if board.is_closed:
                    self.energy[evse_id] += watts * to_next / 3_600_000
            self.at = self.at.plus_ms(to_next)
            if due is not None and self.at.mono_ms >= due.mono_ms:
                self.apply(Tick())
                after = next_deadline(self.station)
                assert after is None or after.mono_ms > self.at.mono_ms, "a tick must make progress"
            if reads and self.at.mono_ms % 1_000 == 0:
                for evse_id in self.boards:
                    self.read(evse_id)

    def read(self, evse_id: EvseId = EVSE1, **changes: object) -> None:
        """The meter is read now."""
        amps = Decimal(16) if self.boards[evse_id].is_closed else Decimal(0)
        quantities = (
            Quantity(Measurand.CURRENT_IMPORT, amps),
            Quantity(Measurand.POWER_ACTIVE_IMPORT, amps * 450),
            Quantity(Measurand.VOLTAGE, Decimal(230)),
        )
        reading = Reading(evse_id=evse_id, at=self.at, energy_wh=self.energy[evse_id], quantities=quantities, serial_number=self.serial)
        self.apply(MeterRead(replace(reading, **changes)))

    # --- what people and peers do

    def new_id(self) -> str:
        self._ids += 1
        return f"{self.boot_id}-{self._ids}"

    def online(self, *, report_all: bool = True) -> None:
        self.apply(LinkChanged(LinkState.ACCEPTED, report_all))

    def offline(self) -> None:
        self.apply(LinkChanged(LinkState.OFFLINE))

    def pilot(self, state: PilotState, evse_id: EvseId = EVSE1) -> None:
        self.apply(PilotMeasured(evse_id, state))

    def plug(self, evse_id: EvseId = EVSE1) -> None:
        """A vehicle is connected and the level has settled."""
        self.pilot(PilotState.B, evse_id)
        self.pass_ms(200)

    def ready(self, evse_id: EvseId = EVSE1) -> None:
        self.pilot(PilotState.C, evse_id)
        self.pass_ms(200)

    def unplug(self, evse_id: EvseId = EVSE1) -> None:
        self.pilot(PilotState.A, evse_id)
        self.pass_ms(100)

    def swipe(self, token: IdToken = TAG, evse_id: EvseId | None = None) -> None:
        self.apply(IdTokenPresented(evse_id, token, RequestId(self.new_id()), TransactionId(self.new_id())))

    def answer_authorize(self, status: AuthorizationStatus = AuthorizationStatus.ACCEPTED, group: IdToken | None = None) -> None:
        question = next(e.notice for e in reversed(self.effects) if isinstance(e, Send) and isinstance(e.notice, AuthorizeNotice))
        self.apply(AuthorizationAnswered(question.request_id, IdTokenInfo(status, None, group)))

    def command(self, command: Command) -> Outcome | None:
        """Give a command; its outcome when it was answered already."""
        command_id = CommandId(self.new_id())
        seen = len(self.effects)
        self.apply(CommandReceived(command_id, command, RequestId(self.new_id()), TransactionId(self.new_id())))
        return self.outcome(command_id, seen)

    def outcome(self, command_id: CommandId, seen: int = 0) -> Outcome | None:
        for effect in self.effects[seen:]:
            if isinstance(effect, Answer) and effect.command_id == command_id:
                return effect.outcome
        return None

    def charge(self, token: IdToken = TAG) -> None:
        """Plug in, swipe, be accepted, be ready: energy flows."""
        self.pass_ms(2_000)
        self.plug()
        self.swipe(token)
        self.answer_authorize()
        self.ready()
        assert self.boards[EVSE1].is_closed

    # --- what was said

    @property
    def evse(self) -> Evse:
        return self.station.evses[0]

    def notices(self) -> list[TransactionNotice]:
        return [e.notice for e in self.effects if isinstance(e, Enqueue)]

    def sent(self) -> list[Notice]:
        return [e.notice for e in self.effects if isinstance(e, Send)]

    def statuses(self) -> list[StatusNotice]:
        return [n for n in self.sent() if isinstance(n, StatusNotice) and n.evse_id is not None]

    def remarks(self) -> list[str]:
        return [e.name for e in self.effects if isinstance(e, Remark)]
