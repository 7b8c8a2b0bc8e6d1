"""`chargerctl sessions`: the chain of finished sessions, shown, proved and exported by whoever asks, not by the daemon.

A database file and an exported file are proved by the same rules as the daemon's answers (docs/ledger.md).
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from agent.domain import ledger
from agent.domain.ledger import Disclosure, Head, Row, SignedHead, Verifier
from agent.domain.values import dataclass

Ask = Callable[[str, dict[str, object]], object]

FORMAT = "charger-agent sessions 1"
_VALUED = frozenset({"--database", "--file", "--key", "--head", "--from", "--to"})
_PLAIN = frozenset({"--with-tokens"})

COLUMNS = (
    *("kind", "index", "transaction_id", "evse", "connector", "meter_serial_number", "started", "ended", "register_start_wh"),
    *("register_stop_wh", "is_estimated", "energy_wh", "cost", "currency", "stopped_reason"),
    *("id_token", "id_token_salt", "previous", "body_hash", "hash", "body", "signature", "key_id"),
)
"""Of the table: what a person reads, then the proof. A line of kind `head` holds a statement of the device in `body`."""


class ChainError(Exception):
    """What was given cannot be read; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """One row with what was said beside it."""

    row: Row
    what: str | None = None
    problem: str | None = None
    disclosures: Mapping[str, Disclosure] | None = None


@dataclass(slots=True)
class Chain:
    """A chain to walk: `rows` gives all rows, and when they are through, `heads` and `unproved` are known."""

    rows: Iterator[Found]
    heads: list[SignedHead]
    unproved: list[str]
    is_part: bool = False


def question(words: list[str]) -> tuple[str, dict[str, object]] | None:
    """Method and what is to be done with its answer; None where the words make no sense."""
    plain: list[str] = []
    asked: dict[str, object] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in _VALUED:
            value = value if equals else next(rest, "")
            if not value:
                return None
            asked[name[2:]] = value
        elif word in _PLAIN:
            asked[word[2:]] = True
        elif word.startswith("--"):
            return None
        else:
            plain.append(word)
    allowed = {
        "show": {"database", "with-tokens"},
        "verify": {"database", "file", "key", "head"},
        "export": {"database", "from", "to", "with-tokens"},
    }
    match plain:
        case ["head"] if not asked:
            return "sessions.head", {}
        case ["send-head"] if not asked:
            return "sessions.send", {}
        case ["erase", "id", transaction_id] if not asked:
            return "sessions.erase", {"transaction_id": transaction_id}
        case ["erase", "token", token] if not asked:
            return "sessions.erase", {"token": token}
        case ["erase", "before", moment] if not asked:
            return "sessions.erase", {"before": moment}
        case ["show", transaction_id]:
            asked["transaction_id"] = transaction_id
        case ["verify"]:
            pass
        case ["export", ("csv" | "json") as form]:
            asked["form"] = form
        case _:
            return None
    if set(asked) - {"transaction_id", "form"} - allowed[plain[0]] or {"database", "file"} <= asked.keys():
        return None
    return "sessions.disclosed" if "with-tokens" in asked else "sessions.chain", {"do": plain[0], **asked}


def run(ask: Ask, asked: Mapping[str, object], *, as_json: bool) -> int:
    """Do what was asked; gives the exit code. Raises ChainError, OSError, and what `ask` raises."""
    chain = _chain(ask, asked)
    match asked["do"]:
        case "verify":
            return _verify(chain, asked, as_json=as_json)
        case "show":
            return _show(chain, str(asked["transaction_id"]))
        case _:
            return _export(chain, asked)


# ---------------------------------------------------------------------------------------------------------------- where it is from


def _chain(ask: Ask, asked: Mapping[str, object]) -> Chain:
    if "database" in asked:
        return of_database(Path(str(asked["database"])), with_tokens="with-tokens" in asked)
    if "file" in asked:
        return of_export(Path(str(asked["file"])))
    return of_daemon(ask, with_tokens="with-tokens" in asked)


def of_daemon(ask: Ask, *, with_tokens: bool = False) -> Chain:
    """The chain of the running daemon."""
    method = "sessions.disclosed" if with_tokens else "sessions.chain"

    def pages() -> Iterator[Mapping[str, object]]:
        after: object = 0
        while after is not None:
            page = ask(method, {"after": after})
            if not isinstance(page, dict):
                raise ChainError("the daemon is of another version; restart it")
            yield page
            after = page["next"]

    return _of_pages(pages())


