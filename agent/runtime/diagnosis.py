"""What the technician's socket answers: the parts' states as JSON. Id tokens, the claim code (UID) and secrets never appear."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import agent
from agent.core import why as reasons
from agent.core.state import Evse, Fault, Station
from agent.diagnostics.protocol import ErrorCode, Json, Method, Param, Params, ParamType, Role, RpcError, Service
from agent.domain.authorization import IdToken
from agent.domain.commands import ClearCache, SetVariables, SetVariablesOutcome, VariableAssignment
from agent.domain.errors import StoreError
from agent.domain.ids import EvseId
from agent.domain.metering import UNIT, Reading
from agent.domain.screen import EvseView
from agent.domain.time import Instant, wire_time
from agent.domain.variables import Mutability, SetVariableStatus, ValueSource, VariableDefinition, VariableKey, parse_variable_key
from agent.fieldbus.bus import BusStatistics
from agent.metering.api import Meter
from agent.ocpp_client.client import ClientStatus
from agent.runtime.books import Books
from agent.runtime.certificates import INSECURE, next_expiry
from agent.runtime.dead_letters import DeadLetters
from agent.runtime.recordings import Recordings
from agent.runtime.storage import StorageMethods
from agent.store.tables import StoredTransaction

if TYPE_CHECKING:
    from agent.runtime.app import App

STORE_S: Final = 2.0
"""`status` waits this long for the disk, then it tells what is known without it: a disk that hangs is a reason to ask."""
ROWS_SHOWN: Final = 100
IN_ONE_GO: Final = 10
"""So many items are put into words before the event loop gets its turn."""
_COUNTS: Final = (
    "dead_letters",
    "thinned",
    "file_bytes",
    "written_bytes",
    "commits",
    "syncs",
    "failures",
    "slowest_commit_ms",
)
"""What of the storage only the disk can tell."""
MASK: Final = "•••"
SHORTEST_MASKED: Final = 4
"""A shorter token would be found in every other word."""

_EVSE = Param(name="evse", type=ParamType.INTEGER, description="number of the EVSE; all where absent")
_SESSIONS = Param(name="limit", type=ParamType.INTEGER, description="how many at most, the newest; 20 where absent", maximum=200)
_EVENTS = Param(name="limit", type=ParamType.INTEGER, description="how many at most, the newest; 50 where absent", maximum=500)
_NAME = Param(name="name", type=ParamType.STRING, description="2.x name (Component.Variable[Instance]) or 1.6 key; all where absent")
_TO_SET = Param(name="name", type=ParamType.STRING, description="2.x name or 1.6 key", required=True)
_VALUE = Param(name="value", type=ParamType.STRING, description="the new value", required=True, is_secret=True)


class Diagnosis:
    """The methods. Made inside the event loop that the application runs in."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._books = Books(app.store, self, app.keeper)
        self._storage_report = StorageMethods(app.store)
        self._dead_letters = DeadLetters(app.store, self, app.client.outbox_grew)

    def service(self) -> Service:
        """The table of methods."""
        return Service(
            (
                Method(name="status", summary="Connection, EVSEs, clock, storage, version.", call=self.status),
                Method(
                    name="why",
                    summary="Why it does not charge: every condition, the one that blocks, since when, the cure.",
                    call=self.why,
                    params=(_EVSE,),
                ),
                Method(
                    name="meter",
                    summary="Meters: newest reading, health, serial number; statistics of the buses.",
                    call=self.meter,
                    params=(_EVSE,),
                ),
                Method(name="sessions", summary="Stored transactions, the newest first.", call=self.sessions, params=(_SESSIONS,)),
                Method(name="queue", summary="Messages that wait for the CSMS, and dead letters.", call=self.queue),
                *self._dead_letters.methods(),
                *self._books.methods(),
                *self._storage_report.methods(),
                *Recordings(self._app.recorder, self).methods(),
                Method(
                    name="ocpp.test",
                    summary="The way to the CSMS step by step, from the settings to the accepted boot: what fails, and the cure.",
                    call=self.ocpp_test,
                ),
                Method(name="events", summary="What happened since the start, the newest last.", call=self.events, params=(_EVENTS,)),
                Method(name="config", summary="OCPP variables with value and source.", call=self.config, params=(_NAME,)),
                Method(name="config.set", summary="Set an OCPP variable.", call=self.set, params=(_TO_SET, _VALUE), role=Role.TECHNICIAN),
            ),
            title="charger-agent diagnostics",
            version=agent.__version__,
            results=_results,
        )

    # --- status

    async def status(self, _: Params) -> Json:
        """The whole station on one screen."""
        station, clock = self._app.engine.station, self._app.clock
        now, mask = clock.now(), self._mask()
        views = {view.evse_id: view for view in self._app.view().evses}
        return {
            "station_id": station.config.station_id,
            "version": agent.__version__,
            "pid": os.getpid(),
            "uptime_s": round(asyncio.get_running_loop().time() - self._app.began_s),
            "rss_kib": _rss_kib(),
            "clock": self._clock(now),
            "csms": self._csms(mask),
            "storage": await self._storage(mask),
            "faults": [_fault(fault, now, mask) for fault in station.faults],
            "evses": [self._evse(station, evse, views[evse.evse_id], now, mask) for evse in station.evses],
        }

    def _clock(self, now: Instant) -> Json:
        clock = self._app.clock.status()
        alarm, cure = self._app.timekeeper.alarm()
        return {
            "utc": self.time(now),
            "trust": clock.trust.value,
            "not_before": wire_time(clock.not_before),
            "synchronized_s": None if clock.synchronized_s is None else round(clock.synchronized_s),
            "csms_ahead_s": None if clock.csms_ahead_s is None else round(clock.csms_ahead_s, 1),
            "csms_told_s": None if clock.csms_told_s is None else round(clock.csms_told_s),
            "alarm": alarm,
            "cure": cure,
        }

    def _csms(self, mask: "_Mask") -> Json:
        client = self._app.client.status()
        return {
            "state": client.state.value,
            "url": client.url,
            "subprotocol": client.subprotocol,
            "since_s": round(client.in_state_s),
            "last_exchange_s": None if client.last_exchange_s is None else round(client.last_exchange_s),
            "next_attempt_s": None if client.next_attempt_s is None else round(client.next_attempt_s),
            "flaps": client.flaps,
            "last_error": mask.text(client.last_error),
            "cure": mask.text(client.cure),
            "insecure": INSECURE.get(client.security_profile, ""),
            "tls": self._tls(client),
        }

    def _tls(self, client: ClientStatus) -> Json:
        """The portal's certificates; null without TLS, or before the first connection."""
        if not client.chain:
            return None
        expiry = next_expiry(client.chain, self._app.clock.now().utc)
        return {
            "is_unsure": client.is_unsure,
            "expires": None if expiry is None else wire_time(expiry.not_after),
            "text": "" if expiry is None else expiry.text,
            "cure": "" if expiry is None else expiry.cure,
        }

    async def _storage(self, mask: "_Mask") -> Json:
        store = self._app.store
        known: dict[str, Json] = {
            "is_durable": store.is_durable,
            "trouble": mask.text(store.trouble),
            "busy_s": round(store.busy_s, 1),
            "queued": store.queue_depth,
            "queue_room": store.queue_room,
        }
        try:
            async with asyncio.timeout(STORE_S):
                counted = await store.status()
        except (StoreError, TimeoutError) as error:
            trouble = str(known["trouble"]) or mask.text(str(error)) or f"the disk has not answered for {STORE_S:g} s"
            counts: dict[str, Json] = dict.fromkeys(_COUNTS)
            return {**known, "is_durable": False, "trouble": trouble, "path": None, **counts}
        return {
            **known,
            "path": str(counted.path),
            "dead_letters": counted.dead,
            "thinned": counted.thinned,
            "file_bytes": counted.file_bytes,
            "written_bytes": counted.written_bytes,
            "commits": counted.commits,
            "syncs": counted.syncs,
            "failures": counted.failures,
            "slowest_commit_ms": round(counted.slowest_commit_ms, 1),
        }

    def _evse(self, station: Station, evse: Evse, view: EvseView, now: Instant, mask: "_Mask") -> Json:
        record = evse.transaction if evse.has_transaction else None
        blocking = reasons.blocker(station, evse.evse_id, now)
        return {
            "evse": evse.evse_id,
            "screen": view.kind.value,
            "phase": evse.phase.value,
            "pilot": None if evse.pilot.state is None else evse.pilot.state.value,
            "offered_a": _number(evse.output.amps),
            "contactor": "closed" if evse.contactor_closed else "open",
            "lock": None if not evse.config.has_lock else "locked" if evse.is_locked else "unlocked",
            "transaction_id": None if record is None else record.transaction_id,
            "charging_state": None if record is None else record.charging_state.value,
            "energy_wh": view.energy_wh,
            "power_w": _number(view.power_w),
            "seconds": view.seconds,
            "cost": None if view.cost is None else f"{view.cost.gross} {view.cost.currency}",
            "operational": evse.record.operational_status.value,
            "faults": [fault.kind.value for fault in evse.faults],
            "blocker": None if blocking is None else blocking.name,
            "qr": None if view.qr_payload is None else mask.claim_code(view.qr_payload),
        }

    # --- the way to the CSMS

    async def ocpp_test(self, _: Params) -> Json:
        """Tell how far the connection, or the next attempt to make one, comes."""
        from agent.ocpp_client.doctor import Outcome, examine

        def told() -> tuple[float | None, datetime | None]:
            clock = self._app.clock.status()
            return clock.csms_ahead_s, clock.utc

        mask = self._mask()
        steps = await examine(self._app.client, told)
        shown: list[Json] = [
            {"name": step.name, "outcome": step.outcome.value, "text": mask.text(step.text), "cure": mask.text(step.cure)} for step in steps
        ]
        return {
            "url": self._app.client.status().url,
            "is_fine": all(step.outcome is Outcome.OK for step in steps),
            "steps": shown,
        }

    # --- why

    async def why(self, params: Params) -> Json:
        """The chain of conditions of each EVSE, and the first that does not hold."""
        mask = self._mask()
        return [self._why(evse, mask) for evse in self._chosen(params)]

    def _why(self, evse: Evse, mask: "_Mask") -> Json:
        now = self._app.clock.now()
        chain = reasons.chain(self._app.engine.station, evse.evse_id, now)
        blocking = next((condition for condition in chain if not condition.holds), None)
        return {
            "evse": evse.evse_id,
            "blocker": None if blocking is None else self._condition(blocking, now, mask),
            "chain": [self._condition(condition, now, mask) for condition in chain],
        }

    def _condition(self, condition: reasons.Condition, now: Instant, mask: "_Mask") -> Json:
        return {
            "name": condition.name,
            "holds": condition.holds,
            "text": mask.text(condition.text),
            "since": None if condition.since is None else self.time(condition.since),
            "since_s": None if condition.since is None else _seconds(condition.since, now),
            "cure": mask.text(condition.cure),
        }

    # --- meter

    async def meter(self, params: Params) -> Json:
        """Each EVSE's meter, and every bus with its devices."""
        now, mask = self._app.clock.now(), self._mask()
        return {
            "meters": [self._meter(evse, self._app.meters.get(evse.evse_id), now, mask) for evse in self._chosen(params)],
            "buses": [_bus(statistics) for statistics in self._app.buses.statistics()],
        }

    def _meter(self, evse: Evse, meter: Meter | None, now: Instant, mask: "_Mask") -> Json:
        if meter is None:
            return {"evse": evse.evse_id, "is_lost": True, "problem": "no meter is configured: add [evse.meter]", "template": None}
        status = meter.status()
        lifetime = status.lifetime
        return {
            "evse": evse.evse_id,
            "template": status.template,
            "where": status.where,
            "serial_number": status.serial_number,
            "is_lost": status.is_lost,
            "lost_s": None if evse.meter_lost_at is None else _seconds(evse.meter_lost_at, now),
            "problem": None if status.problem is None else mask.text(status.problem),
            "readings": status.readings,
            "suspect_readings": status.suspect_readings,
            "failed_reads": status.failed_reads,
            "lifetime_wh": None if lifetime is None else _number(lifetime.total_wh),
            "reading": None if status.last_reading is None else self._reading(status.last_reading, now),
            "checks": [{"name": one.name, "holds": one.holds, "text": one.text} for one in status.checks],
        }

    def _reading(self, reading: Reading, now: Instant) -> Json:
        return {
            "at": self.time(reading.at),
            "age_ms": max(0, now.ms_since(reading.at)),
            "energy_wh": _number(reading.energy_wh),
            "resolution_wh": _number(reading.resolution_wh),
            "quality": reading.quality.value,
            "quantities": [
                {
                    "measurand": q.measurand.value,
                    "phase": None if q.phase is None else q.phase.value,
                    "value": _number(q.value),
                    "unit": UNIT[q.measurand],
                }
                for q in reading.quantities
            ],
        }

    # --- sessions, queue

    async def sessions(self, params: Params) -> Json:
        """Stored transactions, the newest first."""
        stored = await self._app.store.sessions(_limit(params, 20))
        return [item async for item in _calmly(self.session(one) for one in stored)]

    def session(self, stored: StoredTransaction) -> dict[str, Json]:
        """A transaction without its token."""
        record = stored.record
        if record is None:
            return {
                "transaction_id": stored.transaction_id,
                "remote_id": stored.remote_id,
                "evse": stored.evse_id,
                "problem": "the stored record cannot be read: the file was damaged",
            }
        return {
            "transaction_id": record.transaction_id,
            "remote_id": stored.remote_id,
            "evse": record.evse_id,
            "started": self.time(record.started_at),
            "ended": None if record.ended_at is None else self.time(record.ended_at),
            "is_running": record.ended_at is None,
            "register_start_wh": _number(record.meter_start.energy_wh),
            "register_stop_wh": None if record.meter_stop is None else _number(record.meter_stop.energy_wh),
            "is_estimated": record.meter_stop_estimated,
            "energy_wh": record.energy_wh,
            "cost": None if record.cost_gross is None or record.tariff is None else f"{record.cost_gross} {record.tariff.currency}",
            "stopped_reason": None if record.stopped_reason is None else record.stopped_reason.value,
            "meter_serial_number": record.meter_start.serial_number,
            "segments": [
                {
                    "serial_number": segment.serial_number,
                    "start_wh": _number(segment.start_wh),
                    "stop_wh": _number(segment.stop_wh),
                    "ended_by": None if segment.ended_by is None else segment.ended_by.value,
                    "is_billed": position == 0,
                }
                for position, segment in enumerate(record.segments)
            ],
            "is_delivered": stored.is_delivered,
            "waiting_messages": stored.queued,
            "dead_letters": stored.dead,
        }

    async def queue(self, _: Params) -> Json:
        """What waits for the CSMS, in its order, and what was refused for the last time."""
        client, store, now = self._app.client.status(), self._app.store, self._app.clock.now()
        rows = await store.rows(0, ROWS_SHOWN)
        return {
            "state": client.state.value,
            "depth": store.queue_depth,
            "outstanding": client.outstanding,
            "next_attempt_s": None if client.next_attempt_s is None else round(client.next_attempt_s),
            "waiting": [
                {
                    "row": row.row_id,
                    "event": row.notice.event_type.value,
                    "transaction_id": row.notice.transaction_id,
                    "seq_no": row.notice.seq_no,
                    "at": self.time(row.notice.at),
                    "age_s": _seconds(row.notice.at, now),
                    "attempts": row.attempts,
                    "was_sent": row.was_sent,
                }
                for row in rows
            ],
            "dead_letters": [*self._dead_letters.brief(await store.dead_letters(ROWS_SHOWN))],
        }

    # --- events

    async def events(self, params: Params) -> Json:
        """What the core remarked since the start, at most the newest 500."""
        now, mask = self._app.clock.now(), self._mask()
        noted = list(self._app.engine.remarks)[-_limit(params, 50) :]
        found: Iterator[Json] = (
            {
                "at": self.time(item.at),
                "age_s": _seconds(item.at, now),
                "name": item.remark.name,
                "evse": item.remark.evse_id,
                "transaction_id": item.remark.transaction_id,
                "detail": mask.text(item.remark.detail),
                "is_warning": item.remark.is_warning,
            }
            for item in noted
        )
        return [item async for item in _calmly(found)]

    # --- config

    async def config(self, params: Params) -> Json:
        """Variables with their present value and where it comes from."""
        variables, name = self._app.engine.station.variables, params.get("name")
        chosen = variables.definitions()
        if isinstance(name, str):
            found = variables.definition(self._key(name))
            if found is None:
                raise RpcError(ErrorCode.INVALID_PARAMS, f"there is no variable {name[:60]!r}; call config without a name for all of them")
            chosen = (found,)
        return [
            {
                "name": str(definition.key),
                "key_1_6": definition.key_1_6,
                "value": self._value(definition),
                "source": variables.source(definition.key).value,
                "unit": definition.unit,
                "access": definition.mutability.value,
                "description": definition.description,
            }
            for definition in chosen
        ]

    def _value(self, definition: VariableDefinition) -> str | None:
        """The present value; None where it may only be written (2.0.1 B06.FR.09)."""
        if definition.mutability is Mutability.WRITE_ONLY:
            return None
        return self._claim_mask().claim_code(self._app.engine.station.variables.text(definition.key))

    async def set(self, params: Params) -> Json:
        """Set a variable as the CSMS would; it beats the configuration file from now on."""
        key = self._key(str(params["name"]))
        assignment = VariableAssignment(key=key, value=str(params["value"]))
        outcome = await self._app.engine.ask(SetVariables(assignments=(assignment,), source=ValueSource.TECHNICIAN))
        if not isinstance(outcome, SetVariablesOutcome):
            raise TypeError(f"the core answered SetVariables with {type(outcome).__name__}")
        result = outcome.results[0]
        if result.status not in {SetVariableStatus.ACCEPTED, SetVariableStatus.REBOOT_REQUIRED}:
            raise RpcError(ErrorCode.INVALID_PARAMS, result.reason or result.status.value)
        definition = self._app.engine.station.variables.definition(key)
        return {
            "name": str(key if definition is None else definition.key),
            "status": result.status.value,
            "value": None if definition is None else self._value(definition),
            "is_stored": self._app.store.is_durable,
        }

    def _key(self, name: str) -> VariableKey:
        for definition in self._app.engine.station.variables.definitions():
            if definition.key_1_6 is not None and definition.key_1_6.casefold() == name.casefold():
                return definition.key
        try:
            return parse_variable_key(name)
        except ValueError:
            text = f"there is no variable {name[:60]!r}; write Component.Variable, Component.Variable[Instance] or a key of OCPP 1.6"
            raise RpcError(ErrorCode.INVALID_PARAMS, text) from None

    # --- what the chain of sessions has to know

    def in_hand(self) -> Collection[str]:
        """Transactions that are open: their records are written again. The record of one that has ended never is."""
        evses = self._app.engine.station.evses
        return {evse.transaction.transaction_id for evse in evses if evse.transaction is not None and evse.has_transaction}

    async def forget_token(self, id_token: IdToken) -> None:
        """Empty the cache where the token is in it: it is asked about anew, like every other."""
        if any(entry.id_token.same_as(id_token) for entry in self._app.engine.station.cache.values()):
            await self._app.engine.ask(ClearCache())

    # --- shared

    def _chosen(self, params: Params) -> tuple[Evse, ...]:
        evses = self._app.engine.station.evses
        number = params.get("evse")
        if number is None:
            return evses
        chosen = tuple(evse for evse in evses if evse.evse_id == EvseId(int(str(number))))
        if not chosen:
            known = ", ".join(str(evse.evse_id) for evse in evses)
            raise RpcError(ErrorCode.INVALID_PARAMS, f"there is no EVSE {number}; there are {known}")
        return chosen

    def masked(self, texts: Iterable[str], tokens: Iterable[IdToken | None]) -> list[str]:
        """The texts without these tokens and any that is in use."""
        mask = self._mask(tokens)
        return [mask.text(text) for text in texts]

    def time(self, instant: Instant) -> str | None:
        """Wall time, also of what happened before the clock was known."""
        utc = self._app.store.utc_of(instant)
        return None if utc is None else wire_time(utc)

    def _mask(self, more: Iterable[IdToken | None] = ()) -> "_Mask":
        station = self._app.engine.station
        tokens = {*more, *(entry.id_token for entry in station.cache.values()), *(t for evse in station.evses for t in _tokens(evse))}
        return _Mask(self._app.config.station.uid, tokens)

    def _claim_mask(self) -> "_Mask":
        return _Mask(self._app.config.station.uid, ())


