"""Cards of runs: what their records show, what a file beside them states, and what the tables make of it."""

import csv
import io
import json

import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.networks.weights.table import backbone_data
from fsbench.records.card import (
    SUPPORTS_ALONE,
    UNKNOWN,
    Card,
    MethodCard,
    method_card,
    ranking_groups,
    resolve_card,
)
from fsbench.results.conclusions import conditions_in_words
from fsbench.results.tables.render import render
from fsbench.results.tables.table import build_blocks
from tests.fsbench.runs import changed, rewrite

TRAINED = {"max_epochs": 3, "validation": "base"}
HANDED_IN = {"answers_sha256": "0" * 64}
BOXES = {"support_annotation": "bbox"}
NO_BACKBONE = {"backbone": {"name": "none", "weights": "none"}}
MASKS = {"supervision": ["masks"], "saw_test_classes": "no"}
AUTHORS = {"loaded": {"origin": "the authors' checkpoint", "training": None}}
SILENT = {"loaded": {"origin": "another run", "training": None}}
OTHER_DATA = {"trained_on": {"dataset": "coco", "fold": 1, "protocol": "hsnet", "classes": 60}}


@pytest.fixture(scope="module")
def prototype(shared_make):
    """A run of a method that learns nothing, which no test changes."""
    return shared_make("prototype", 0, training={"validation_sha256": "x"})


@pytest.fixture(scope="module")
def emat(shared_make):
    """A run of a trained method, which no test changes."""
    return shared_make("emat", 0, training=TRAINED)


@pytest.mark.parametrize(
    ("method", "identity", "run", "entries"),
    [
        ("prototype", {}, {}, {
            "novel_pixels": "no", "supervision": ("masks",), "checkpoint_choice": "nothing trained",
            "saw_test_classes": "no", "told": SUPPORTS_ALONE, "trained_on": "nothing", "backbone_data": None,
        }),
        ("emat", {}, {}, {
            "novel_pixels": "unlabelled", "checkpoint_choice": "base classes", "trials": None,
            "trained_on": "base classes of blocks fold 0, by protocol fscs",
        }),
        ("emat", {}, AUTHORS, {"novel_pixels": None, "checkpoint_choice": "released", "trained_on": None}),
        ("emat", {}, {"loaded": SILENT["loaded"] | OTHER_DATA},
         {"trained_on": "60 base classes of coco fold 1, by protocol hsnet"}),
        ("emat", {}, SILENT, {"trained_on": None, "checkpoint_choice": None}),
        ("prototype", {"backbone": {"weights": "random (seed 0)"}}, {}, {"backbone_data": "none: random weights"}),
        ("prototype", NO_BACKBONE, {}, {"backbone_data": "none: no backbone", "backbone_saw_test_images": "no"}),
        ("prototype", {}, {"told": {"supervision": ["class names", "boxes"], "saw_test_classes": "unknown"}},
         {"supervision": ("boxes", "class names"), "saw_test_classes": None}),
        ("prototype", BOXES, {}, {"supervision": ("boxes",)}),
        ("emat", BOXES, {}, {"supervision": ("boxes", "masks")}),
    ],
)  # fmt: skip
def test_what_a_record_shows(prototype, emat, method, identity, run, entries):
    record = changed({"prototype": prototype, "emat": emat}[method], identity, **run)
    (card,) = method_card([record], backbone_data()).cards
    assert {name: getattr(card, name) for name in entries} == entries and card.stated == ()


def test_a_protocol_tells_what_is_novel(emat):
    """Images with novel classes are no part of PFENet's lists; cdfss_ifa tests FSS-1000's validation classes."""
    record = changed(emat)
    record.__dict__["header"] = record.header.model_copy(update={"protocol": "pfenet"})
    assert resolve_card(record).novel_pixels == "no"
    for protocol, settings, choice in (
        ("cdfss_ifa", {}, "novel classes"),
        ("cdfss_ifa", {"validation_source": "other"}, "held-out classes"),
        ("cdfss", {}, "held-out classes"),
    ):
        validation = {"validation": "held_out"} | settings
        for identity in ({"training": {"max_epochs": 3} | validation}, {"adaptation": validation}):
            record = changed(emat, identity)
            record.__dict__["header"] = record.header.model_copy(update={"protocol": protocol, "dataset": "fss1000"})
            assert resolve_card(record).checkpoint_choice == choice


@pytest.mark.parametrize(
    ("identity", "run", "stated", "resolved"),
    [
        ({}, {}, {"novel_pixels": "labelled"}, "no"),
        ({}, SILENT, {"checkpoint_choice": "last"}, "last"),
        ({}, SILENT, {"checkpoint_choice": "nothing trained"}, None),
        ({}, {}, {"backbone_data": "photos"}, "photos"),
        (HANDED_IN, {"told": ...}, {"checkpoint_choice": "nothing trained"}, "nothing trained"),
        ({}, {}, {"saw_test_classes": "yes"}, "yes"),
        ({}, {"told": MASKS | {"saw_test_classes": "unknown"}}, {"saw_test_classes": "no"}, None),
        ({}, {"told": MASKS | {"saw_test_classes": "yes"}}, {"saw_test_classes": None}, "yes"),
    ],
)
def test_a_stated_card_fills_what_is_not_shown_and_may_admit_more(prototype, identity, run, stated, resolved):
    (entry,) = stated
    assert getattr(resolve_card(changed(prototype, identity, **run), Card(**stated), "ImageNet-1k"), entry) == resolved


