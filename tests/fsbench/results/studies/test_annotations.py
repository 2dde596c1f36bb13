"""Losses of weaker annotations: which runs are compared, that they are those of a comparison, and what is refused."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.files.figures import check_figure
from fsbench.cli.main import main
from fsbench.records.card import resolve_card
from fsbench.records.description import all_notes
from fsbench.results.published.conditions import run_conditions
from fsbench.results.rows.scoring import Request
from fsbench.results.sheets.data import rows_csv
from fsbench.results.studies.analyses import ANNOTATIONS
from fsbench.results.studies.annotations.losses import annotation_tables, has_losses
from fsbench.results.studies.annotations.plot import plotted
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.runs import changed, written
from tests.fsbench.scores.once import differences_once


def annotated(record, kind, **other):
    """The record as of supports that are labelled so."""
    return changed(record, ({} if kind == "mask" else {"support_annotation": kind}) | other)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Runs of method a with masks, boxes and points, of b with masks and boxes of another training, of c with boxes."""
    qualities = {"a": 0.6, "a (1)": 0.4, "a (2)": 0.55, "b": 0.5, "b (1)": 0.4, "c": 0.3}
    kinds = ["mask", "box", "point", "mask", "box", "box"]
    found = []
    drawn = write_study(tmp_path_factory.mktemp("runs"), qualities, folds=1, classes=4, episodes=60)
    for number, record in enumerate(drawn):
        own = {"method": {"name": "aaabbc"[number]}, "training": {"epochs": 80 + (number == 4)}}
        own |= {"support_annotation": kinds[number]} if kinds[number] != "mask" else {}
        run = record.run.as_json() | {"identity": record.run.identity.as_json() | own}
        found.append(written(record.path, record.episodes, **run))
    return found


def test_losses_are_paired_differences_to_masks(records, tmp_path, capsys):
    (table,) = annotation_tables(records)
    losses = table.differences
    parts = [(loss.method, loss.part, loss.minus, loss.minus_part) for loss in losses]
    assert parts == [("a", "box", "a", "mask"), ("a", "point", "a", "mask")]
    mask, *others = ([r.protocol.statistics(r.episodes, r.header)] for r in records[:3])
    assert [loss.estimate for loss in losses] == [differences_once(other, mask)["mIoU"] for other in others]
    smaller, larger = sorted(loss.estimate.p for loss in losses)
    assert sorted(loss.corrected for loss in losses) == [2 * smaller, max(2 * smaller, larger)]
    scores = [r.protocol.statistics(r.episodes, r.header).scores()["mIoU"] for r in records[:3]]
    assert [loss.scores for loss in losses] == [pytest.approx((score, scores[0])) for score in scores[1:]]
    found = {row.part: row.estimate.value for row in table.scores}
    assert found == pytest.approx(dict(zip(("mask", "box", "point"), scores, strict=True)))
    assert any(
        "left out, because folds, weights or settings differ from the run with masks: b with box" in note
        for note in table.notes
    )
    for width in (80, 120):
        shown = ANNOTATIONS.write([table], "text", width, wrap=True)
        assert max(map(len, shown.splitlines())) <= width and "− masks" in shown
        assert "correction (2 comparisons)" in " ".join(shown.split())
    assert ANNOTATIONS.write([table], "csv") == rows_csv([*table.scores, *losses])
    ANNOTATIONS.save_figure(tmp_path / "losses.svg", [table])
    check_figure(tmp_path / "losses.svg")
    assert (tmp_path / "losses.svg").stat().st_size > 5000 and plotted(table) == losses
    words = ["table", *(str(record.path) for record in records), "--by", "annotation"]
    (tmp_path / "own.png").write_bytes(b"a photo")
    assert main([*words, "--plot", str(tmp_path / "own.png")]) == 2
    assert "cannot be read as a figure of fsbench" in capsys.readouterr().err
    assert (tmp_path / "own.png").read_bytes() == b"a photo"
    out = tmp_path / "losses"
    assert main([*words, "--metrics", "FB-IoU", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "FB-IoU by what the supports are labelled with, fold 0" in printed
    assert (out / "annotations.txt").read_text().split() == printed.split()  # wrapped
    assert {"annotations.csv", "annotations.json"} < {file.name for file in out.iterdir()}
    (out / "notes.md").write_text("mine")
    assert main([*words, "--out", str(out)]) == 2 and "notes.md" in capsys.readouterr().err
    assert (out / "notes.md").read_text() == "mine" and len(list(out.iterdir())) == 5


def test_no_losses_are_made_up_for_a_score_that_the_runs_lack(records):
    with pytest.raises(SettingsError, match="no two runs have presence-CE2: expected scores of fscs"):
        annotation_tables(records, Request(("presence-CE2",)))


def test_runs_without_masks_beside_them_have_no_losses(records):
    assert has_losses(records) and not has_losses(records[3:])
    with pytest.raises(SettingsError, match=r"expected the runs of a grid over them \(fsbench grid annotations\)"):
        annotation_tables(records[3:])


@pytest.mark.parametrize("entry", [{"image_size": 336}, {"kept_support": 0.1}, {"precision": "bf16-mixed"}])
def test_runs_that_differ_in_more_than_the_annotation_are_not_compared(records, entry):
    masks, boxes, points = records[:3]
    (table,) = annotation_tables([masks, annotated(boxes, "box", **entry), points])
    assert [loss.part for loss in table.differences] == ["point"]
    assert any(note.endswith("differ from the run with masks: a with box") for note in table.notes)
    assert not has_losses([masks, annotated(boxes, "box", **entry)])


@pytest.mark.parametrize(
    ("kind", "label", "condition"),
    [("box", "boxes", "box"), ("point", "points", "point"), ("instance-box", "boxes", "box"), ("bbox", "boxes", "box")],
)
def test_a_record_with_weak_supports_says_so_everywhere(records, kind, label, condition):
    record = annotated(records[0], kind)
    assert resolve_card(record).supervision == (label,)  # nothing was trained, with masks or else
    assert run_conditions(record)["support_annotation"] == condition
    assert any("a: supports are labelled with" in note and "not with masks" in note for note in all_notes([record]))
    assert not any("labelled with" in note for note in all_notes([records[0]]))