class _Mask:
    """Takes id tokens and the claim code out of texts that others wrote (a CSMS's error may repeat a token)."""

    def __init__(self, uid: str, tokens: Iterable[IdToken | None]) -> None:
        self._uid = uid.casefold()
        found = {token.value.casefold() for token in tokens if token is not None} | {self._uid}
        self._found = tuple(secret for secret in found if len(secret) >= SHORTEST_MASKED)

    def text(self, text: str) -> str:
        """A sentence without them."""
        folded = text.casefold()
        for secret in self._found:
            if secret in folded:
                text = _without(text, secret)
        return text

    def claim_code(self, text: str) -> str:
        """A value without the claim code."""
        return _without(text, self._uid) if self._uid and self._uid in text.casefold() else text


def _without(text: str, secret: str) -> str:
    """Whole words only: a token of digits must not eat a part of a register."""
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", MASK, text, flags=re.IGNORECASE)


def _tokens(evse: Evse) -> Iterator[IdToken | None]:
    yield evse.held_for
    for authorization in (evse.authorization, evse.stop_check):
        if authorization is not None:
            yield authorization.id_token
            yield authorization.group_id_token
    record = evse.transaction
    if record is not None:
        yield from (record.id_token, record.group_id_token, record.stop_id_token)
    if evse.stop is not None:
        yield evse.stop.id_token