def test_nothing_is_known_of_a_method_that_was_not_run_but_what_is_stated(emat):
    handed_in = changed(emat, HANDED_IN | NO_BACKBONE, told=...)
    assert resolve_card(handed_in, None, "ImageNet-1k") == Card(handed_in=True)
    card = resolve_card(handed_in, Card(novel_pixels="no", handed_in=False, stated=("told",)))
    assert card == Card(novel_pixels="no", handed_in=True, stated=("novel_pixels",))
    words = MethodCard((card,)).words
    assert (words["novel pixels"], words["trials"], words["handed in"]) == ("no (stated)", UNKNOWN, "yes")


def test_files_beside_runs_state_the_rest(make, tmp_path):
    first, second = make("a", 0), make("b", 0)
    (tmp_path / "bundle.json").write_text(json.dumps({"cards": {"a": {"trials": 5, "bibtex": None}, "c": {}}}))
    (first.path / "card.yaml").write_text("novel_pixels: unknown\nbackbone_saw_test_images: unknown\n")
    (card,) = method_card([first], {"b": "scenes"}).cards
    assert (card.trials, card.novel_pixels, card.backbone_data) == (5, "no", "scenes")
    (tmp_path / "card.yaml").write_text("trials: 3\nbackbone_saw_test_images: no\n")
    card = method_card([first, second])
    assert [each.stated for each in card.cards] == [("trials",), ("backbone_saw_test_images", "trials")]
    assert card.entries["backbone_saw_test_images"] == "unknown / no" and card.entries["trials"] == "3"
    (tmp_path / "bundle.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"bundle\.json"):
        method_card([first])


def test_a_card_that_does_not_fit_is_refused(make):
    record = make("a", 0)
    for text, found in (
        ("novel_pixels: some", "novel_pixels is 'some'"),
        ("supervision: []", "supervision is ()"),
        ("backbone_data: '...'", "backbone_data"),
        ("told: some images", "told is 'some images'"),
        ("bibtex: '@misc'", "bibtex is '@misc'"),
        ("more: 1\ntrials: 0", "(and 1 more)"),
        ("- 1", "the whole is [1]"),
        ("a: [", "expected a card"),
    ):
        (record.path / "card.yaml").write_text(text)
        with pytest.raises(SettingsError) as refused:
            method_card([record])
        error = str(refused.value)
        assert "card.yaml" in error and found in error and "\n" not in error


def ranked_first(printed):
    """Return whether each row of the first table in Markdown has the best mIoU of its group; trivial rows left out."""
    lines = [line.split("|") for line in printed.split("by object size")[0].splitlines() if line.startswith("| ")]
    return {name.strip(): "**" in cell for _, name, cell, *_ in lines if "†" in name or "‡" in name}


def test_rows_of_different_cards_are_not_ranked_together_unless_asked(make, tmp_path):
    """Of four methods; the predictions of two were handed in, with the same card."""
    (tmp_path / "card.yaml").write_text("novel_pixels: no\nsupervision: [masks]\n")
    records = [make(name, 0, quality) for quality, name in enumerate(("ours1", "ours2", "theirs1", "theirs2"), 2)]
    records[2:] = [rewrite(record, HANDED_IN, told=...) for record in records[2:]]
    for rank_all, best in ((False, {"ours1†", "theirs1‡ [handed in]"}), (True, {"ours1†"})):
        blocks = build_blocks(records, metrics=["mIoU"], rank_all=rank_all)
        printed = render(blocks, "markdown")
        ranked = ranked_first(printed)
        assert ranked.keys() == {"ours1†", "ours2†", "theirs1‡ [handed in]", "theirs2‡ [handed in]"}
        assert {name for name, is_best in ranked.items() if is_best} == best
        assert "theirs1, theirs2: handed in" in printed
    lines = csv.DictReader(io.StringIO(render(blocks, "csv")))
    (card,) = {line["card"] for line in lines if line["method"] == "theirs1"}
    assert card.startswith("novel pixels: no (stated); ") and card.endswith("; handed in: yes")
    entries = json.loads(render(blocks, "json"))[0]["cards"]["theirs1"]
    assert (entries["trials"], entries["handed_in"]) == (UNKNOWN, True)
    assert entries["stated"] == ["novel_pixels", "supervision"]


def test_labelled_images_beside_the_supports_are_told_and_ranked_apart(emat, prototype):
    """Of an adaptation to the test's own pool, whatever trained the weights; its choice is the last one."""
    adaptation = {"items_sha256": "x", "files_sha256": "y", "validation": "novel"}
    for run in ({}, SILENT):
        many = changed(emat, {"adaptation": adaptation}, told=MASKS | {"labelled_images": 20}, **run)
        card = resolve_card(many)
        assert (card.told, card.novel_pixels) == ("20 labelled images a class", "labelled")
        assert card.checkpoint_choice == "novel classes"
        assert resolve_card(changed(emat, {"adaptation": {}}, **run)).checkpoint_choice == "last"
    few = changed(many, told=MASKS | {"labelled_images": 3})
    cards = {name: method_card([record]) for name, record in (("a", many), ("b", few), ("c", prototype))}
    assert ranking_groups(cards) == {"a": 0, "b": 1, "c": 2}
    assert ranking_groups(cards, rank_all=True) == {"a": 0, "b": 0, "c": 0}
    del cards["c"]
    (line,) = conditions_in_words(cards, False)
    assert "a learned from 20 labelled images" in line and "b learned from 3 labelled images" in line


def test_a_choice_on_the_test_is_said_wherever_the_score_stands(make, tmp_path, capsys):
    make("a", 0, training=TRAINED | {"validation": "novel"})
    make("b", 0, 2, training=TRAINED)
    for command in ("table", "compare"):
        assert main([command, str(tmp_path)]) == 0
        assert " ".join(capsys.readouterr().out.split()).count("a: the checkpoint was chosen by its score") == 1
