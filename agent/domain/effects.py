"""Everything that the core can order.

Effects that remove energy are carried out in the same call; the others after the commit of what goes with them.
"""

from agent.domain.commands import Outcome, ResetKind
from agent.domain.ids import CommandId, EvseId, TransactionId
from agent.domain.notices import Notice, TransactionNotice
from agent.domain.pilot import PilotOutput, PilotSignal
from agent.domain.transaction import TransactionRecord
from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True)
class OpenContactor:
    """Open now. Never waits."""

    evse_id: EvseId
    reason: str


@dataclass(frozen=True, slots=True)
class CloseContactor:
    """Close, if the interlock still allows it once the commit is done."""

    evse_id: EvseId


@dataclass(frozen=True, slots=True)
class SetPilot:
    """Put this signal on the pilot. X1 and F take energy away and never wait; PWM offers it and waits for the commit."""

    evse_id: EvseId
    output: PilotOutput


@dataclass(frozen=True, slots=True)
class LockPlug:
    """Lock the plug in the socket."""

    evse_id: EvseId


@dataclass(frozen=True, slots=True)
class UnlockPlug:
    """Release the plug. Ordered only while the contactor is reported open."""

    evse_id: EvseId


@dataclass(frozen=True, slots=True)
class ReadMeter:
    """Read the meter now, out of turn."""

    evse_id: EvseId


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Put a durable notice into the outbox, in the same commit as the records that changed."""

    notice: TransactionNotice


@dataclass(frozen=True, slots=True)
class KeepRecord:
    """Put a transaction's record on disk that no EVSE holds, in the same commit as its notices."""

    record: TransactionRecord


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the CSMS now or not at all. Never queued."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a command, once what it changed is on disk."""

    command_id: CommandId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart the daemon; `drains` first waits (bounded) for the outbox to be delivered."""

    kind: ResetKind
    drains: bool


@dataclass(frozen=True, slots=True)
class Exit:
    """Every contactor is open and what is known is on disk: leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A line for the technician's event list. `name` is a stable word in snake_case, `detail` a sentence."""

    name: str
    evse_id: EvseId | None = None
    transaction_id: TransactionId | None = None
    detail: str = ""
    is_warning: bool = False


Effect = (
    OpenContactor
    | CloseContactor
    | SetPilot
    | LockPlug
    | UnlockPlug
    | ReadMeter
    | Enqueue
    | KeepRecord
    | Send
    | Answer
    | Restart
    | Exit
    | Remark
)


def is_immediate(effect: Effect) -> bool:
    """Whether an effect is carried out in the call that decided it: one that removes energy, or asks the meter, which promises nothing."""
    match effect:
        case OpenContactor() | ReadMeter() | Remark():
            return True
        case SetPilot(output=output):
            return output.signal is not PilotSignal.PWM
        case _:
            return False
