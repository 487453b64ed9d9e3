"""The pages of faults: which ids a test carries, and what is made of how it ended."""

from tests.support.faults import FAULTS, Ran, by_fault, carried, faults_page, partition_page

PAGE = {"injected": {"server kill -9": 2}, "sent": 60, "lost": 0, "repeated": 0, "declared": 0, "drain_s": 0.5}


def test_ids_come_from_names_parameters_docstrings_and_markers():
    """In that order, each once, and only ids that there are."""
    assert carried("test_p1_p2_killed", "P2, K1: killed.") == ["P1", "P2", "K1"]
    assert carried("test_broken_wire[N2 silent]", "Records go on.") == ["N2"]
    assert carried("test_other", "A word about N2.", ["V1"]) == ["V1"]
    assert carried("test_x99_n0", "") == []


def test_every_fault_of_the_design_has_a_line():
    """84, as counted there."""
    assert len(FAULTS) == 84


def test_one_failure_is_said_and_a_skip_is_not_held():
    """The worst word of a fault's tests counts; a skip counts only where nothing else ran."""
    ran = [
        Ran("t.py::a", "s", ["N1"], is_real=True),
        Ran("t.py::b", "s", ["N1"], is_real=True, outcome="failed"),
        Ran("t.py::c", "s", ["N2"], is_real=True, outcome="skipped"),
        Ran("t.py::d", "s", ["N2"], is_real=False),
        Ran("t.py::e", "s", ["N3"], is_real=True, outcome="skipped"),
        Ran("t.py::f", "s", ["N4"], is_real=True),
    ]
    found = {fault: held for fault, (held, _) in by_fault(ran).items()}
    assert [found[fault] for fault in ("N1", "N2", "N3", "N4", "N5")] == ["failed", "model", "skipped", "real", ""]
    page = faults_page(ran, "made now")
    assert (
        "**1 held on the real thing, 1 on the model only, 1 skipped** (a skip is not held), 1 failed, 80 without"
        in page
    )


def test_the_partition_table_shows_what_was_injected_and_found():
    """One row a test that looked at streams."""
    page = partition_page([Ran("t.py::a", "killed", ["V1"], is_real=True, page=PAGE)], "made now")
    assert "| V1 | killed | server kill -9 ×2 | real | 60 | 0 | 0 | 0 | 0.50 s |" in page
    assert "1 scenarios, 60 records: lost 0, repeated 0" in page
