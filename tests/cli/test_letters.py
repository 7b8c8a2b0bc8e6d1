"""`chargerctl deadletters`: the pages put together, and what is handed out to bill by hand."""

import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from agent.cli import __main__ as cli
from agent.cli import letters
from agent.diagnostics.protocol import Json, Method, Param, Params, ParamType, Service
from agent.diagnostics.server import Server
from tests.cli import examples as ex
from tests.cli.test_main import ctl

COUNT = 1_234
PAGE = 50


def message(row: int) -> dict[str, Any]:
    session = {**ex.LETTER["session"], "transaction_id": f"tx-{row // 10}"}
    return {"session": session, "message": {**ex.LETTER["letter"], "row": row, "transaction_id": session["transaction_id"]}}


async def page(params: Params) -> Json:
    """The pages of a daemon that has many."""
    first = int(str(params.get("after", 0)))
    rows = range(first, min(COUNT, first + PAGE))
    return {"messages": [message(row) for row in rows], "next": str(rows[-1] + 1) if rows[-1] + 1 < COUNT else None}


async def brief(params: Params) -> Json:
    first = int(str(params.get("after", 0)))
    rows = range(first, min(COUNT, first + PAGE))
    return {
        "letters": [{**ex.QUEUE["dead_letters"][0], "row": row} for row in rows],
        "next": rows[-1] + 1 if rows[-1] + 1 < COUNT else None,
    }


@pytest.fixture
async def socket(tmp_path: Path) -> Any:
    after = (Param(name="after", type=ParamType.STRING, description=""),)
    number = (Param(name="after", type=ParamType.INTEGER, description=""),)
    methods = (
        Method(name="deadletters.export", summary="", call=page, params=after),
        Method(name="deadletters", summary="", call=brief, params=number),
    )
    server = Server(Service(methods, title="test", version="1"), tmp_path / "diag.sock")
    await server.start()
    yield tmp_path / "diag.sock"
    await server.aclose()


async def test_a_long_list_comes_whole_over_many_lines_of_the_socket(socket: Path) -> None:
    ran = await ctl("deadletters", path=socket)
    assert ran.code == 0
    assert [int(line.split()[0]) for line in ran.out.splitlines()[1:]] == [*range(COUNT)]
    ran = await ctl("deadletters", "list", "--json", path=socket)
    assert [letter["row"] for letter in json.loads(ran.out)["letters"]] == [*range(COUNT)]


async def test_the_export_is_whole_and_for_this_user_only(socket: Path, tmp_path: Path) -> None:
    table, document = tmp_path / "dead.csv", tmp_path / "dead.json"
    ran = await ctl("deadletters", "export", str(table), path=socket)
    assert (ran.code, ran.out) == (0, f"124 sessions written to {table}\n")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    with table.open(newline="", encoding="utf-8") as lines:
        rows = [*csv.DictReader(lines)]
    assert [int(row["row"]) for row in rows] == [*range(COUNT)]
    assert rows[17] == {name: rows[17][name] for name in letters.COLUMNS}
    assert (rows[17]["transaction_id"], rows[17]["register_wh"], rows[17]["id_token"]) == ("tx-1", "1000", "…D4E5")
    ran = await ctl("deadletters", "export", str(document), path=socket)
    assert ran.code == 0
    sessions = json.loads(document.read_text(encoding="utf-8"))
    assert [session["session"]["transaction_id"] for session in sessions] == [f"tx-{number}" for number in range(124)]
    assert [item["row"] for session in sessions for item in session["messages"]] == [*range(COUNT)]
    assert sessions[0]["messages"][0]["values"] == ex.LETTER["letter"]["values"]


async def test_a_file_that_is_there_is_not_written_over(socket: Path, tmp_path: Path) -> None:
    file = tmp_path / "dead.csv"
    file.write_text("last month", encoding="utf-8")
    ran = await ctl("deadletters", "export", str(file), path=socket)
    assert (ran.code, "give the name of a new file" in ran.err) == (cli.EXIT_FAILED, True)
    assert file.read_text(encoding="utf-8") == "last month"


async def test_without_a_file_the_terminal_gets_it(socket: Path) -> None:
    ran = await ctl("deadletters", "export", path=socket)
    assert (ran.code, len(ran.out.splitlines())) == (0, COUNT + 1)
    ran = await ctl("deadletters", "export", "--json", path=socket)
    assert len(json.loads(ran.out)) == 124


def test_a_portal_cannot_write_a_formula_into_the_table() -> None:
    """OWASP "CSV injection": a cell that begins with one of these runs when the owner opens the file."""
    evil = message(1)
    evil["message"]["error"] = '=HYPERLINK("http://evil","ok")'
    evil["message"]["seq_no"] = -1
    text = letters.table({"messages": [evil]})
    (row,) = csv.DictReader(text.splitlines())
    assert row["error"].startswith("'=HYPERLINK")
    assert row["seq_no"] == "-1", "a number stays one"


def test_a_daemon_that_repeats_a_page_for_ever_does_not_keep_the_command() -> None:
    asked: list[object] = []

    def ask(_method: str, params: dict[str, object]) -> object:
        asked.append(params.get("after"))
        return {"letters": [1], "next": 7}

    assert letters.whole(ask, "deadletters", {}) == {"letters": [1, 1]}
    assert asked == [None, 7]


def test_an_answer_of_another_shape_is_an_error_and_no_crash() -> None:
    with pytest.raises(TypeError, match="gave no page"):
        letters.whole(lambda *_: [], "deadletters", {})


def test_a_session_whose_record_is_unreadable_is_in_the_table_too() -> None:
    lost = message(1)
    lost["session"] = {"transaction_id": "tx-9", "remote_id": None, "evse": 1, "problem": "damaged", "id_token": None, "seconds": None}
    (row,) = csv.DictReader(letters.table({"messages": [lost]}).splitlines())
    assert (row["transaction_id"], row["register_start_wh"], row["register_wh"]) == ("tx-9", "", "1000")
