"""JSON schemas of what the socket's methods answer, for `rpc.discover`. Energy, power and money are decimal text, never binary floats."""

from typing import Final

from agent.diagnostics.protocol import Json

_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_BOOL: Final[Json] = {"type": "boolean"}
_EVSE: Final[Json] = {"type": "integer", "minimum": 1}


def _or_null(schema: Json) -> Json:
    return {"oneOf": [schema, {"type": "null"}]}


def _decimal(unit: str) -> Json:
    return {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "description": unit}


def _number(description: str) -> Json:
    return {"type": "number", "description": description}


def _time(description: str = "UTC, RFC 3339; null while the clock is unknown") -> Json:
    return {"type": ["string", "null"], "format": "date-time", "description": description}


def _seconds(description: str) -> Json:
    return {"type": "integer", "minimum": 0, "description": description}


def _enum(*values: str) -> Json:
    return {"enum": [*values]}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _object(**properties: Json) -> Json:
    """An object that has exactly these."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_LINK: Final = _enum("offline", "connected", "pending", "rejected", "accepted")
_MONEY: Final[Json] = {"type": "string", "description": "amount and ISO 4217 currency: 12.50 NOK"}
_FAULT: Final = _object(kind=_TEXT, detail=_TEXT, since_s=_seconds("how long it has been there"))

_CSMS: Final = _object(
    state=_LINK,
    url=_TEXT,
    subprotocol=_or_null(_TEXT),
    since_s=_seconds("how long it has been in this state"),
    last_exchange_s=_or_null(_seconds("since the last answer; null before the first")),
    next_attempt_s=_or_null(_seconds("until the next attempt to connect; null while none is planned")),
    flaps=_COUNT,
    last_error=_TEXT,
    cure=_TEXT,
    insecure=_TEXT,
    tls=_or_null(_object(is_unsure=_BOOL, expires=_or_null(_TEXT), text=_TEXT, cure=_TEXT)),
)

_CLOCK: Final = _object(
    utc=_time(),
    trust=_enum("unknown", "persisted", "rtc", "ocpp", "ntp"),
    not_before=_time("it cannot be earlier than this: the newest time on disk, or this software's own"),
    synchronized_s=_or_null(_number("since NTP or the CSMS last said what time it is, s; null where that is not known")),
    csms_ahead_s=_or_null(_number("how far the CSMS's time was ahead of the station's when it last told, s")),
    csms_told_s=_or_null(_number("since the CSMS last told its time, s; null before the first")),
    alarm=_TEXT,
    cure=_TEXT,
)

_STORAGE: Final = _object(
    is_durable=_BOOL,
    trouble=_TEXT,
    busy_s=_number("how long the unit of work under way has taken, s"),
    queued=_COUNT,
    queue_room={"type": "integer", "minimum": 1, "description": "messages that may wait before periodic values are thinned"},
    path=_or_null(_TEXT),
    dead_letters=_or_null(_COUNT),
    thinned=_or_null(_COUNT),
    file_bytes=_or_null(_COUNT),
    written_bytes=_or_null(_COUNT),
    commits=_or_null(_COUNT),
    syncs=_or_null(_COUNT),
    failures=_or_null(_COUNT),
    slowest_commit_ms=_or_null(_number("ms")),
)

_ROW: Final = {
    "index": _COUNT,
    "previous": _TEXT,
    "body_hash": _TEXT,
    "hash": _TEXT,
    "body": _TEXT,
    "has_record": _BOOL,
    "is_erased": _BOOL,
    "what": _or_null(_TEXT),
    "problem": _or_null(_TEXT),
}
_DISCLOSURES: Final = _list(_object(name=_TEXT, salt=_TEXT, value=_TEXT))
_HEAD: Final = _object(statement=_TEXT, signature=_TEXT, key_id=_TEXT)
_SAID: Final = _object(index=_or_null(_COUNT), hash=_or_null(_TEXT), statement=_TEXT, signature=_TEXT, key_id=_TEXT, is_sent=_BOOL)
_CHAIN: Final = {
    "heads": _list(_HEAD),
    "unproved": _list(_TEXT),
    "next": _or_null(_COUNT),
}

_COST: Final = _object(
    written_bytes={"type": "integer", "minimum": 0, "description": "bytes that SQLite wrote"},
    flash_bytes={
        "type": "integer",
        "minimum": 0,
        "description": "the same in blocks of 4 KiB, with one of the file system's for each sync",
    },
    syncs=_COUNT,
)
_STORAGE_REPORT: Final = _object(
    path=_TEXT,
    is_durable=_BOOL,
    trouble=_TEXT,
    last_trouble=_TEXT,
    max_bytes=_COUNT,
    file_bytes=_COUNT,
    used_bytes=_COUNT,
    file_max_bytes=_COUNT,
    log_bytes=_COUNT,
    reserve_bytes=_COUNT,
    kept_bytes=_COUNT,
    free_bytes=_or_null(_COUNT),
    tables=_list(_object(table=_TEXT, rows=_COUNT)),
    oldest_session=_time("when the oldest session that is kept began"),
    thinned=_COUNT,
    commits=_COUNT,
    failures=_COUNT,
    slowest_commit_ms=_number("ms"),
    total=_COST,
    process_bytes=_or_null(_COUNT),
    idle_s=_seconds("without a transaction, since the store was opened"),
    idle_day=_or_null(_COST),
    charging_s=_seconds("with a transaction, since the store was opened"),
    charging_hour=_or_null(_COST),
    emmc=_list(_object(device=_TEXT, used=_TEXT)),
)

_STATUS_EVSE: Final = _object(
    evse=_EVSE,
    screen=_TEXT,
    phase=_enum("free", "transaction", "stopping", "recovering", "finished"),
    pilot=_or_null(_enum("A", "B", "C", "D", "E", "F")),
    offered_a=_decimal("A per phase"),
    contactor=_enum("open", "closed"),
    lock=_or_null(_enum("locked", "unlocked")),
    transaction_id=_or_null(_TEXT),
    charging_state=_or_null(_enum("Charging", "EVConnected", "SuspendedEV", "SuspendedEVSE", "Idle")),
    energy_wh=_or_null(_COUNT),
    power_w=_or_null(_decimal("W")),
    seconds=_or_null(_COUNT),
    cost=_or_null(_MONEY),
    operational=_enum("Operative", "Inoperative"),
    faults=_list(_TEXT),
    blocker=_or_null({"type": "string", "description": "name of the condition that keeps energy from flowing; see why"}),
    qr=_or_null(_TEXT),
)

_CONDITION: Final = _object(
    name=_TEXT,
    holds=_BOOL,
    text=_TEXT,
    since=_time(),
    since_s=_or_null(_seconds("how long it has been as it is; null where that is not known")),
    cure=_TEXT,
)

_READING: Final = _object(
    at=_time("when the registers were read"),
    age_ms=_COUNT,
    energy_wh=_or_null(_decimal("Wh, the meter's own import register")),
    resolution_wh=_decimal("Wh, the register's step"),
    quality=_enum("good", "suspect"),
    quantities=_list(_object(measurand=_TEXT, phase=_or_null(_TEXT), value=_decimal("in this unit"), unit=_TEXT)),
)

_METER: Final = _object(
    evse=_EVSE,
    template=_TEXT,
    where=_TEXT,
    serial_number=_or_null(_TEXT),
    is_lost=_BOOL,
    lost_s=_or_null(_seconds("how long it has been silent")),
    problem=_or_null(_TEXT),
    readings=_COUNT,
    suspect_readings=_COUNT,
    failed_reads=_COUNT,
    lifetime_wh=_or_null(_decimal("Wh, counted over resets and swaps of the meter; statistics, never billed")),
    reading=_or_null(_READING),
    checks=_list(_object(name=_TEXT, holds=_or_null(_BOOL), text=_TEXT)),
)
_NO_METER: Final = _object(evse=_EVSE, is_lost=_BOOL, problem=_TEXT, template={"type": "null"})

_BUS: Final = _object(
    bus=_TEXT,
    is_open=_BOOL,
    requests=_COUNT,
    answers=_COUNT,
    timeouts=_COUNT,
    exceptions=_COUNT,
    bad_frames=_COUNT,
    reconnects=_COUNT,
    overloads=_COUNT,
    devices=_list(
        _object(
            device=_COUNT,
            requests=_COUNT,
            answers=_COUNT,
            timeouts=_COUNT,
            exceptions=_COUNT,
            failures_in_a_row=_COUNT,
            quarantine_s=_number("how much longer the silent device is left alone, s"),
        )
    ),
)

_SEGMENT: Final = _object(
    serial_number=_or_null(_TEXT),
    start_wh=_decimal("Wh"),
    stop_wh=_decimal("Wh"),
    ended_by=_or_null({"type": "string", "description": "what broke the register; null: the session ended"}),
    is_billed=_BOOL,
)
_SESSION_MEMBERS: Final[dict[str, Json]] = {
    "transaction_id": _TEXT,
    "remote_id": _or_null({"type": "integer", "description": "the number that a 1.6 CSMS gave it"}),
    "evse": _EVSE,
    "started": _time(),
    "ended": _time("UTC, RFC 3339; null while it runs or the clock is unknown"),
    "is_running": _BOOL,
    "register_start_wh": _or_null(_decimal("Wh")),
    "register_stop_wh": _or_null(_decimal("Wh")),
    "is_estimated": _BOOL,
    "energy_wh": _or_null(_COUNT),
    "cost": _or_null(_MONEY),
    "stopped_reason": _or_null(_TEXT),
    "meter_serial_number": _or_null(_TEXT),
    "segments": _list(_SEGMENT),
    "is_delivered": _BOOL,
    "waiting_messages": _COUNT,
    "dead_letters": _COUNT,
}
_SESSION: Final = _object(**_SESSION_MEMBERS)
_UNREADABLE: Final[dict[str, Json]] = {"transaction_id": _TEXT, "remote_id": _or_null({"type": "integer"}), "evse": _EVSE, "problem": _TEXT}
_UNREADABLE_SESSION: Final = _object(**_UNREADABLE)

_LETTER: Final[dict[str, Json]] = {
    "row": _COUNT,
    "event": _enum("Started", "Updated", "Ended"),
    "transaction_id": _TEXT,
    "seq_no": _COUNT,
    "at": _time(),
    "attempts": _COUNT,
    "error": _TEXT,
    "is_readable": _BOOL,
}

_QUEUE: Final = _object(
    state=_LINK,
    depth=_COUNT,
    outstanding=_or_null({"type": "string", "description": "action of the call that waits for its answer"}),
    next_attempt_s=_or_null(_seconds("until the next attempt to connect")),
    waiting=_list(
        _object(
            row=_COUNT,
            event=_enum("Started", "Updated", "Ended"),
            transaction_id=_TEXT,
            seq_no=_COUNT,
            at=_time(),
            age_s=_seconds("since it happened"),
            attempts=_COUNT,
            was_sent=_BOOL,
        )
    ),
    dead_letters=_list(_object(**_LETTER)),
)

_WHO: Final[dict[str, Json]] = {
    "id_token": _or_null({"type": "string", "description": "the end of the token that began it"}),
    "seconds": _or_null(_COUNT),
}
_WHOSE: Final[Json] = {"oneOf": [_object(**_SESSION_MEMBERS, **_WHO), _object(**_UNREADABLE, **_WHO)]}
_STATE: Final[Json] = {"enum": ["dead", "held", "queued"], "description": "held: answered, but under the number -1 (1.6)"}
_MESSAGE: Final = _object(
    **_LETTER,
    state=_STATE,
    trigger=_or_null(_TEXT),
    register_wh=_or_null(_decimal("Wh, the register that is billed from")),
    meter_serial_number=_or_null(_TEXT),
    stopped_reason=_or_null(_TEXT),
    cost=_or_null(_MONEY),
    values=_list(
        _object(at=_time(), context=_TEXT, measurand=_TEXT, phase=_or_null(_TEXT), value=_decimal("in this unit"), unit=_TEXT),
    ),
)

_EVENT: Final = _object(
    at=_time(),
    age_s=_seconds("since it happened"),
    name=_TEXT,
    evse=_or_null(_EVSE),
    transaction_id=_or_null(_TEXT),
    detail=_TEXT,
    is_warning=_BOOL,
)

_VARIABLE: Final = _object(
    name=_TEXT,
    key_1_6=_or_null(_TEXT),
    value=_or_null({"type": "string", "description": "null where it may only be written"}),
    source=_enum("default", "configuration", "csms", "technician"),
    unit=_or_null(_TEXT),
    access=_enum("ReadOnly", "WriteOnly", "ReadWrite"),
    description=_TEXT,
)

_RECORDING: Final = _object(
    name=_TEXT,
    size=_COUNT,
    is_frozen=_BOOL,
    cause={"type": "string", "description": "what froze it; empty where nothing did"},
    detail=_TEXT,
    at=_time("when it begins"),
    problem={"type": "string", "description": "why it cannot be read; empty as a rule"},
)

RESULTS: Final[dict[str, Json]] = {
    "rpc.discover": {"$ref": "https://raw.githubusercontent.com/open-rpc/meta-schema/master/schema.json"},
    "status": _object(
        station_id=_TEXT,
        version=_TEXT,
        pid=_COUNT,
        uptime_s=_COUNT,
        rss_kib=_or_null(_COUNT),
        clock=_CLOCK,
        csms=_CSMS,
        storage=_STORAGE,
        faults=_list(_FAULT),
        evses=_list(_STATUS_EVSE),
    ),
    "why": _list(_object(evse=_EVSE, blocker=_or_null(_CONDITION), chain=_list(_CONDITION))),
    "meter": _object(meters=_list({"oneOf": [_METER, _NO_METER]}), buses=_list(_BUS)),
    "sessions": _list({"oneOf": [_SESSION, _UNREADABLE_SESSION]}),
    "sessions.chain": _object(rows=_list(_object(**_ROW)), **_CHAIN),
    "sessions.disclosed": _object(rows=_list(_object(**_ROW, disclosures=_DISCLOSURES)), **_CHAIN),
    "sessions.head": _or_null(_SAID),
    "sessions.send": _SAID,
    "sessions.erase": _object(erased=_COUNT, waiting=_COUNT, is_scrubbed=_BOOL, copies=_list(_TEXT)),
    "queue": _QUEUE,
    "deadletters": _object(letters=_list(_object(**_LETTER)), next=_or_null(_COUNT)),
    "deadletters.show": _object(session=_WHOSE, letter=_MESSAGE, others=_list(_object(**_LETTER, state=_STATE))),
    "deadletters.resend": _object(resent=_COUNT, left=_COUNT, depth=_COUNT),
    "deadletters.export": _object(messages=_list(_object(session=_WHOSE, message=_MESSAGE)), next=_or_null(_TEXT)),
    "ocpp.test": _object(
        url=_TEXT,
        is_fine=_BOOL,
        steps=_list(_object(name=_TEXT, outcome=_enum("ok", "failed", "not reached", "running"), text=_TEXT, cure=_TEXT)),
    ),
    "events": _list(_EVENT),
    "storage": _STORAGE_REPORT,
    "recorder": _object(directory=_TEXT, written_bytes=_COUNT, dropped=_COUNT, recordings=_list(_RECORDING)),
    "recorder.freeze": _object(name=_TEXT),
    "recorder.read": _object(size=_COUNT, data={"type": "string", "contentEncoding": "base64"}),
    "config": _list(_VARIABLE),
    "config.set": _object(name=_TEXT, status=_enum("Accepted", "RebootRequired"), value=_or_null(_TEXT), is_stored=_BOOL),
}
"""By method."""
