"""Lines of a journal that another program wrote: what names no image of the folder counts as damaged."""

import pytest

from fsbench.predict.journal import PredictionJournal
from fsbench.records.checked_jsonl import checked_line


@pytest.mark.parametrize("absolute", [True, False])
def test_force_removes_nothing_outside_of_the_folder(tmp_path, absolute):
    out, kept = tmp_path / "out", tmp_path / "pic.png"
    inside = out / "labels" / "a" / "b.jpg.png"
    for file in (kept, inside):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    names = [str(tmp_path / "pic") if absolute else "../../pic", "a/b.jpg"]
    lines = [{"identity": {"method": 1}}, *({"photo": name} for name in names)]
    (out / "journal.jsonl").write_text("".join(map(checked_line, lines)))
    PredictionJournal(out, {"method": 2}, force=True).close()
    assert kept.is_file() and not inside.exists()


@pytest.mark.parametrize("value", [[1], {}, 3, "photo", {"photo": None}, {"photo": ["a"]}, {"photo": "\0"}])
def test_a_line_that_is_no_entry_is_set_aside(tmp_path, value):
    lines = [{"identity": {}}, value, {"photo": "a.jpg"}]
    (tmp_path / "journal.jsonl").write_text("".join(map(checked_line, lines)))
    journal = PredictionJournal(tmp_path, {})
    journal.close()
    assert list(journal.offsets) == ["a.jpg"]
