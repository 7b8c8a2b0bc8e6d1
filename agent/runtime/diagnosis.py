"""What the technician's socket answers: the parts' states as JSON. Tokens and secrets never appear."""

from contextlib import AsyncExitStack
from decimal import Decimal
from typing import TYPE_CHECKING

import agent
from agent.core import why as reasons
from agent.core.state import Evse
from agent.diagnostics.protocol import ErrorCode, Json, Method, Param, Params, ParamType, Role, RpcError, Service
from agent.diagnostics.server import Server
from agent.domain.commands import SetVariables, SetVariablesOutcome, VariableAssignment
from agent.domain.ids import EvseId
from agent.domain.metering import Reading
from agent.domain.time import Instant, wire_time
from agent.domain.variables import Mutability, SetVariableStatus, ValueSource, VariableKey, parse_variable_key
from agent.store.tables import StoredTransaction

if TYPE_CHECKING:
    from agent.runtime.app import App

_EVSE = Param(name="evse", type=ParamType.INTEGER, description="number of the EVSE; all where absent")
_LIMIT = Param(name="limit", type=ParamType.INTEGER, description="how many at most, the newest first")


async def serve_diagnostics(app: "App", stack: AsyncExitStack) -> None:
    """Open the socket; it closes with the stack."""
    server = Server(Diagnosis(app).service(), app.config.diagnostics.socket)
    await server.start()
    stack.push_async_callback(server.aclose)