def of_database(file: Path, *, with_tokens: bool = False) -> Chain:
    """The chain in a database file, which is not changed: also while no daemon runs, and of a copy."""
    import sqlite3

    from agent.store import ledger as stored

    if not file.is_file():
        raise ChainError(f"{file}: there is no such file; the daemon's is charger-agent.db in [store] directory")

    def pages() -> Iterator[Mapping[str, object]]:
        try:
            with closing(sqlite3.connect(_address(file), uri=True, isolation_level=None)) as db:
                db.text_factory = lambda raw: raw.decode(errors="surrogateescape")
                db.execute("BEGIN")  # one state of the file, whatever the daemon writes meanwhile
                for page in stored.pages(db):
                    yield stored.as_json(page, stored.heads(db, stored.KEPT_HEADS) if page.is_last else [], with_tokens=with_tokens)
        except sqlite3.Error as error:
            raise ChainError(
                f"{file}: {error}; is it a database of charger-agent, with the files -wal and -shm beside it, and may this user read them?"
            ) from error

    return _of_pages(pages())


def _address(file: Path) -> str:
    """Read only. A copy without a log beside it is read as it is, so that no file has to be made beside it.

    A log that is empty but shared is a daemon's, which may write while the file is read.
    """
    log, shared = (file.with_name(file.name + suffix) for suffix in ("-wal", "-shm"))
    has_log = log.exists() and (log.stat().st_size > 0 or shared.exists())
    return file.absolute().as_uri() + ("?mode=ro" if has_log else "?mode=ro&immutable=1")


def _of_pages(pages: Iterator[Mapping[str, object]]) -> Chain:
    heads: list[SignedHead] = []
    unproved: list[str] = []

    def rows() -> Iterator[Found]:
        for page in pages:
            for item in _list(page["rows"]):
                yield _found(item)
            heads.extend(_head(item) for item in _list(page["heads"]))
            unproved.extend(str(item) for item in _list(page["unproved"]))

    return Chain(rows(), heads, unproved)


