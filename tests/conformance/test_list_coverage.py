"""The list of certification cases, and that a mark on a test is found and counted."""

from pathlib import Path

import pytest

from tests.conformance.list_coverage import Case, MarkCollector, collect_marks, normalized, read_cases, report, unknown_ids

CASE = Case(version="1.6J", profile="Core", id="TC_001_CS", name="Cold Boot Charge Point")
OTHER = Case(version="1.6J", profile="Core", id="TC_002_CS", name="Cold Boot Charge Point - Pending")


def test_the_list_has_every_case_of_the_three_versions_once() -> None:
    cases = read_cases()
    assert {case.version for case in cases} == {"1.6J", "2.0.1", "2.1 (added)"}
    assert len({(case.version, case.id) for case in cases}) == len(cases) == 692


@pytest.mark.parametrize("written", ["TC_001", "TC_001_CS", "tc_001_cs", " TC_001 "])
def test_an_id_is_found_however_it_is_written(written: str) -> None:
    assert normalized(written) == "TC_001"


def test_the_report_says_what_is_covered_and_what_is_not() -> None:
    text = report([CASE, OTHER], {"TC_001": ["tests/x.py::test_boot"]})
    assert "OCPP 1.6J, Core: 1 of 2" in text
    assert "covered    TC_001_CS" in text
    assert "uncovered  TC_002" in text
    assert text.endswith("OCPP 1.6J: 1 of 2 cases have a test")


def test_the_long_report_names_the_tests() -> None:
    assert "tests/x.py::test_boot" in report([CASE, OTHER], {"TC_001": ["tests/x.py::test_boot"]}, verbose=True)


def test_a_case_that_is_shown_in_part_says_what_is_missing() -> None:
    text = report([CASE, OTHER], {"TC_001": ["a"], "TC_002": ["b"]}, {"TC_002": "no reports yet"})
    assert "covered    TC_001_CS" in text
    assert "in part    TC_002_CS        Cold Boot Charge Point - Pending: no reports yet" in text
    assert text.endswith("OCPP 1.6J: 2 of 2 cases have a test, 1 of them in part")


def test_an_id_that_is_no_case_is_found() -> None:
    assert unknown_ids([CASE], {"TC_001": ["a"], "TC_01": ["b"]}) == {"TC_01": ["b"]}


def test_tests_that_cannot_be_collected_give_no_list(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="nothing_of_this_name"):
        collect_marks([str(tmp_path)])


def test_marks_on_functions_classes_and_parameters_are_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.tc("TC_001", "TC_002_CS")
        def test_boot(): ...

        @pytest.mark.tc("TC_003")
        class TestSession:
            def test_a(self): ...
            @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.tc("TC_004_1", partly="half"))])
            def test_b(self, x): ...
            @pytest.mark.tc("TC_002", partly="not the one above")
            def test_c(self): ...
        """
    )
    pytester.makeini("[pytest]\nmarkers = tc(*ids): x\nasyncio_default_fixture_loop_scope = function\n")
    collector = MarkCollector()
    assert pytester.inline_run("--collect-only", "-p", "no:randomly", plugins=[collector]).ret == 0
    assert {case_id: len(tests) for case_id, tests in collector.tests.items()} == {"TC_001": 1, "TC_002": 2, "TC_003": 3, "TC_004_1": 1}
    assert collector.missing() == {"TC_004_1": "half"}


def test_every_mark_in_this_repository_is_a_case_of_the_list(request: pytest.FixtureRequest) -> None:
    """Checked over what this run collected; `make conformance` checks it over everything."""
    collector = MarkCollector()
    collector.pytest_collection_modifyitems(request.session.items)
    assert unknown_ids(read_cases(), collector.tests) == {}
    assert Path(__file__).with_name("certification.csv").is_file()
