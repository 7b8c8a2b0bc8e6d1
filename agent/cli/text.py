"""The socket's answers as text for a terminal."""

from collections.abc import Callable, Iterator, Mapping

Row = Mapping[str, object]
SHOWN_FROM_PERCENT = 50
"""How full the queue is matters from here on."""


def render(method: str, result: object) -> str:
    """The answer of a method as lines of text. Raises KeyError, TypeError or ValueError where the answer has another shape."""
    writer = _WRITERS.get(method)
    if writer is None:
        import json

        return json.dumps(result, indent=2) + "\n"
    return "".join(_plain(line).rstrip() + "\n" for line in writer(result))


def _plain(line: str) -> str:
    """Without what could drive a terminal: parts of an answer were written by a CSMS or a meter."""
    return line if line.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def _row(value: object) -> Row:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return value


def _rows(value: object) -> list[Row]:
    return [_row(item) for item in _items(value)]


def _show(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _duration(value: object) -> str:
    seconds = int(str(value))
    for limit, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} days"


def _count(value: object, one: str, many: str) -> str:
    return f"{_show(value)} {one if value == 1 else many}"


def _status(result: object) -> Iterator[str]:
    top = _row(result)
    clock = _row(top["clock"])
    rss = top["rss_kib"]
    memory = "" if rss is None else f", {int(str(rss)) / 1024:.1f} MiB"
    yield f"station   {top['station_id']}, charger-agent {top['version']}, up {_duration(top['uptime_s'])}{memory}"
    yield from _clock(clock)
    yield from _portal(_row(top["csms"]))
    yield from _storage(_row(top["storage"]))
    for fault in _rows(top["faults"]):
        detail = f": {fault['detail']}" if fault["detail"] else ""
        yield f"FAULT     {fault['kind']}{detail}, for {_duration(fault['since_s'])}"
    for evse in _rows(top["evses"]):
        yield from _status_evse(evse)


def _clock(clock: Row) -> Iterator[str]:
    known = f"not before {clock['not_before']}" if clock["utc"] is None else str(clock["utc"])
    age = "" if clock["synchronized_s"] is None else f", synchronized {_duration(clock['synchronized_s'])} ago"
    ahead = "" if clock["csms_ahead_s"] is None else f", portal {float(str(clock['csms_ahead_s'])):+.1f} s"
    yield f"clock     {known}, from {clock['trust']}{age}{ahead}"
    if clock["alarm"]:
        yield f"          ALARM: {clock['alarm']}"
        yield f"          cure: {clock['cure']}"


def _portal(csms: Row) -> Iterator[str]:
    how = f" over {csms['subprotocol']}" if csms["subprotocol"] and csms["state"] != "offline" else ""
    yield f"portal    {csms['state']} for {_duration(csms['since_s'])}{how}, {csms['url']}"
    if csms["flaps"]:
        yield f"          lost {_count(csms['flaps'], 'time', 'times')} since the start"
    if csms["next_attempt_s"] is not None:
        yield f"          next attempt to connect in {_duration(csms['next_attempt_s'])}"
    if csms["last_error"]:
        yield f"          last error: {csms['last_error']}"
        if csms["cure"]:
            yield f"          cure: {csms['cure']}"
    if csms["insecure"]:
        yield f"          INSECURE: {csms['insecure']}"
    if csms["tls"] is not None:
        yield from _tls(_row(csms["tls"]))


def _tls(tls: Row) -> Iterator[str]:
    if tls["is_unsure"]:
        yield "          TLS: nobody has said what time it is; the certificates are judged again when somebody does"
    if tls["cure"]:
        yield f"          ALARM: {tls['text']}"
        yield f"          cure: {tls['cure']}"
    elif tls["text"]:
        yield f"          TLS: {tls['text']}"


def _storage(storage: Row) -> Iterator[str]:
    waiting = _count(storage["queued"], "message waits", "messages wait")
    percent = int(str(storage["queued"])) * 100 // int(str(storage["queue_room"]))
    waiting += f" ({percent} % of the room)" if percent >= SHOWN_FROM_PERCENT else ""
    letters = _count(storage["dead_letters"], "dead letter", "dead letters")
    if storage["is_durable"]:
        yield f"storage   good, {waiting}, {letters}, {_show(storage['path'])}"
        if storage["trouble"]:
            yield f"          LOW: {_show(storage['trouble'])}"
    else:
        yield f"storage   FAILED: {_show(storage['trouble'])}"
        yield f"          {waiting}, {letters}"