def of_export(file: Path) -> Chain:
    """The chain in a file that `export` made: whoever has it can prove it."""
    try:
        with file.open(encoding="utf-8", newline="") as text:
            if file.suffix == ".csv":
                table = csv.DictReader(text)
                if set(table.fieldnames or ()) != set(COLUMNS):
                    raise ChainError(f"{file} is no export of sessions: `chargerctl sessions export csv` makes one")
                return _of_table(list(table))
            document = json.load(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ChainError(f"{file} is no export of sessions: `chargerctl sessions export json` makes one")
        rows = iter([_found(item) for item in _list(document["rows"])])
        return Chain(rows, [_head(item) for item in _list(document["heads"])], [], is_part=True)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ChainError(f"{file} cannot be read as an export of sessions: {error!r}") from error


def _of_table(lines: list[dict[str, str]]) -> Chain:
    heads, rows = [], []
    for line in lines:
        if line["kind"] == "head":
            heads.append(SignedHead(statement=line["body"], signature=line["signature"], key_id=line["key_id"]))
        else:
            token = {"id_token": Disclosure(bytes.fromhex(line["id_token_salt"]), line["id_token"])} if line["id_token_salt"] else None
            rows.append(Found(_row({**line, "index": int(line["index"]), "body": line["body"] or None}), disclosures=token))
    return Chain(iter(rows), heads, [], is_part=True)


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    raise TypeError(f"a list was expected, not {type(value).__name__}")


def _row(item: Mapping[str, object]) -> Row:
    body = item["body"]
    return Row(
        index=int(str(item["index"])),
        previous=str(item["previous"]),
        body_hash=str(item["body_hash"]),
        hash=str(item["hash"]),
        body=None if body is None else str(body),
    )


def _found(item: object) -> Found:
    if not isinstance(item, dict):
        raise TypeError("a row is an object")
    shown = item.get("disclosures") or []
    disclosures = {one["name"]: Disclosure(bytes.fromhex(one["salt"]), one["value"]) for one in shown}
    return Found(_row(item), item.get("what"), item.get("problem"), disclosures or None)


def _head(item: object) -> SignedHead:
    if not isinstance(item, dict):
        raise TypeError("a head is an object")
    return SignedHead(statement=str(item["statement"]), signature=str(item["signature"]), key_id=str(item["key_id"]))


# ------------------------------------------------------------------------------------------------------------------------ verify


def _verify(chain: Chain, asked: Mapping[str, object], *, as_json: bool) -> int:
    verifier = Verifier(is_part=chain.is_part)
    last = 0
    for found in chain.rows:
        last = found.row.index
        verifier.feed(found.row)
        problem = None
        if found.disclosures and found.row.body is not None:
            problem = ledger.commitment_problem(found.row.body, found.disclosures, None)
        if problem is not None:
            verifier.complain(last, "commitment", problem)
        elif found.problem is not None:
            verifier.complain(last, str(found.what), found.problem)
    for transaction_id in chain.unproved:
        verifier.complain(last + 1, "missing", f"transaction {transaction_id} has ended and has no row")
    key = _public_key(str(asked["key"])) if "key" in asked else None
    for signed in chain.heads:
        _judge_head(verifier, signed, key)
    if "head" in asked:
        verifier.head_known(_known_head(str(asked["head"])), says="the head that you gave")
    verdict = verifier.verdict(must_be_signed=key is not None)
    if as_json:
        sys.stdout.write(json.dumps(_verdict_json(verdict), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _verdict_lines(verdict, chain, is_checked=key is not None)))
    return 0 if verdict.is_sound else 1


def _judge_head(verifier: Verifier, signed: SignedHead, key: "Callable[[SignedHead], bool] | None") -> None:
    head = signed.head
    if head is None:
        verifier.complain(0, "signature", "a statement about the head cannot be read")
        return
    is_signed = bool(signed.signature) and key is not None and key(signed)
    if key is not None and signed.signature and not is_signed:
        verifier.complain(head.index, "signature", "the statement about it is not signed by this key")
    verifier.head_known(head, is_signed=is_signed, says="the device's statement")


def _public_key(file: str) -> Callable[[SignedHead], bool]:
    from agent.cli.signature import SignatureError, reader

    try:
        return reader(Path(file).read_bytes())
    except SignatureError as error:
        raise ChainError(f"{file}: {error}") from error


def _known_head(text: str) -> Head:
    index, _, digest = text.partition(":")
    if not index.isdigit() or len(digest) != 64:
        raise ChainError(f"--head {text}: write INDEX:HASH, as `chargerctl sessions verify` prints them")
    return Head(int(index), digest.lower())


def _verdict_json(verdict: ledger.Verdict) -> dict[str, object]:
    first = verdict.first
    return {
        "is_sound": verdict.is_sound,
        "rows": verdict.rows,
        "sessions": verdict.sessions,
        "head": None if verdict.head is None else {"index": verdict.head.index, "hash": verdict.head.hash},
        "first_broken": None if first is None else {"index": first.index, "what": first.what, "text": first.text},
        "problems": len(verdict.problems),
        "pruned": verdict.pruned,
        "lost": [list(pair) for pair in verdict.lost],
        "signed": verdict.signed,
    }


def _verdict_lines(verdict: ledger.Verdict, chain: Chain, *, is_checked: bool) -> Iterator[str]:
    head, first = verdict.head, verdict.first
    if first is None:
        yield f"sound: {verdict.rows} rows, {verdict.sessions} sessions"
    else:
        more = f", and {len(verdict.problems) - 1} more" if len(verdict.problems) > 1 else ""
        yield f"BROKEN at row {first.index} ({first.what}): {_safe(first.text)}{more}"
        yield f"{verdict.rows} rows, {verdict.sessions} sessions"
    if head is not None:
        yield f"head {head.index}:{head.hash}"
    if verdict.pruned:
        yield f"rows up to {verdict.pruned} were pruned in order"
    for begin, end in verdict.lost:
        yield f"rows {begin} to {end} were lost with a damaged file, and the chain says so"
    signatures = [signed for signed in chain.heads if signed.signature]
    if is_checked:
        yield f"signed up to row {verdict.signed}"
    elif signatures:
        yield f"signed by key {signatures[0].key_id[:16]}; not checked: give its public half with --key FILE"
    else:
        yield "not signed: a head that you know from elsewhere proves the end (--head INDEX:HASH)"


def _safe(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


# ------------------------------------------------------------------------------------------------------------------ show and export


def _show(chain: Chain, transaction_id: str) -> int:
    for found in chain.rows:
        session = ledger.read_body(found.row.body or "").get("session")
        if isinstance(session, dict) and str(session.get("transaction_id")).startswith(transaction_id):
            tokens = {name: one.value for name, one in (found.disclosures or {}).items()}
            shown = {"row": found.row.index, "hash": found.row.hash, "problem": found.problem, "session": session, **tokens}
            sys.stdout.write(json.dumps(shown, indent=2) + "\n")
            return 0 if found.problem is None else 1
    sys.stderr.write(f"chargerctl: no finished session {ascii(transaction_id)[1:-1]}; chargerctl sessions list shows which there are\n")
    return 1


def _export(chain: Chain, asked: Mapping[str, object]) -> int:
    """Rows of the days that are wanted, then links only up to the head, so that a known head proves those rows too."""
    rows = _chosen(chain.rows, str(asked.get("from", "")), str(asked.get("to", "")))
    if asked["form"] == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(COLUMNS)
        for found in rows:
            table.writerow(_line(found))
        for signed in chain.heads:
            known = {"kind": "head", "body": signed.statement, "signature": signed.signature, "key_id": signed.key_id}
            table.writerow([known.get(column, "") for column in COLUMNS])
        return 0
    out = sys.stdout
    out.write(f'{{"format":{json.dumps(FORMAT)},\n"rows":[')
    comma = ""
    for found in rows:
        out.write(comma + "\n" + json.dumps(_item(found)))
        comma = ","
    heads = [{"statement": s.statement, "signature": s.signature, "key_id": s.key_id} for s in chain.heads]
    out.write(f'],\n"heads":{json.dumps(heads)}}}\n')
    return 0


def _chosen(rows: Iterator[Found], begin: str, end: str) -> Iterator[Found]:
    """From the first row of the days on; behind the last one without the bodies.

    Days are compared as texts of RFC 3339. Rows between two that are wanted come along: the proof has no holes.
    """
    has_begun = not begin
    held: list[Found] = []
    for found in rows:
        ended = ledger.ended_utc(found.row.body or "")
        is_inside = ended is not None and (not begin or ended >= begin) and (not end or ended < end)
        if is_inside:
            has_begun = True
        if not has_begun:
            continue
        if not end or is_inside:
            yield from held
            held.clear()
            yield found
        else:
            held.append(found)
    for found in held:
        row = found.row
        yield Found(Row(index=row.index, previous=row.previous, body_hash=row.body_hash, hash=row.hash, body=None))


def _item(found: Found) -> dict[str, object]:
    row = found.row
    item: dict[str, object] = {
        "index": row.index,
        "previous": row.previous,
        "body_hash": row.body_hash,
        "hash": row.hash,
        "body": row.body,
    }
    if found.disclosures:
        item["disclosures"] = [{"name": name, "salt": one.salt.hex(), "value": one.value} for name, one in found.disclosures.items()]
    return item


def _line(found: Found) -> list[str]:
    row = found.row
    body = ledger.read_body(row.body or "")
    session = body.get("session")
    facts: Mapping[str, object] = session if isinstance(session, dict) else {}
    token = (found.disclosures or {}).get("id_token")
    told: dict[str, object] = {
        "kind": body.get("kind", "link"),
        "transaction_id": facts.get("transaction_id"),
        "evse": facts.get("evse_id"),
        "connector": facts.get("connector_id"),
        "meter_serial_number": _at(facts, "meter_start", "serial_number"),
        "started": _at(facts, "started_at", "utc"),
        "ended": _at(facts, "ended_at", "utc"),
        "register_start_wh": _at(facts, "meter_start", "energy_wh"),
        "register_stop_wh": _at(facts, "meter_stop", "energy_wh"),
        "is_estimated": facts.get("meter_stop_estimated"),
        "energy_wh": facts.get("energy_wh"),
        "cost": facts.get("cost_gross"),
        "currency": _at(facts, "tariff", "currency"),
        "stopped_reason": facts.get("stopped_reason"),
    }
    proof: dict[str, object] = {
        "index": row.index,
        "id_token": None if token is None else token.value,
        "id_token_salt": None if token is None else token.salt.hex(),
        "previous": row.previous,
        "body_hash": row.body_hash,
        "hash": row.hash,
        "body": row.body,
    }
    return [_cell(told[column]) if column in told else "" if proof.get(column) is None else str(proof[column]) for column in COLUMNS]


def _at(facts: Mapping[str, object], name: str, inner: str) -> object:
    found = facts.get(name)
    return found.get(inner) if isinstance(found, dict) else None


def _cell(value: object) -> str:
    """Text that a spreadsheet takes as text: a meter's words must not become a formula."""
    text = "" if value is None else str(value)
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} and not text[1:].replace(".", "", 1).isdigit() else text
