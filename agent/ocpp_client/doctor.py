"""Why does it not connect? The steps from the settings to the accepted boot, the first that fails, and its cure.

No connection is made for the question: the running one tells, or the station's own next attempt, which is made at once. Some servers let go
of a station when a second connection with its identity comes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from agent.domain.events import LinkState
from agent.domain.values import dataclass
from agent.ocpp_client.client import ClientStatus, OcppClient
from agent.ocpp_client.transport import Phase

ATTEMPT_S: Final = 5.0
"""So long an attempt to connect is waited for; it goes on afterwards."""
BOOT_S: Final = 1.5
"""So long the answer to BootNotification is waited for once connected."""
LOOK_S: Final = 0.05
CLOCK_TOLERATED_S: Final = 60.0
_WORDS: Final = {
    Phase.SETTINGS: "password and root certificates were read",
    Phase.NAME: "the name was resolved",
    Phase.TCP: "connected",
    Phase.TLS: "certificate and host name verified",
    Phase.HTTP: "the upgrade to WebSocket was accepted (101)",
    Phase.SUBPROTOCOL: "agreed",
}


class Outcome(StrEnum):
    """Of one step."""

    OK = "ok"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step on the way to the CSMS. `cure` is empty where nothing is to be done."""

    name: str
    outcome: Outcome
    text: str
    cure: str = ""


async def examine(client: OcppClient, clock: Callable[[], tuple[float | None, datetime | None]]) -> tuple[Step, ...]:
    """Wait some seconds for an attempt to connect, and tell how far it came. `clock` gives the CSMS's minus ours in s, and ours."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ATTEMPT_S):
            await client.try_now()
    with suppress(TimeoutError):
        async with asyncio.timeout(BOOT_S):
            while client.status().state is LinkState.CONNECTED:  # noqa: ASYNC110 - asked for by a person, for a second
                await asyncio.sleep(LOOK_S)
    csms_ahead_s, utc = clock()
    return steps(client.status(), csms_ahead_s=csms_ahead_s, utc=utc)


def steps(status: ClientStatus, *, csms_ahead_s: float | None, utc: datetime | None) -> tuple[Step, ...]:
    """The steps as the newest attempt shows them."""
    is_secure = urlsplit(status.url).scheme == "wss"
    phases = [phase for phase in Phase if is_secure or phase is not Phase.TLS]
    if status.state is not LinkState.OFFLINE:
        way = [Step(name=phase.value, outcome=Outcome.OK, text=_fact(phase, status, utc)) for phase in phases]
        certificates = [_certificates(status, utc)] if is_secure else []
        return (*way, *certificates, _boot(status), _clock(csms_ahead_s))
    clock = Step(name="clock", outcome=Outcome.NOT_REACHED, text="")
    if status.failure is None and status.next_attempt_s is not None:
        # It was open, and the CSMS or the network ended it.
        way = [Step(name=phase.value, outcome=Outcome.OK, text=_WORDS[phase]) for phase in phases]
        return (*way, _boot(status), clock)
    reached = status.phase if status.failure is None else status.failure.phase
    return (*(_step(phase, reached, status) for phase in phases), Step(name="boot", outcome=Outcome.NOT_REACHED, text=""), clock)


def _step(phase: Phase, reached: Phase, status: ClientStatus) -> Step:
    order = list(Phase)
    if order.index(phase) < order.index(reached):
        return Step(name=phase.value, outcome=Outcome.OK, text=_WORDS[phase])
    if phase is not reached:
        return Step(name=phase.value, outcome=Outcome.NOT_REACHED, text="")
    if status.failure is not None:
        return Step(name=phase.value, outcome=Outcome.FAILED, text=status.failure.reason, cure=status.failure.cure)
    return Step(name=phase.value, outcome=Outcome.RUNNING, text="no answer yet", cure="wait for half a minute and ask again")


def _fact(phase: Phase, status: ClientStatus, utc: datetime | None) -> str:
    match phase:
        case Phase.NAME:
            return f"{urlsplit(status.url).hostname} is known"
        case Phase.TCP:
            return f"connected to {status.peer.partition(' ')[0]}"
        case Phase.TLS:
            return f"{status.peer.partition(' ')[2]}, certificate and host name verified" + ("" if utc else ", dates not yet")
        case Phase.SUBPROTOCOL:
            return str(status.subprotocol)
        case _:
            return _WORDS[phase]


def _certificates(status: ClientStatus, utc: datetime | None) -> Step:
    from agent.ocpp_client.tls import days_warned, soonest

    name = "certificates"
    listed = "; ".join(f"{one.subject} {one.not_before:%Y-%m-%d} to {one.not_after:%Y-%m-%d}" for one in status.chain)
    if status.is_unsure or utc is None:
        cure = "nobody has said what time it is; judged again when somebody does"
        return Step(name=name, outcome=Outcome.RUNNING, text=listed, cure=cure)
    first = soonest([one for one in status.chain if days_warned(one, utc) is not None])
    if first is None:
        return Step(name=name, outcome=Outcome.OK, text=listed)
    return Step(name=name, outcome=Outcome.OK, text=listed, cure=f"{first.subject} ends on {first.not_after:%Y-%m-%d}: let it be renewed")


def _boot(status: ClientStatus) -> Step:
    match status.state:
        case LinkState.ACCEPTED:
            return Step(name="boot", outcome=Outcome.OK, text="accepted")
        case LinkState.PENDING:
            cure = "add the charger in the portal, or let the CSMS operator release it"
            return Step(name="boot", outcome=Outcome.FAILED, text="pending: the CSMS wants something before it accepts", cure=cure)
        case LinkState.REJECTED:
            cure = "let the CSMS operator allow this identity and serial number"
            return Step(name="boot", outcome=Outcome.FAILED, text="rejected: the CSMS does not want this station", cure=cure)
        case _:
            text = status.last_error or "no answer to BootNotification yet"
            cure = status.cure or "the CSMS is connected and silent: ask its operator"
            return Step(name="boot", outcome=Outcome.FAILED, text=text, cure=cure)


def _clock(csms_ahead_s: float | None) -> Step:
    if csms_ahead_s is None:
        return Step(name="clock", outcome=Outcome.NOT_REACHED, text="the CSMS has not told its time")
    text = f"the CSMS is {csms_ahead_s:+.1f} s from the station"
    if abs(csms_ahead_s) <= CLOCK_TOLERATED_S:
        return Step(name="clock", outcome=Outcome.OK, text=text)
    cure = "the station is kept by NTP: let the CSMS operator check its clock"
    return Step(name="clock", outcome=Outcome.FAILED, text=text, cure=cure)