def _status_evse(evse: Row) -> Iterator[str]:
    faults = ", ".join(map(str, _items(evse["faults"])))
    lock = f", plug {evse['lock']}" if evse["lock"] else ""
    yield (
        f"{'EVSE ' + str(evse['evse']):<9} {evse['screen']}, pilot {_show(evse['pilot'])}, offers {evse['offered_a']} A, "
        f"contactor {evse['contactor']}{lock}{', faults: ' + faults if faults else ''}"
    )
    if evse["transaction_id"]:
        figures = [f"{_show(evse['energy_wh'])} Wh"]
        figures += [f"{evse['power_w']} W"] if evse["power_w"] is not None else []
        figures += [f"{evse['seconds']} s"] if evse["seconds"] is not None else []
        figures += [str(evse["cost"])] if evse["cost"] else []
        yield f"          {evse['charging_state']}, {', '.join(figures)}, transaction {evse['transaction_id']}"
    if evse["blocker"]:
        yield f"          no energy flows: {evse['blocker']} (chargerctl why {evse['evse']})"


def _why(result: object) -> Iterator[str]:
    for evse in _rows(result):
        chain, blocker = _rows(evse["chain"]), evse["blocker"]
        if blocker is None:
            yield f"EVSE {evse['evse']}: energy may flow"
        else:
            found = _row(blocker)
            yield f"EVSE {evse['evse']} does not charge: {found['text']}{_since(found)}"
            yield f"  cure: {found['cure']}"
        is_before = True
        for condition in chain:
            if condition["holds"]:
                mark = "ok"
            else:
                mark = "NO" if is_before else "--"
                is_before = False
            yield f"  {mark}  {condition['name']!s:14} {condition['text']}{'' if mark == 'NO' else _since(condition)}"


def _since(condition: Row) -> str:
    return "" if condition["since_s"] is None else f", for {_duration(condition['since_s'])}"


def _meter(result: object) -> Iterator[str]:
    top = _row(result)
    for meter in _rows(top["meters"]):
        if meter["template"] is None:
            yield f"EVSE {meter['evse']}: {meter['problem']}"
            continue
        health = "answers"
        if meter["is_lost"]:
            health = "LOST" if meter["lost_s"] is None else f"LOST for {_duration(meter['lost_s'])}"
        yield f"EVSE {meter['evse']}: {meter['template']} at {meter['where']}, serial number {_show(meter['serial_number'])}"
        yield f"  {health}: {meter['readings']} readings, {meter['suspect_readings']} suspect, {meter['failed_reads']} reads failed"
        if meter["problem"]:
            yield f"  problem: {meter['problem']}"
        if meter["reading"] is not None:
            yield from _reading(_row(meter["reading"]))
        for check in _rows(meter["checks"]):
            mark = "--" if check["holds"] is None else "ok" if check["holds"] else "NO"
            yield f"  {mark}  {check['name']!s:9} {check['text']}"
    for bus in _rows(top["buses"]):
        yield from _bus(bus)


