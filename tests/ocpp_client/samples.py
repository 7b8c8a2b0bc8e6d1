"""Domain values to encode, and the two objects from outside that an adapter asks: a clock and the store's memory of the CSMS's numbers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from agent.core.variables import Variables, definitions
from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.commands import GetVariables, GetVariablesOutcome, Outcome, SetVariables, SetVariablesOutcome
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.metering import UNIT, Measurand, MeterValue, Phase, Quantity, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.tariff import SessionCost
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState, StoppedReason, TransactionEventType, TriggerReason
from agent.domain.variables import DataType, Mutability, VariableDefinition, parse_variable_key
from agent.ocpp_client.adapter import Sending, VersionAdapter
from tests.ocpp_client.official import valid_response

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
AT = Instant("boot-1", 60_000, NOON)
TIMELESS = Instant("boot-0", 60_000)
TX = TransactionId("7b1fb2d0-6c0e-4f0c-9a55-1d9ef1b0a001")
TOKEN = IdToken("04AABBCCDD", IdTokenType.ISO14443)
FIRST = Sending(is_late=False, attempt=1)
DEFINITIONS = definitions(evses=2, identity="CP001", is_tethered=False)
PASSWORD = VariableDefinition(
    key=parse_variable_key("SecurityCtrlr.BasicAuthPassword"),
    data_type=DataType.STRING,
    default="",
    description="Password of HTTP Basic.",
    mutability=Mutability.WRITE_ONLY,
    key_1_6="AuthorizationKey",
)


@dataclass
class Clock:
    """Knows the time of the boots that it was told about: the UTC of their monotonic zero."""

    zero: dict[str, datetime] = field(default_factory=dict)
    boot_id: str = "boot-1"

    def utc_of(self, instant: Instant) -> datetime | None:
        if instant.utc is not None:
            return instant.utc
        start = self.zero.get(instant.boot_id)
        return None if start is None else start + timedelta(milliseconds=instant.mono_ms)

    def may_learn(self, instant: Instant) -> bool:
        return instant.boot_id == self.boot_id


@dataclass
class Refs:
    """The numbers that a CSMS gave, and the transactions whose Start went to dead letters."""

    numbers: dict[TransactionId, int] = field(default_factory=dict)
    dead: set[TransactionId] = field(default_factory=set)

    def remote_id(self, transaction_id: TransactionId) -> int | None:
        return self.numbers.get(transaction_id)

    def transaction_id(self, remote_id: int) -> TransactionId | None:
        return next((ours for ours, number in self.numbers.items() if number == remote_id), None)

    def is_start_dead(self, transaction_id: TransactionId) -> bool:
        return transaction_id in self.dead


def energy(wh: str, context: ReadingContext = ReadingContext.SAMPLE_PERIODIC, at: Instant = AT) -> MeterValue:
    """A meter value with the active import register alone."""
    return MeterValue(at=at, context=context, quantities=(Quantity(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Decimal(wh)),))


COST = SessionCost(
    currency="NOK", gross=Decimal("23.40"), vat=Decimal("4.68"), energy_wh=5_200, seconds=Decimal("3600.250"), is_final=False
)


def transaction(event_type: TransactionEventType, **changes: object) -> TransactionNotice:
    """A transaction notice with everything that its event must have."""
    values: dict[str, object] = {
        "event_type": event_type,
        "transaction_id": TX,
        "evse_id": EvseId(2),
        "connector_id": ConnectorId(1),
        "seq_no": 3,
        "trigger": TriggerReason.CHARGING_STATE_CHANGED,
        "at": AT,
        "is_offline": False,
        "charging_state": ChargingState.CHARGING,
        **changes,
    }
    if event_type is not TransactionEventType.UPDATED:
        values.setdefault("register_wh", 1_234_567)
    return TransactionNotice(**values)  # type: ignore[arg-type]


instants = st.builds(
    Instant,
    st.just("boot-1"),
    st.integers(0, 10**9),
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
readings = st.decimals(min_value=-(10**9), max_value=10**12, allow_nan=False, allow_infinity=False, places=6)
quantities = st.builds(Quantity, st.sampled_from(list(UNIT)), readings, st.none() | st.sampled_from(list(Phase)))
meter_values = st.builds(
    MeterValue,
    at=instants,
    context=st.sampled_from(list(ReadingContext)),
    quantities=st.lists(quantities, max_size=4).map(tuple),
)
tokens = st.builds(IdToken, st.text(max_size=50), st.sampled_from(list(IdTokenType)))
money = st.decimals(min_value=0, max_value=10**6, places=2)
costs = st.builds(
    SessionCost,
    currency=st.sampled_from(["NOK", "EUR", "JPY"]),
    gross=money,
    vat=money,
    energy_wh=st.integers(0, 10**6),
    seconds=st.decimals(min_value=0, max_value=10**6, places=3),
    is_final=st.booleans(),
)
transactions = st.builds(
    TransactionNotice,
    event_type=st.sampled_from(list(TransactionEventType)),
    transaction_id=st.just(TX),
    evse_id=st.sampled_from([EvseId(1), EvseId(2)]),
    connector_id=st.just(ConnectorId(1)),
    seq_no=st.integers(0, 10**6),
    trigger=st.sampled_from(list(TriggerReason)),
    at=instants,
    is_offline=st.booleans(),
    id_token=st.none() | tokens,
    charging_state=st.none() | st.sampled_from(list(ChargingState)),
    stopped_reason=st.none() | st.sampled_from(list(StoppedReason)),
    remote_start_id=st.none() | st.integers(0, 2**31),
    register_wh=st.integers(0, 10**12),
    meter_values=st.lists(meter_values, max_size=3).map(tuple),
    meter_serial_number=st.none() | st.text(max_size=20),
    cost=st.none() | costs,
    seconds_charging=st.none() | st.decimals(min_value=0, max_value=10**6, places=3),
)
sendings = st.builds(Sending, is_late=st.booleans(), attempt=st.integers(1, 5))


@dataclass
class Registry:
    """A CSMS's view of the station's variables: its calls through an adapter to the real registry, and the answers back."""

    adapter: VersionAdapter
    version: str
    variables: Variables = field(default_factory=lambda: Variables.of((*DEFINITIONS, PASSWORD)))

    def ask(self, action: str, payload: dict[str, object]) -> dict[str, Any]:
        """The answer as the CSMS reads it."""
        command = self.adapter.decode(action, payload, Refs())
        outcome: Outcome
        match command:
            case SetVariables():
                self.variables, results = self.variables.assign(command.assignments, command.source)
                outcome = SetVariablesOutcome(results=results)
            case GetVariables(keys=keys):
                assert keys is not None
                outcome = GetVariablesOutcome(results=tuple(self.variables.read(key, command.attribute_type) for key in keys))
            case _:
                raise AssertionError(command)
        return valid_response(self.version, action, self.adapter.encode_outcome(action, command, outcome))

    def text(self, name: str) -> str:
        """Present value of a variable by its written name."""
        return self.variables.text(parse_variable_key(name))
