"""Energy meters as the rest of the agent sees them: what opens one, what it reports, and to whom.

A driver is an entry point of the group `charger_agent.meters`: a function with the signature of `OpenMeter`. `modbus` is built in.
"""

from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from agent.domain.ids import EvseId
from agent.domain.metering import Discontinuity, Reading
from agent.domain.time import Instant
from agent.domain.values import dataclass
from agent.metering.commissioning import MeterCheck
from agent.metering.lifetime import LifetimeState

if TYPE_CHECKING:
    from agent.fieldbus.bus import BusPool

ENTRY_POINT_GROUP: Final = "charger_agent.meters"
BUILT_IN: Final = {"modbus": "agent.metering.modbus:open_modbus_meter"}
"""Found without reading the metadata of all installed packages, which takes tens of milliseconds at start."""


class MeterConfigError(Exception):
    """The configuration of a meter cannot be used: driver, template or URL. The sentence says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSpec:
    """One `[evse.meter]`: `template` and `url` as configured, and what the EVSE is.

    `max_power_w` is the rated power of the EVSE (230 V × amperes × phases). `interval_s` is the time between read-outs; without a good
    one for `stale_after_s` the meter is lost. `resume` continues the lifetime register of before the restart.
    """

    evse_id: EvseId
    driver: str
    template: str
    url: str
    max_power_w: Decimal = Decimal(22_080)
    interval_s: float = 1.0
    stale_after_s: float = 5.0
    resume: LifetimeState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterStatus:
    """What a technician wants to know of a meter. `problem` is why it is lost or doubted, None when all is well.

    `checks`: which of its values fit each other.
    """

    evse_id: EvseId
    template: str
    where: str
    serial_number: str | None
    last_reading: Reading | None
    is_lost: bool
    problem: str | None
    lifetime: LifetimeState | None
    readings: int
    suspect_readings: int
    failed_reads: int
    checks: tuple[MeterCheck, ...] = ()


class MeterSink(Protocol):
    """Takes what a meter reports; called on the event loop, must return at once."""

    def on_reading(self, reading: Reading) -> None:
        """Take one read-out; a doubted one has quality SUSPECT."""

    def on_lost(self, evse_id: EvseId, reason: str) -> None:
        """Learn that there was no good read-out for too long. Called once, until `on_recovered`."""

    def on_recovered(self, evse_id: EvseId) -> None:
        """Learn that there is a good read-out again; called before its `on_reading`."""

    def on_discontinuity(self, evse_id: EvseId, kind: Discontinuity, last_good: Reading | None, first_new: Reading) -> None:
        """Learn that a new register has begun; called before the read-out that confirmed it. `last_good` may be from before a restart."""


class Meter(Protocol):
    """A meter that reads by itself once it runs."""

    async def run(self) -> None:
        """Read until cancelled: a task of the caller's TaskGroup."""

    def read_now(self) -> None:
        """Read out of turn, as soon as the bus is free; the answer comes to the sink. Never blocks."""

    def status(self) -> MeterStatus:
        """Tell what is known."""


class OpenMeter(Protocol):
    """What an entry point of the group is: make a meter, or raise MeterConfigError. Nothing is read before `run`."""

    def __call__(self, spec: MeterSpec, *, buses: "BusPool", sink: MeterSink, now: "Now") -> Meter: ...


Now: TypeAlias = Callable[[], Instant]
"""Gives the present moment; called when registers have been read."""


def open_meter(spec: MeterSpec, *, buses: "BusPool", sink: MeterSink, now: Now) -> Meter:
    """Make the meter that `spec` names. Raises MeterConfigError."""
    return find_driver(spec.driver)(spec, buses=buses, sink=sink, now=now)


def find_driver(name: str) -> OpenMeter:
    """Find a driver by its entry-point name. Raises MeterConfigError naming those that exist."""
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        return cast("OpenMeter", getattr(import_module(module), attribute))
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINT_GROUP)
    if name not in found.names:
        raise MeterConfigError(f"meter driver {name!r} is not installed; there are {', '.join(sorted({*found.names, *BUILT_IN}))}")
    return cast("OpenMeter", found[name].load())
