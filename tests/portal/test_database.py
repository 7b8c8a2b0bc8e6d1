"""Units of work, and files of another time."""

import sqlite3
from pathlib import Path

import pytest

from simulator.portal.database import Database


def test_a_unit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "portal.sqlite")

    def fail_inside() -> None:
        with database.unit():
            database.insert("INSERT INTO card (id_token, status) VALUES ('A', 'Accepted')")
            with database.unit():
                database.insert("INSERT INTO card (id_token, status) VALUES ('B', 'Accepted')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert database.count("SELECT count(*) FROM card") == 0
    with database.unit():
        database.insert("INSERT INTO card (id_token, status) VALUES ('A', 'Accepted')")
    database.close()
    assert sqlite3.connect(tmp_path / "portal.sqlite").execute("SELECT id_token FROM card").fetchall() == [("A",)]


def test_a_file_of_another_schema_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "portal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match="schema 99, this portal reads 3"):
        Database(path)