def _reading(reading: Row) -> Iterator[str]:
    doubt = "" if reading["quality"] == "good" else f", {reading['quality']}"
    age_ms = int(str(reading["age_ms"]))
    age = f"{age_ms} ms" if age_ms < 10_000 else _duration(age_ms // 1_000)
    yield f"  register {_show(reading['energy_wh'])} Wh in steps of {reading['resolution_wh']} Wh, read {age} ago{doubt}"
    for quantity in _rows(reading["quantities"]):
        yield f"  {quantity['measurand']!s:32} {_show(quantity['phase']):5} {quantity['value']} {quantity['unit']}"


def _bus(bus: Row) -> Iterator[str]:
    yield (
        f"bus {bus['bus']}: {'open' if bus['is_open'] else 'CLOSED'}, {bus['requests']} requests, {bus['answers']} answers, "
        f"{bus['timeouts']} time-outs, {bus['exceptions']} exceptions, {bus['bad_frames']} bad frames, {bus['reconnects']} reconnects"
    )
    for device in _rows(bus["devices"]):
        rest = f", left alone for {device['quarantine_s']} s" if device["quarantine_s"] else ""
        yield (
            f"  device {device['device']}: {device['requests']} requests, {device['answers']} answers, {device['timeouts']} time-outs, "
            f"{device['exceptions']} exceptions, {device['failures_in_a_row']} failures in a row{rest}"
        )


def _sessions(result: object) -> Iterator[str]:
    yield f"{'started':25} {'Wh':>8}  {'cost':14} {'ended by':16} {'delivered':10} transaction"
    for session in _rows(result):
        if "problem" in session:
            yield f"{session['problem']}: {session['transaction_id']}"
            continue
        ended = "running" if session["is_running"] else _show(session["stopped_reason"])
        delivered = "yes" if session["is_delivered"] else f"{session['waiting_messages']} wait" if session["waiting_messages"] else "-"
        if session["dead_letters"]:
            delivered = f"{session['dead_letters']} dead"
        mark = ", estimated" if session["is_estimated"] else ""
        yield (
            f"{_show(session['started']):25} {_show(session['energy_wh']):>8}  {_show(session['cost']):14} {ended:16} "
            f"{delivered:10} {session['transaction_id']}{mark}"
        )
        for segment in _rows(session["segments"]):
            yield (
                f"  meter {_show(segment['serial_number'])}: {segment['start_wh']} to {segment['stop_wh']} Wh, "
                f"{'billed' if segment['is_billed'] else 'not billed'}, until {segment['ended_by'] or 'the end'}"
            )


def _queue(result: object) -> Iterator[str]:
    top = _row(result)
    yield f"portal {top['state']}, {_count(top['depth'], 'message waits', 'messages wait')}, outstanding: {_show(top['outstanding'])}"
    for row in _rows(top["waiting"]):
        sent = ", sent" if row["was_sent"] else ""
        yield (
            f"  {row['row']:>6} {row['event']!s:8} seqNo {row['seq_no']!s:4} {_show(row['at']):25} for {_duration(row['age_s'])}, "
            f"{row['attempts']} refused{sent}, transaction {row['transaction_id']}"
        )
    letters = _rows(top["dead_letters"])
    if letters:
        yield f"{_count(len(letters), 'dead letter', 'dead letters')}; to send one again: chargerctl deadletters resend ROW"
    for row in letters:
        yield _letter(row)


def _ocpp_test(result: object) -> Iterator[str]:
    top = _row(result)
    yield f"the way to {top['url']}"
    marks = {"ok": "ok", "failed": "NO", "not reached": "--", "running": ".."}
    for step in _rows(top["steps"]):
        yield f"  {marks[str(step['outcome'])]}  {_show(step['name']):13} {step['text']}".rstrip()
        if step["cure"]:
            yield f"      cure: {step['cure']}"


def _events(result: object) -> Iterator[str]:
    for event in _rows(result):
        when = _duration(event["age_s"]) + " ago" if event["at"] is None else str(event["at"])
        where = "" if event["evse"] is None else f" evse={event['evse']}"
        detail = f" {event['detail']}" if event["detail"] else ""
        yield f"{when:25} {'!' if event['is_warning'] else ' '} {event['name']}{where}{detail}"


def _config(result: object) -> Iterator[str]:
    for variable in _rows(result):
        unit = f" {variable['unit']}" if variable["unit"] else ""
        value = "(may only be written)" if variable["value"] is None else f"{_show(variable['value'])}{unit}"
        key = f", 1.6 {variable['key_1_6']}" if variable["key_1_6"] else ""
        yield f"{variable['name']} = {value}  [{variable['source']}, {variable['access']}{key}]"


def _set(result: object) -> Iterator[str]:
    row = _row(result)
    value = "(set)" if row["value"] is None else row["value"]
    later = "; it takes effect after a restart" if row["status"] == "RebootRequired" else ""
    loss = "" if row["is_stored"] else "; NOT on disk: the storage has failed, and a restart forgets it"
    yield f"{row['name']} = {value}{later}{loss}"


def _letter(letter: Row) -> str:
    return (
        f"  {letter['row']:>6} {letter['event']!s:8} seqNo {letter['seq_no']!s:4} {_show(letter['at']):25} "
        f"refused {letter['attempts']} times, transaction {letter['transaction_id']}: {_show(letter['error'])}"
    )


def _dead_letters(result: object) -> Iterator[str]:
    letters = _rows(_row(result)["letters"])
    if not letters:
        yield "no dead letters: the portal has taken every message, or they still wait (chargerctl queue)"
    else:
        yield f"{_count(len(letters), 'dead letter', 'dead letters')}; when the cause is cured: chargerctl deadletters resend ROW"
    yield from map(_letter, letters)


def _dead_letter(result: object) -> Iterator[str]:
    top = _row(result)
    letter, session = _row(top["letter"]), _row(top["session"])
    yield f"{letter['row']}: {letter['event']} {_show(letter['trigger'])}, seqNo {letter['seq_no']}, {_show(letter['at'])}"
    yield f"  set aside  {_count(letter['attempts'], 'refusal', 'refusals')}: {_show(letter['error'])}"
    yield f"  register   {_show(letter['register_wh'])} Wh, meter {_show(letter['meter_serial_number'])}, cost {_show(letter['cost'])}"
    for value in _rows(letter["values"]):
        what = f"{value['context']} {value['measurand']} {value['phase'] or ''}".rstrip()
        yield f"  value      {_show(value['at'])} {what} {value['value']} {value['unit']}"
    yield f"session {session['transaction_id']}, number of the portal {_show(session['remote_id'])}"
    yield f"  who        EVSE {session['evse']}, card {_show(session['id_token'])}"
    if "problem" in session:
        yield f"  {session['problem']}"
    else:
        estimated = ", estimated" if session["is_estimated"] else ""
        yield f"  when       {_show(session['started'])} to {_show(session['ended'])}, {_show(session['seconds'])} s"
        yield f"  register   {_show(session['register_start_wh'])} to {_show(session['register_stop_wh'])} Wh{estimated}"
        yield f"  sold       {_show(session['energy_wh'])} Wh, cost {_show(session['cost'])}, ended by {_show(session['stopped_reason'])}"
    others = _rows(top["others"])
    if others:
        yield "not delivered either:"
    for other in others:
        yield f"  {other['state']:6}{_letter(other)}"


def _resent(result: object) -> Iterator[str]:
    top = _row(result)
    yield f"{top['resent']} back in the queue; {_count(top['depth'], 'message waits', 'messages wait')}"
    if top["left"]:
        yield f"{top['left']} stay: other messages of their sessions still wait; send them again when those are through"


def _recordings(result: object) -> Iterator[str]:
    top = _row(result)
    for one in _rows(top["recordings"]):
        when = _show(one["at"] or (one["problem"] and "unreadable"))
        what = one["problem"] or one["detail"] or one["cause"]
        yield f"{one['name']!s:40} {int(str(one['size'])) / 1024:7.1f} KiB  {when:24}  {what}"
    yield f"{int(str(top['written_bytes'])) / 1024:.1f} KiB written since the start, to {top['directory']}"
    if top["dropped"]:
        yield f"{_count(top['dropped'], 'write was', 'writes were')} left out: the disk hangs"


def _storage_report(result: object) -> Iterator[str]:
    from agent.cli import storage

    yield from storage.text(result)


def _frozen(result: object) -> Iterator[str]:
    yield str(_row(result)["name"])


def _head(result: object) -> Iterator[str]:
    if result is None:
        yield "no session has ended yet"
        return
    top = _row(result)
    yield f"head {top['index']}:{top['hash']}, {'sent to' if top['is_sent'] else 'not sent to'} the CSMS since the start"
    yield f"says {top['statement']}"
    yield f"signed by key {top['key_id']}: {top['signature']}" if top["signature"] else "not signed: no [station] device_key_file"


def _erased(result: object) -> Iterator[str]:
    top = _row(result)
    yield f"personal data of {_count(top['erased'], 'session', 'sessions')} erased; bills and chain are as they were"
    if top["waiting"]:
        yield f"{_count(top['waiting'], 'session waits', 'sessions wait')} to be delivered, or run: try again when they are through"
    if not top["is_scrubbed"]:
        yield "another program reads the database: what was erased is still in its log until that ends; then try again"
    for file in _items(top["copies"]):
        yield f"an old copy still holds what was in it: {file}; delete it when nobody needs it"


_WRITERS: Mapping[str, Callable[[object], Iterator[str]]] = {
    "status": _status,
    "why": _why,
    "meter": _meter,
    "sessions": _sessions,
    "sessions.erase": _erased,
    "sessions.head": _head,
    "sessions.send": _head,
    "queue": _queue,
    "deadletters": _dead_letters,
    "deadletters.show": _dead_letter,
    "deadletters.resend": _resent,
    "ocpp.test": _ocpp_test,
    "events": _events,
    "recorder": _recordings,
    "storage": _storage_report,
    "recorder.freeze": _frozen,
    "config": _config,
    "config.set": _set,
}
