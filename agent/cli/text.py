"""The socket's answers as text for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

Row = Mapping[str, object]


def render(method: str, result: object) -> str:
    """The answer of a method as lines of text."""
    writer = _WRITERS.get(method)
    if writer is None:
        import json

        return json.dumps(result, ensure_ascii=False, indent=2) + "\n"
    return "\n".join(writer(result)) + "\n"


def _rows(value: object) -> Sequence[Row]:
    return cast("Sequence[Row]", value)


def _row(value: object) -> Row:
    return cast("Row", value)


def _show(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _status(result: object) -> list[str]:
    top = _row(result)
    csms, storage, clock = _row(top["csms"]), _row(top["storage"]), _row(top["clock"])
    lines = [
        f"station   {top['station_id']}   charger-agent {top['version']}",
        f"clock     {_show(clock['utc'])} (from {clock['trust']})",
        f"portal    {csms['state']} for {csms['since_s']} s, {_show(csms['subprotocol'])}, {csms['url']}",
    ]
    if csms["last_error"]:
        lines.append(f"          last error: {csms['last_error']}" + (f"; cure: {csms['cure']}" if csms["cure"] else ""))
    health = "good" if storage["is_durable"] else f"FAILED: {storage['trouble']}"
    lines.append(f"storage   {health}, {storage['queued']} messages wait, {storage['dead_letters']} dead letters, {storage['path']}")
    for evse in _rows(top["evses"]):
        faults = ", ".join(map(str, cast("Sequence[object]", evse["faults"]))) or "none"
        lines.append(
            f"EVSE {evse['evse']}    {evse['screen']}, pilot {_show(evse['pilot'])}, offers {evse['offered_a']} A, "
            f"contactor {evse['contactor']}, faults {faults}"
        )
        if evse["transaction_id"]:
            lines.append(
                f"          {evse['charging_state']}, {evse['energy_wh']} Wh, {_show(evse['cost'])}, transaction {evse['transaction_id']}"
            )
    return lines


def _why(result: object) -> list[str]:
    lines = []
    for evse in _rows(result):
        blocker = evse["blocker"]
        if blocker is None:
            lines.append(f"EVSE {evse['evse']}: energy may flow")
        else:
            found = _row(blocker)
            since = "" if found["since_s"] is None else f", for {found['since_s']} s"
            lines += [f"EVSE {evse['evse']}: {found['name']}: {found['text']}{since}", f"  cure: {found['cure']}"]
        for condition in _rows(evse["chain"]):
            lines.append(f"  [{'x' if condition['holds'] else ' '}] {condition['name']}: {condition['text']}")
    return lines


def _meter(result: object) -> list[str]:
    lines = []
    for meter in _rows(result):
        if "template" not in meter:
            lines.append(f"EVSE {meter['evse']}: {meter['problem']}")
            continue
        lines.append(f"EVSE {meter['evse']}: {meter['template']} at {meter['where']}, serial number {_show(meter['serial_number'])}")
        lines.append(
            f"  {'LOST' if meter['is_lost'] else 'answers'}: {meter['readings']} readings, {meter['suspect_readings']} suspect, "
            f"{meter['failed_reads']} failed" + (f"; {meter['problem']}" if meter["problem"] else "")
        )
        if meter["reading"] is not None:
            reading = _row(meter["reading"])
            lines.append(f"  register {reading['energy_wh']} Wh (step {reading['resolution_wh']} Wh), read {reading['age_ms']} ms ago")
            lines += [f"  {q['measurand']} {_show(q['phase'])}: {q['value']}" for q in _rows(reading["quantities"])]
    return lines


def _sessions(result: object) -> list[str]:
    lines = ["started                   Wh        cost          reason          transaction"]
    for session in _rows(result):
        if "problem" in session:
            lines.append(f"{session['transaction_id']}: {session['problem']}")
            continue
        mark = " (estimated)" if session["is_estimated"] else ""
        lines.append(
            f"{_show(session['started']):25} {_show(session['energy_wh']):9} {_show(session['cost']):13} "
            f"{_show(session['stopped_reason'] or 'running'):15} {session['transaction_id']}{mark}"
        )
    return lines


def _queue(result: object) -> list[str]:
    top = _row(result)
    waiting = _rows(top["waiting"])
    lines = [f"portal {top['state']}, {len(waiting)} waiting, outstanding {_show(top['outstanding'])}"]
    lines += [
        f"  {r['row']:>6} {r['event']:8} seqNo {r['seq_no']:<4} {_show(r['at'])} attempts {r['attempts']} {r['transaction_id']}"
        for r in waiting
    ]
    letters = cast("Sequence[object]", top["dead_letters"])
    lines += [f"  dead: {letter}" for letter in letters]
    return lines


def _events(result: object) -> list[str]:
    return [
        f"{_show(e['at']):25} {'!' if e['is_warning'] else ' '} {e['name']}"
        + ("" if e["evse"] is None else f" evse={e['evse']}")
        + (f" {e['detail']}" if e["detail"] else "")
        for e in _rows(result)
    ]


def _config(result: object) -> list[str]:
    return [
        f"{v['name']} = {_show(v['value'])}  ({v['source']}, {v['access']}{', 1.6: ' + str(v['key_1_6']) if v['key_1_6'] else ''})"
        for v in _rows(result)
    ]


def _set(result: object) -> list[str]:
    row = _row(result)
    return [f"{row['name']} = {row['value']}: {row['status']}"]


_WRITERS: Mapping[str, Callable[[object], list[str]]] = {
    "status": _status,
    "why": _why,
    "meter": _meter,
    "sessions": _sessions,
    "queue": _queue,
    "events": _events,
    "config": _config,
    "config.set": _set,
}
