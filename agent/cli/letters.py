"""`chargerctl deadletters`: its words, its pages put together, and what is handed out to bill by hand."""

from collections.abc import Callable, Iterator, Mapping

Row = Mapping[str, object]
Ask = Callable[[str, dict[str, object]], object]

PAGED: Mapping[str, str] = {"deadletters": "letters", "deadletters.export": "messages"}
"""Methods that answer a page at a time, and the name of what a page holds."""
ENDINGS = (".csv", ".json")

COLUMNS = (
    *("transaction_id", "remote_id", "evse", "id_token", "started", "ended", "seconds", "register_start_wh", "register_stop_wh"),
    *("meter_serial_number", "is_estimated", "energy_wh", "cost", "stopped_reason"),
    *("row", "state", "event", "seq_no", "at", "trigger", "register_wh", "message_cost", "attempts", "error"),
)
"""Of the table: the session's, which stand in each of its lines, then the message's."""
_OF_MESSAGE = frozenset(COLUMNS[COLUMNS.index("row") :])


def question(words: list[str]) -> tuple[str, dict[str, object]] | None:
    """Method and parameters; `file` is not for the daemon. None where the words make no sense."""
    match words:
        case [] | ["list"]:
            return "deadletters", {}
        case ["show", row] if _is_row(row):
            return "deadletters.show", {"row": int(row)}
        case ["resend", "all"]:
            return "deadletters.resend", {}
        case ["resend", row] if _is_row(row):
            return "deadletters.resend", {"row": int(row)}
        case ["export"]:
            return "deadletters.export", {}
        case ["export", file] if file.endswith(ENDINGS):
            return "deadletters.export", {"file": file}
        case _:
            return None


def _is_row(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 15


def whole(ask: Ask, method: str, params: dict[str, object]) -> dict[str, object]:
    """All pages of a method as one answer. Raises what `ask` raises, and KeyError or TypeError where the answer has another shape."""
    name = PAGED[method]
    found: list[object] = []
    after: object = None
    while True:
        page = ask(method, params if after is None else {**params, "after": after})
        if not isinstance(page, dict) or not isinstance(page[name], list):
            raise TypeError(f"{method} gave no page")
        found.extend(page[name])
        if page["next"] is None or page["next"] == after:
            return {name: found}
        after = page["next"]


def as_text(export: Mapping[str, object], file: str) -> str:
    """The export in the form that the file's name asks for."""
    if file.endswith(".json"):
        import json

        return json.dumps(by_session(export), indent=2) + "\n"
    return table(export)


def by_session(export: Mapping[str, object]) -> list[dict[str, object]]:
    """Each session once, with its messages."""
    sessions: dict[str, Row] = {}
    messages: dict[str, list[Row]] = {}
    for session, message in _pairs(export):
        sessions[str(session["transaction_id"])] = session
        messages.setdefault(str(session["transaction_id"]), []).append(message)
    return [{"session": session, "messages": messages[transaction_id]} for transaction_id, session in sessions.items()]


def table(export: Mapping[str, object]) -> str:
    """Lines of RFC 4180: one for each message. The meter values are in the JSON form only."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for session, message in _pairs(export):
        writer.writerow(_cell(_value(session, message, column)) for column in COLUMNS)
    return out.getvalue()


def _value(session: Row, message: Row, column: str) -> object:
    if column == "message_cost":
        return message["cost"]
    return message[column] if column in _OF_MESSAGE else session.get(column)


def _cell(value: object) -> str:
    """Text that a spreadsheet takes as text: a peer's words must not become a formula."""
    text = "" if value is None else str(value)
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} and not text[1:].replace(".", "", 1).isdigit() else text


def _pairs(export: Mapping[str, object]) -> Iterator[tuple[Row, Row]]:
    messages = export["messages"]
    if not isinstance(messages, list):
        raise TypeError("the export holds no list of messages")
    for item in messages:
        yield item["session"], item["message"]
