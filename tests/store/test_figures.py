"""The figures on which the promises about loss, wear and room rest: each was weighed, none moves by accident."""

from datetime import timedelta
from types import ModuleType

import pytest

from agent.store import database, ledger, salvage, store, tables, wal, wear


@pytest.mark.parametrize(
    ("module", "figures"),
    [
        (database, {"APPLICATION_ID": 1_128_351_572, "PAGE_BYTES": 1024, "CACHE_KIB": 512, "BUSY_TIMEOUT_MS": 5_000, "SCRUB_WAIT_MS": 200}),
        (database, {"CHECKPOINT_LOG_BYTES": 2_097_152, "SHORT_LOG_BYTES": 65_536, "KEPT_ASIDE": 2, "OLDEST_SQLITE": (3, 37, 0)}),
        (ledger, {"KEPT_ROWS": 5_000, "PRUNED_AT_ONCE": 200, "KEPT_HEADS": 50, "_CHAIN_BYTES": 16}),
        (salvage, {"MAX_PROBES": 2_000, "SILENT_FOR_AT_MOST": timedelta(days=400)}),
        (store, {"MARK_DELAY_S": 5, "LIFETIME_DELAY_S": 300, "MAX_PENDING_MARKS": 500, "ANCHOR_MOVED_MS": 43_200_000}),
        (store, {"BOARD_DRIFT": timedelta(minutes=1), "ANCHOR_STEP": timedelta(seconds=1)}),
        (tables, {"KEPT_TRANSACTIONS": 1_000, "MAX_QUEUED": 20_000, "THINNING_SHARE": 50, "KEPT_RUNS": 100}),
        (tables, {"KEPT_AT_LEAST": 100, "FORGOTTEN_AT_ONCE": 100}),
        (wal, {"HEADER_BYTES": 32, "FRAME_HEADER_BYTES": 24}),
        (wear, {"LEAST_S": 600, "BLOCK_BYTES": 4096}),
    ],
)
def test_each_figure_is_the_one_that_was_weighed(module: ModuleType, figures: dict[str, object]) -> None:
    assert {name: vars(module)[name] for name in figures} == figures


def test_what_a_unit_of_work_did_begins_with_nothing() -> None:
    """What is counted is added to books that are shown: a unit that did nothing changes none of them."""
    written = tables.Written()
    assert (written.rows_added, written.rows_gone, written.rows_thinned, written.letters, written.rows_proved) == (0, 0, 0, 0, 0)
    assert (tables.Books().depth, tables.Position()) == (0, tables.Position(ordinal=0, seq_no=-1))
    assert not tables.Pending()