async def _calmly(items: Iterable[Json]) -> AsyncIterator[Json]:
    for number, item in enumerate(items, 1):
        yield item
        if number % IN_ONE_GO == 0:
            await asyncio.sleep(0)


def _results() -> dict[str, Json]:
    from agent.diagnostics.results import RESULTS

    return RESULTS


def _limit(params: Params, default: int) -> int:
    return int(str(params.get("limit", default)))


def _fault(fault: Fault, now: Instant, mask: _Mask) -> Json:
    return {"kind": fault.kind.value, "detail": mask.text(fault.detail), "since_s": _seconds(fault.since, now)}


def _bus(statistics: BusStatistics) -> Json:
    return {
        "bus": statistics.bus,
        "is_open": statistics.is_open,
        "requests": statistics.requests,
        "answers": statistics.answers,
        "timeouts": statistics.timeouts,
        "exceptions": statistics.exceptions,
        "bad_frames": statistics.bad_frames,
        "reconnects": statistics.reconnects,
        "overloads": statistics.overloads,
        "devices": [
            {
                "device": device.device,
                "requests": device.requests,
                "answers": device.answers,
                "timeouts": device.timeouts,
                "exceptions": device.exceptions,
                "failures_in_a_row": device.failures_in_a_row,
                "quarantine_s": round(device.quarantine_s, 1),
            }
            for device in statistics.devices
        ],
    }


def _seconds(since: Instant, now: Instant) -> int:
    return max(0, now.ms_since(since) // 1000)


def _number(value: Decimal | None) -> str | None:
    """Decimals go out as text: JSON readers make binary floats of numbers."""
    return None if value is None else format(value, "f")


def _rss_kib() -> int | None:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024
