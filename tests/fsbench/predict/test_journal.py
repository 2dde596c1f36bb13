"""Lines of a journal that another program wrote: what names no image of the folder counts as damaged."""

import pytest
from fsbench.predict.journal import PredictionJournal

from fsbench.base.errors import SettingsError
from fsbench.records.checked_jsonl import checked_line

ENTRY = {"photo": "a.jpg", "height": 2, "width": 3, "classes": [], "stamp": [1]}
CLASS = {
    "number": 1,
    "name": "cat",
    "present": True,
    "score": 0.5,
    "pixels": 2,
    "tells": False,
    "bbox": [0, 0, 1, 1],
    "counts": "0",
}


@pytest.mark.parametrize("absolute", [True, False])
def test_force_removes_nothing_outside_of_the_folder(tmp_path, absolute):
    out, kept = tmp_path / "out", tmp_path / "pic.png"
    inside = out / "labels" / "a" / "b.jpg.png"
    for file in (kept, inside):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    names = [str(tmp_path / "pic") if absolute else "../../pic", "a/b.jpg"]
    lines = [{"identity": {"method": 1}}, *(ENTRY | {"photo": name} for name in names)]
    (out / "journal.jsonl").write_text("".join(map(checked_line, lines)))
    PredictionJournal(out, {"method": 2}, force=True).close()
    assert kept.is_file() and not inside.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1], {}, 3, "photo", {"photo": "b"}, ENTRY | {"photo": None}, ENTRY | {"photo": ["a"]}, ENTRY | {"photo": "\0"},
        ENTRY | {"height": "2"}, ENTRY | {"classes": [CLASS | {"counts": 3}]}, ENTRY | {"classes": [{}]},
        ENTRY | {"classes": [{key: CLASS[key] for key in ("number", "name", "present", "score", "pixels", "tells")}]},
    ],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_set_aside(tmp_path, value):
    lines = [{"identity": {}}, value, ENTRY | {"classes": [CLASS]}]
    (tmp_path / "journal.jsonl").write_text("".join(map(checked_line, lines)))
    journal = PredictionJournal(tmp_path, {})
    journal.close()
    assert list(journal.offsets) == ["a.jpg"]


def test_an_identity_of_another_form_is_another_one(tmp_path):
    (tmp_path / "journal.jsonl").write_text(checked_line({"identity": {"method": "emat"}}))
    with pytest.raises(SettingsError, match=r"made otherwise \(method was None, is x\); choose another --out"):
        PredictionJournal(tmp_path, {"method": {"name": "x"}})
