"""`chargerctl sessions`: the chain is proved over the socket, in a file while no daemon runs, and in what was exported."""

import asyncio
import csv
import hashlib
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.cli import __main__ as cli
from agent.cli import sessions
from agent.diagnostics.protocol import Role, RpcError, Service
from agent.diagnostics.results import RESULTS
from agent.diagnostics.server import Server
from agent.domain.ledger import Row
from agent.runtime import books
from agent.runtime.books import Books
from agent.store.seal import sealed, unsealed
from agent.store.store import FILE_NAME, Store
from tests.cli.test_main import ctl
from tests.store.build import TOKEN, end_notice, ended, notice, record, transaction_id
from tests.store.test_ledger import charge, opened, tampered

SESSIONS = 5


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(books, "PAGE", 2)  # several pages
    async with opened(tmp_path) as store:
        for number in range(1, SESSIONS + 1):
            await charge(store, number)
        yield store


@pytest.fixture
async def socket(tmp_path: Path, store: Store) -> AsyncIterator[Path]:
    server = Server(Service(Books(store).methods(), title="test", version="1"), tmp_path / "diag.sock")
    await server.start()
    yield tmp_path / "diag.sock"
    await server.aclose()


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A database that no daemon holds."""
    async with opened(tmp_path) as store:
        for number in range(1, SESSIONS + 1):
            await charge(store, number)
    return tmp_path / FILE_NAME


# --- words


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("sessions list", ("sessions", {})),
        ("sessions list 3", ("sessions", {"limit": 3})),
        ("sessions verify", ("sessions.chain", {"do": "verify"})),
        ("sessions verify --database /x.db", ("sessions.chain", {"do": "verify", "database": "/x.db"})),
        ("sessions verify --file=/x.json --key k", ("sessions.chain", {"do": "verify", "file": "/x.json", "key": "k"})),
        ("sessions erase id abc", ("sessions.erase", {"transaction_id": "abc"})),
        ("sessions erase token 04A1", ("sessions.erase", {"token": "04A1"})),
        ("sessions erase before 2026-01-31", ("sessions.erase", {"before": "2026-01-31"})),
        ("sessions head", ("sessions.head", {})),
        ("sessions send-head", ("sessions.send", {})),
        ("sessions show abc", ("sessions.chain", {"do": "show", "transaction_id": "abc"})),
        ("sessions export csv", ("sessions.chain", {"do": "export", "form": "csv"})),
        ("sessions export json --with-tokens", ("sessions.disclosed", {"do": "export", "form": "json", "with-tokens": True})),
        ("sessions export csv --from 2026-01-01 --to 2026-02-01", None),
    ],
)
def test_words_become_a_question(line: str, asked: tuple[str, dict[str, object]] | None) -> None:
    words, _, _ = cli._options(line.split())
    found = cli._question(words)
    assert asked is None or found == asked


@pytest.mark.parametrize(
    "line",
    [
        "sessions verify all",
        "sessions export",
        "sessions export pdf",
        "sessions show",
        "sessions verify --file",
        "sessions verify --from 2026-01-01",
        "sessions verify --file a --database b",
        "sessions export csv --nonsense",
        "sessions erase",
        "sessions erase everything",
        "sessions erase id",
        "sessions erase id 1 --database x",
    ],
)
async def test_words_that_make_no_sense_exit_2(line: str, tmp_path: Path) -> None:
    ran = await ctl(*line.split(), path=tmp_path / "none")
    assert ran.code == 2
    assert "not understood" in ran.err


# --- verify


async def test_a_sound_chain_is_proved_over_the_socket(socket: Path) -> None:
    ran = await ctl("sessions", "verify", path=socket)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == f"sound: {SESSIONS} rows, {SESSIONS} sessions"
    assert ran.out.splitlines()[1].startswith(f"head {SESSIONS}:")
    assert "not signed" in ran.out


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_first_broken_row_is_named(file: Path, as_json: bool) -> None:
    tampered(file, "UPDATE ledger SET body = replace(body, '1500', '1400') WHERE entry >= 3")
    ran = await ctl("sessions", "verify", "--database", str(file), *(["--json"] if as_json else []))
    assert (ran.code, ran.err) == (1, "")
    if as_json:
        assert json.loads(ran.out)["first_broken"] == {"index": 3, "what": "body", "text": "its body was changed: it has another hash"}
    else:
        assert ran.out.startswith("BROKEN at row 3 (body): its body was changed")


async def test_a_record_that_was_changed_beside_the_chain_is_named(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:  # with the right checksum: it is against broken flash, not against people
        (text,) = db.execute("SELECT record FROM transactions WHERE ordinal = 2").fetchone()
        text = sealed(unsealed(text).replace("2500.5", "9500.5").encode())
        db.execute("UPDATE transactions SET record = ? WHERE ordinal = 2", (text,))
        db.commit()
    ran = await ctl("sessions", "verify", "--database", str(file))
    assert ran.code == 1
    assert ran.out.startswith(
        "BROKEN at row 2 (record): the record beside it differs: meter_stop.energy_wh is 9500.5 there and 2500.5 here"
    )


async def test_a_file_is_proved_while_the_daemon_is_down_and_is_not_changed(file: Path) -> None:
    before = {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()}
    ran = await ctl("sessions", "verify", "--database", str(file))
    assert (ran.code, ran.err) == (0, "")
    assert {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()} == before


async def test_a_file_is_proved_while_the_daemon_holds_it(tmp_path: Path, store: Store) -> None:
    ran = await ctl("sessions", "verify", "--database", str(tmp_path / FILE_NAME))
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"sound: {SESSIONS} rows, {SESSIONS} sessions")


async def test_a_known_head_finds_a_chain_that_was_cut_off(file: Path) -> None:
    head = (await ctl("sessions", "verify", "--database", str(file))).out.splitlines()[1].removeprefix("head ")
    ran = await ctl("sessions", "verify", "--database", str(file), "--head", head)
    assert ran.code == 0
    tampered(file, "DELETE FROM ledger WHERE entry = 5", "DELETE FROM transactions WHERE ordinal = 5")
    assert (await ctl("sessions", "verify", "--database", str(file))).code == 0
    ran = await ctl("sessions", "verify", "--database", str(file), "--head", head)
    assert ran.code == 1
    assert "BROKEN at row 5 (missing): the head that you gave names row 5, which is not there" in ran.out


@pytest.mark.parametrize("content", [None, b"", b"no database at all, whatever its name says" * 50, b"SQLite format 3\0"])
async def test_what_is_no_database_is_said(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.db"
    if content is not None:
        file.write_bytes(content)
    ran = await ctl("sessions", "verify", "--database", str(file))
    assert (ran.code, ran.out) == (1, "")
    assert "no such file" in ran.err or "is it a database of charger-agent" in ran.err


async def test_a_session_is_shown_as_the_chain_proves_it(socket: Path) -> None:
    ran = await ctl("sessions", "show", transaction_id(3), path=socket)
    assert ran.code == 0
    shown = json.loads(ran.out)
    assert (shown["row"], shown["session"]["energy_wh"], shown["problem"]) == (3, 1500, None)
    ran = await ctl("sessions", "show", "nothing", path=socket)
    assert (ran.code, ran.out) == (1, "")


# --- export


def third_party(document: dict[str, Any]) -> str:
    """A verifier by somebody who has docs/ledger.md and nothing else. Gives the hash of the newest row."""
    previous, expected, chain, pruned, missing = None, None, None, {}, []
    for row in document["rows"]:
        index, body = row["index"], row["body"]
        if body is not None:
            assert hashlib.sha256(body.encode()).hexdigest() == row["body_hash"], f"row {index}: body"
        text = f"charger-agent ledger 1 {index} {row['previous']} {row['body_hash']}"
        assert hashlib.sha256(text.encode()).hexdigest() == row["hash"], f"row {index}: hash"
        if expected is None:
            assert index > 1 or row["previous"] == "0" * 64, f"row {index}: beginning"
        elif index == expected:
            assert row["previous"] == previous, f"row {index}: link"
        else:
            missing.append((expected, index - 1))
        previous, expected = row["hash"], index + 1
        facts = json.loads(body) if body is not None else {}
        if facts.get("kind") == "gap":
            missing = [hole for hole in missing if list(hole) not in facts["missing"]]
            chain = None
        if facts.get("kind") == "pruned":
            pruned[facts["through"]] = facts["hash"]
        assert body is None or chain in {None, facts["chain"]}, f"row {index}: chain"
        chain = facts.get("chain", chain)
        for shown in row.get("disclosures", []):
            name = shown["name"]
            committed = hashlib.sha256(bytes.fromhex(shown["salt"]) + f"{name}:{shown['value']}".encode()).hexdigest()
            assert facts["session"][name] == {"commitment": committed}, f"row {index}: {name}"
    assert not missing, missing
    for head in document["heads"]:
        said = json.loads(head["statement"])
        assert all(row["hash"] == said["hash"] for row in document["rows"] if row["index"] == said["index"]), "head"
    assert previous is not None
    return previous


async def test_what_is_exported_is_proved_by_a_third_party(socket: Path, tmp_path: Path) -> None:
    ran = await ctl("sessions", "export", "json", path=socket)
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert len(document["rows"]) == SESSIONS
    proved = await ctl("sessions", "verify", path=socket)
    assert f"head {SESSIONS}:{third_party(document)}" in proved.out
    assert TOKEN.value not in ran.out
    assert "salt" not in ran.out, "a salt without its token would give a card number away"
    kept = tmp_path / "export.json"
    kept.write_text(ran.out)
    assert (await ctl("sessions", "verify", "--file", str(kept))).code == 0
    kept.write_text(ran.out.replace("1500", "1400", 1))
    broken = await ctl("sessions", "verify", "--file", str(kept))
    assert (broken.code, broken.out[:22]) == (1, "BROKEN at row 1 (body)")
    with pytest.raises(AssertionError, match="row 1: body"):
        third_party(json.loads(kept.read_text()))


async def test_tokens_are_exported_when_they_are_asked_for(socket: Path) -> None:
    ran = await ctl("sessions", "export", "json", "--with-tokens", path=socket)
    document = json.loads(ran.out)
    third_party(document)
    assert document["rows"][0]["disclosures"][0]["value"] == f"ISO14443:{TOKEN.value}"
    document["rows"][2]["disclosures"][0]["value"] = "ISO14443:FFFF"
    with pytest.raises(AssertionError, match="row 3: id_token"):
        third_party(document)


@pytest.mark.parametrize("tokens", [(), ("--with-tokens",)])
async def test_a_table_is_for_people_and_holds_the_proof(socket: Path, tmp_path: Path, tokens: tuple[str, ...]) -> None:
    ran = await ctl("sessions", "export", "csv", *tokens, path=socket)
    assert ran.code == 0
    lines = list(csv.DictReader(io.StringIO(ran.out)))
    assert [line["energy_wh"] for line in lines] == ["1500"] * SESSIONS
    assert (lines[0]["cost"], lines[0]["currency"], lines[0]["register_start_wh"]) == ("18.35", "NOK", "1000")
    assert lines[0]["started"] == "2026-01-01T10:00:00Z"
    assert (TOKEN.value in ran.out) is bool(tokens)
    table = tmp_path / "export.csv"
    table.write_text(ran.out, newline="")
    assert (await ctl("sessions", "verify", "--file", str(table))).code == 0
    table.write_text(ran.out.replace("18.35", "1.35"), newline="")
    assert (await ctl("sessions", "verify", "--file", str(table))).code == 1
    if tokens:
        table.write_text(ran.out.replace(TOKEN.value, "04FFFFFFFFFFFF"), newline="")
        assert "(commitment)" in (await ctl("sessions", "verify", "--file", str(table))).out


def at_day(number: int, day: int) -> Any:
    from dataclasses import replace
    from datetime import UTC, datetime

    from agent.domain.time import Instant

    return replace(ended(number), ended_at=Instant(ended(number).ended_at.boot_id, 10_000, datetime(2026, 1, day, 12, tzinfo=UTC)))  # type: ignore[union-attr]


async def test_some_days_are_exported_with_links_up_to_the_head(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 6):
            await store.commit([record(number)], [notice(number, 0)])
            await store.commit([at_day(number, number)], [end_notice(number)])
    file = tmp_path / FILE_NAME
    ran = await ctl("sessions", "export", "json", "--database", str(file), "--from", "2026-01-02", "--to", "2026-01-04")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert [(row["index"], row["body"] is not None) for row in document["rows"]] == [(2, True), (3, True), (4, False), (5, False)]
    head = third_party(document)
    assert f"head 5:{head}" in (await ctl("sessions", "verify", "--database", str(file))).out, "the head of the whole proves the part"
    export = tmp_path / "part.json"
    export.write_text(ran.out)
    assert (await ctl("sessions", "verify", "--file", str(export), "--head", f"5:{head}")).code == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format":"charger-agent sessions 1"}', "kind,index\nsession,1\n"])
@pytest.mark.parametrize("ending", ["json", "csv"])
async def test_a_file_that_is_no_export_is_said(tmp_path: Path, content: str, ending: str) -> None:
    file = tmp_path / f"x.{ending}"
    file.write_text(content)
    with pytest.raises(sessions.ChainError, match="export"):
        list(sessions.of_export(file).rows)


async def test_the_answers_are_what_their_schemas_say(store: Store) -> None:
    for method in Books(store).methods():
        if method.name in {"sessions.chain", "sessions.disclosed"}:
            Draft202012Validator(RESULTS[method.name]).validate(await method.call({"after": 1}))
            Draft202012Validator(RESULTS[method.name]).validate(await method.call({"after": 4}))


# --- erase


async def test_personal_data_is_erased_and_the_chain_stays_whole(socket: Path) -> None:
    ran = await ctl("sessions", "erase", "token", TOKEN.value, path=socket)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"personal data of {SESSIONS} sessions erased; bills and chain are as they were\n"
    assert (await ctl("sessions", "verify", path=socket)).out.startswith(f"sound: {SESSIONS} rows")
    assert TOKEN.value not in (await ctl("sessions", "export", "json", "--with-tokens", path=socket)).out


async def test_a_token_may_be_typed_where_nobody_sees_it(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN.value}\n"))
    answer = await asyncio.to_thread(cli._answer, str(socket), "sessions.erase", {"token": "-"})
    assert isinstance(answer, dict)
    assert answer["erased"] == SESSIONS


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "name one of transaction_id, token and before"),
        ({"token": "a", "before": "2026-01-01"}, "name one of"),
        ({"before": "yesterday"}, "'yesterday' is no moment; write 2026-01-31"),
    ],
)
async def test_what_is_to_be_erased_must_be_clear(store: Store, params: dict[str, Any], says: str) -> None:
    with pytest.raises(RpcError, match=says):
        await Books(store).erase(params)


@pytest.mark.parametrize(
    ("given", "moment"), [("2026-01-02", "2026-01-02T00:00:00Z"), ("2026-01-02T12:00:00+02:00", "2026-01-02T10:00:00Z")]
)
def test_a_day_is_a_day_in_utc(given: str, moment: str) -> None:
    assert books._moment(given) == moment


def test_only_technicians_see_and_erase_personal_data(store: Store) -> None:
    roles = {method.name.partition(".")[2]: method.role for method in Books(store).methods()}
    assert {name for name, role in roles.items() if role is Role.TECHNICIAN} == {"disclosed", "erase", "send"}
    assert roles.keys() == {"chain", "disclosed", "erase", "head", "send"}


@pytest.mark.parametrize(
    ("serial", "cell"), [("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"), ("=1+1", "'=1+1"), ("-17.5", "-17.5"), ("M-1", "M-1")]
)
def test_a_meter_cannot_write_a_formula_into_the_table(serial: str, cell: str) -> None:
    """A leading minus begins a formula as well; a number stays one."""
    body = json.dumps({"kind": "session", "session": {"meter_start": {"serial_number": serial}}})
    line = sessions._line(sessions.Found(Row(index=1, previous="", body_hash="", hash="", body=body)))
    assert dict(zip(sessions.COLUMNS, line, strict=True))["meter_serial_number"] == cell


async def test_a_file_is_proved_as_one_state_while_the_daemon_empties_its_log(tmp_path: Path) -> None:
    """An empty log beside the file says that a daemon holds it: what it writes meanwhile must not be half seen."""
    async with opened(tmp_path) as store:
        for number in range(1, 41):
            await charge(store, number)
        await store._db.scrub(whole=False)
        chain = sessions.of_database(tmp_path / FILE_NAME)
        first = next(chain.rows)
        await store.forget_before(datetime(2100, 1, 1, tzinfo=UTC))
        for number in range(200, 220):
            await charge(store, number)
        await store._db.scrub(whole=True)
        rows = [first, *chain.rows]
        assert [found.row.index for found in rows] == list(range(1, 41))
        assert not any(found.problem for found in rows)
        assert len(list(sessions.of_database(tmp_path / FILE_NAME).rows)) == 21