class Diagnosis:
    """The methods."""

    def __init__(self, app: "App") -> None:
        self._app = app

    def service(self) -> Service:
        """The table of methods."""
        name = Param(name="name", type=ParamType.STRING, description="2.x name (Component.Variable) or 1.6 key; all where absent")
        to_set = Param(name="name", type=ParamType.STRING, description="2.x name or 1.6 key", required=True)
        value = Param(name="value", type=ParamType.STRING, description="the new value", required=True)
        return Service(
            (
                Method(name="status", summary="Connection, EVSEs, clock, storage, versions.", call=self.status),
                Method(
                    name="why",
                    summary="Why it does not charge: every condition, the one that blocks, the cure.",
                    call=self.why,
                    params=(_EVSE,),
                ),
                Method(name="meter", summary="Meters: newest reading, serial number, bus statistics.", call=self.meter, params=(_EVSE,)),
                Method(name="sessions", summary="Stored transactions.", call=self.sessions, params=(_LIMIT,)),
                Method(name="queue", summary="Messages that wait for the CSMS, and dead letters.", call=self.queue),
                Method(name="events", summary="What happened, newest last.", call=self.events, params=(_LIMIT,)),
                Method(name="config", summary="OCPP variables with value and source.", call=self.config, params=(name,)),
                Method(name="config.set", summary="Set an OCPP variable.", call=self.set, params=(to_set, value), role=Role.TECHNICIAN),
            ),
            title="charger-agent diagnostics",
            version=agent.__version__,
        )

    async def status(self, _: Params) -> Json:
        app, station, client = self._app, self._app.engine.station, self._app.client.status()
        store = await app.store.status()
        now = app.clock.now()
        return {
            "station_id": station.config.station_id,
            "version": agent.__version__,
            "clock": {"utc": _time(now), "trust": app.clock.trust.value},
            "csms": {
                "state": client.state.value,
                "url": client.url,
                "subprotocol": client.subprotocol,
                "since_s": round(client.in_state_s),
                "last_exchange_s": None if client.last_exchange_s is None else round(client.last_exchange_s),
                "flaps": client.flaps,
                "last_error": client.last_error,
                "cure": client.cure,
            },
            "storage": {
                "path": str(store.path),
                "is_durable": store.is_durable,
                "trouble": store.trouble,
                "file_bytes": store.file_bytes,
                "queued": store.queued,
                "dead_letters": store.dead,
                "commits": store.commits,
                "syncs": store.syncs,
            },
            "evses": [self._evse(evse) for evse in station.evses],
        }

    def _evse(self, evse: Evse) -> Json:
        view = next(view for view in self._app.view().evses if view.evse_id == evse.evse_id)
        return {
            "evse": evse.evse_id,
            "screen": view.kind.value,
            "phase": evse.phase.value,
            "pilot": None if evse.pilot.state is None else evse.pilot.state.value,
            "offered_a": _number(evse.output.amps),
            "contactor": "closed" if evse.contactor_closed else "open",
            "transaction_id": evse.transaction.transaction_id if evse.has_transaction and evse.transaction is not None else None,
            "charging_state": evse.transaction.charging_state.value if evse.has_transaction and evse.transaction is not None else None,
            "energy_wh": view.energy_wh,
            "seconds": view.seconds,
            "cost": None if view.cost is None else f"{view.cost.gross} {view.cost.currency}",
            "operational": evse.record.operational_status.value,
            "faults": [fault.kind.value for fault in evse.faults],
            "qr": view.qr_payload,
        }

    async def why(self, params: Params) -> Json:
        return [self._why(evse) for evse in self._chosen(params)]

    def _why(self, evse: Evse) -> Json:
        station, now = self._app.engine.station, self._app.clock.now()
        conditions = reasons.chain(station, evse.evse_id, now)
        blocking = reasons.blocker(station, evse.evse_id, now)
        return {
            "evse": evse.evse_id,
            "blocker": None if blocking is None else self._condition(blocking, now),
            "chain": [self._condition(condition, now) for condition in conditions],
        }

    def _condition(self, condition: reasons.Condition, now: Instant) -> Json:
        return {
            "name": condition.name,
            "holds": condition.holds,
            "text": condition.text,
            "since_s": None if condition.since is None else max(0, now.ms_since(condition.since) // 1000),
            "cure": condition.cure,
        }

    async def meter(self, params: Params) -> Json:
        now = self._app.clock.now()
        found: list[Json] = []
        for evse in self._chosen(params):
            meter = self._app.meters.get(evse.evse_id)
            if meter is None:
                found.append({"evse": evse.evse_id, "problem": "no meter is configured"})
                continue
            status = meter.status()
            found.append(
                {
                    "evse": evse.evse_id,
                    "template": status.template,
                    "where": status.where,
                    "serial_number": status.serial_number,
                    "is_lost": status.is_lost,
                    "problem": status.problem,
                    "readings": status.readings,
                    "suspect_readings": status.suspect_readings,
                    "failed_reads": status.failed_reads,
                    "reading": None if status.last_reading is None else _reading(status.last_reading, now),
                }
            )
        return found

    async def sessions(self, params: Params) -> Json:
        return [_session(stored) for stored in await self._app.store.sessions(_limit(params, 20))]

    async def queue(self, _: Params) -> Json:
        client = self._app.client.status()
        rows = await self._app.store.rows(0, 100)
        dead = await self._app.store.dead_letters(100)
        return {
            "state": client.state.value,
            "outstanding": client.outstanding,
            "waiting": [
                {
                    "row": row.row_id,
                    "event": row.notice.event_type.value,
                    "transaction_id": row.notice.transaction_id,
                    "seq_no": row.notice.seq_no,
                    "at": _time(row.notice.at),
                    "attempts": row.attempts,
                }
                for row in rows
            ],
            "dead_letters": [str(letter) for letter in dead],
        }

    async def events(self, params: Params) -> Json:
        noted = list(self._app.engine.remarks)[-_limit(params, 50) :]
        return [
            {
                "at": _time(item.at),
                "name": item.remark.name,
                "evse": item.remark.evse_id,
                "transaction_id": item.remark.transaction_id,
                "detail": item.remark.detail,
                "is_warning": item.remark.is_warning,
            }
            for item in noted
        ]

    async def config(self, params: Params) -> Json:
        variables = self._app.engine.station.variables
        name = params.get("name")
        chosen = variables.definitions()
        if isinstance(name, str):
            key = self._key(name)
            chosen = tuple(definition for definition in chosen if definition.key.folded() == key.folded())
            if not chosen:
                raise RpcError(ErrorCode.INVALID_PARAMS, f"there is no variable {name!r}; call config without a name for all of them")
        return [
            {
                "name": str(definition.key),
                "key_1_6": definition.key_1_6,
                "value": None if definition.mutability is Mutability.WRITE_ONLY else variables.text(definition.key),
                "source": variables.source(definition.key).value,
                "unit": definition.unit,
                "access": definition.mutability.value,
                "description": definition.description,
            }
            for definition in chosen
        ]

    async def set(self, params: Params) -> Json:
        key = self._key(str(params["name"]))
        assignment = VariableAssignment(key=key, value=str(params["value"]))
        outcome = await self._app.engine.ask(SetVariables(assignments=(assignment,), source=ValueSource.TECHNICIAN))
        if not isinstance(outcome, SetVariablesOutcome):
            raise RpcError(ErrorCode.INTERNAL_ERROR, "the core answered with another outcome")
        result = outcome.results[0]
        if result.status not in {SetVariableStatus.ACCEPTED, SetVariableStatus.REBOOT_REQUIRED}:
            raise RpcError(ErrorCode.INVALID_PARAMS, result.reason or result.status.value)
        return {"name": str(key), "status": result.status.value, "value": self._app.engine.station.variables.text(key)}

    def _key(self, name: str) -> VariableKey:
        for definition in self._app.engine.station.variables.definitions():
            if definition.key_1_6 is not None and definition.key_1_6.casefold() == name.casefold():
                return definition.key
        try:
            return parse_variable_key(name)
        except ValueError as error:
            raise RpcError(ErrorCode.INVALID_PARAMS, str(error)) from error

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


def _limit(params: Params, default: int) -> int:
    value = params.get("limit", default)
    if not isinstance(value, int) or not 1 <= value <= 500:
        raise RpcError(ErrorCode.INVALID_PARAMS, f"limit = {value}; allowed: 1 to 500")
    return value


def _session(stored: StoredTransaction) -> Json:
    record = stored.record
    if record is None:
        return {"transaction_id": stored.transaction_id, "evse": stored.evse_id, "problem": "the stored record cannot be read"}
    return {
        "transaction_id": record.transaction_id,
        "remote_id": stored.remote_id,
        "evse": record.evse_id,
        "started": _time(record.started_at),
        "ended": None if record.ended_at is None else _time(record.ended_at),
        "register_start_wh": _number(record.meter_start.energy_wh),
        "register_stop_wh": None if record.meter_stop is None else _number(record.meter_stop.energy_wh),
        "is_estimated": record.meter_stop_estimated,
        "energy_wh": record.energy_wh,
        "cost": None if record.cost_gross is None or record.tariff is None else f"{record.cost_gross} {record.tariff.currency}",
        "stopped_reason": None if record.stopped_reason is None else record.stopped_reason.value,
        "meter_serial_number": record.meter_start.serial_number,
        "is_delivered": stored.is_delivered,
        "waiting_messages": stored.queued,
        "dead_letters": stored.dead,
    }


def _reading(reading: Reading, now: Instant) -> Json:
    return {
        "at": _time(reading.at),
        "age_ms": now.ms_since(reading.at),
        "energy_wh": _number(reading.energy_wh),
        "resolution_wh": _number(reading.resolution_wh),
        "quality": reading.quality.value,
        "quantities": [
            {"measurand": q.measurand.value, "phase": None if q.phase is None else q.phase.value, "value": _number(q.value)}
            for q in reading.quantities
        ],
    }


def _time(instant: Instant) -> str | None:
    return None if instant.utc is None else wire_time(instant.utc)


def _number(value: Decimal | None) -> str | None:
    """Decimals go out as text: JSON readers make binary floats of numbers."""
    return None if value is None else format(value, "f")
