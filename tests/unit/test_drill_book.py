"""What is remembered of drills."""

from hubagent.edges.drill_book import KEPT, DrillBook, OpenDrill, PastDrill

OPEN = OpenDrill("core", "freeze", "ana", 7, 103.0, 0, "", "boot")


def test_an_open_drill_survives_a_restart_and_its_end_is_proof(tmp_path):
    """Only a passed one that moved the group proves it."""
    path = tmp_path / "drills.json"
    DrillBook(path).begin(OPEN)
    again = DrillBook(path)
    assert again.open_drills() == [OPEN]
    again.end("core", PastDrill(1.0, "freeze", passed=True, took_s=0.7))
    again.end("core", PastDrill(2.0, "freeze", passed=False, took_s=6.0))
    again.end("core", PastDrill(3.0, "kill-server", passed=True))
    assert DrillBook(path).open_drills() == []
    assert DrillBook(path).proven("core").took_s == 0.7
    assert DrillBook(path).proven("other") is None


def test_the_past_is_bounded_and_in_order(tmp_path):
    """What another member tells comes late."""
    book = DrillBook(tmp_path / "drills.json")
    for number in range(KEPT + 5, 0, -1):
        book.learn("core", PastDrill(float(number), "member", passed=True, took_s=0.5))
    times = [one.t for one in book.past("core")]
    assert len(times) == KEPT
    assert times == sorted(times)


def test_a_damaged_file_counts_as_empty(tmp_path):
    """Drills only prove; without the file nothing is proven."""
    path = tmp_path / "drills.json"
    path.write_bytes(b"{broken")
    assert DrillBook(path).past("core") == []
