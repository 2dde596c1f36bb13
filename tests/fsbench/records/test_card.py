"""Cards of runs: what their records tell, what a file beside them states, and what the tables make of it."""

import csv
import io
import json

import pytest

from fsbench.base.errors import FsbenchError
from fsbench.cli.main import main
from fsbench.networks.weights.table import backbone_data
from fsbench.records.card import (
    SUPPORTS_ALONE,
    UNKNOWN,
    Card,
    Cards,
    StatedCard,
    choices_on_test,
    contradictions,
    proved_entries,
    ranking_groups,
    resolve_card,
)
from fsbench.records.record import find_records
from fsbench.results.conclusions import conditions_in_words
from fsbench.results.tables.render import render
from fsbench.results.tables.table import build_blocks
from fsbench.runner.exchange.cards import new_cards
from tests.fsbench.runs import changed, rewrite

TRAINED = {"max_epochs": 3, "validation": "base"}


def told(*supervision, saw="no"):
    return {"supervision": list(supervision), "saw_test_classes": saw}


def card_of(record, **run):
    return Cards().run_card(changed(record, **run))


@pytest.fixture(scope="module")
def prototype(shared_make):
    """A run of a method that learns nothing, which no test changes."""
    return shared_make("prototype", 0, training={"validation_sha256": "x"})


@pytest.fixture(scope="module")
def emat(shared_make):
    """A run of a trained method, which no test changes."""
    return shared_make("emat", 0, training=TRAINED)


SOME_CARD = Card(
    novel_pixels="no", supervision=("masks",), backbone_data="x", backbone_saw_test_images="no", trials=1,
    checkpoint_choice="last",
)  # fmt: skip


AUTHORS = {"weights": {"origin": "the authors' checkpoint", "training": None}}
SILENT = {"weights": {"origin": "another run", "training": None}}
SOURCE = {"dataset": "coco", "fold": 1, "protocol": "hsnet", "classes": 60}
BOXES = {"support_annotation": "bbox"}
NO_BACKBONE = {"backbone": {"name": "none", "weights": "none"}}


@pytest.mark.parametrize(
    ("method", "identity", "run", "entries"),
    [
        ("prototype", {}, {}, {
            "novel_pixels": "no", "supervision": "masks", "checkpoint_choice": "nothing trained",
            "saw_test_classes": "no", "told": SUPPORTS_ALONE, "trained_on": "nothing", "backbone_data": UNKNOWN,
        }),
        ("emat", {}, {}, {
            "novel_pixels": "unlabelled", "supervision": "masks", "checkpoint_choice": "base classes",
            "saw_test_classes": "no", "told": SUPPORTS_ALONE,
            "trained_on": "base classes of blocks fold 0, by protocol fscs", "trials": UNKNOWN,
        }),
        ("emat", {"training": {"validation": "novel"}}, {}, {"checkpoint_choice": "novel classes"}),
        ("emat", {"training": {"validation": "held_out"}}, {}, {"checkpoint_choice": "held-out classes"}),
        ("emat", {}, AUTHORS, {"novel_pixels": UNKNOWN, "checkpoint_choice": "released", "trained_on": UNKNOWN}),
        ("emat", {}, {"weights": SILENT["weights"] | {"trained_on": SOURCE}},
         {"trained_on": "60 base classes of coco fold 1, by protocol hsnet"}),
        ("emat", {}, SILENT, {"trained_on": UNKNOWN}),
        ("prototype", {"backbone": {"name": "dinov2_vits14", "weights": "random (seed 0)"}}, {},
         {"backbone_data": "none: random weights"}),
        ("prototype", NO_BACKBONE, {}, {"backbone_data": "none: no backbone", "backbone_saw_test_images": "no"}),
        ("prototype", {}, {"told": told("class names", "boxes", saw="unknown")},
         {"supervision": "boxes, class names", "saw_test_classes": "unknown"}),
        ("prototype", {}, {"told": ...}, {"supervision": UNKNOWN, "saw_test_classes": UNKNOWN}),
        ("prototype", BOXES, {}, {"supervision": "boxes"}),
        ("emat", BOXES, {}, {"supervision": "boxes, masks"}),
    ],
)  # fmt: skip
def test_what_a_record_tells(prototype, emat, method, identity, run, entries):
    record = changed({"prototype": prototype, "emat": emat}[method], identity, **run)
    card = Cards(backbone_data()).run_card(record)
    assert {name: getattr(card, name) for name in entries} == entries


def test_a_new_card_does_not_ask_for_a_backbone_that_is_none(prototype):
    asked = new_cards([changed(prototype, NO_BACKBONE)])["prototype.yaml"].splitlines()
    assert not any("backbone" in line for line in asked if not line.startswith("#"))


def test_images_with_novel_classes_are_no_part_of_pfenets_lists(emat):
    record = changed(emat, {"method": {"name": "hmnet"}})
    record.__dict__["header"] = record.header.model_copy(update={"protocol": "pfenet"})
    assert Cards().run_card(record).novel_pixels == "no"


def test_files_beside_runs_state_the_rest(make, tmp_path):
    first, second = make("a", 0), make("b", 0)
    (tmp_path / "card.yaml").write_text("trials: 3\nbackbone_saw_test_images: no\n")
    (first.path / "card.yaml").write_text("novel_pixels: unknown\ntrials: 7\n")
    cards = Cards({"b": "scenes"})
    by_users = ("backbone_saw_test_images", "trials")
    for record, trials in ((first, "7"), (second, "3")):
        assert cards.run_card(record) == StatedCard(
            "no", "masks", "scenes", "no", trials, "nothing trained", "no", SUPPORTS_ALONE, "nothing", stated=by_users
        )
    assert cards.method_card([first, second]).trials == "7 / 3"
    words = cards.run_card(second).words
    assert (words["trials"], words["novel pixels"], words["trained on"]) == ("3 (stated)", "no", "nothing")


def test_an_unpacked_bundle_has_its_card(make, tmp_path):
    record = make("a", 0)
    (tmp_path / "bundle.json").write_text(json.dumps({"cards": {"a": json.loads(SOME_CARD.model_dump_json())}}))
    card = Cards().run_card(record)
    assert (card.backbone_data, card.trials, card.supervision) == ("x", "1", "masks")
    assert (card.checkpoint_choice, card.trained_on) == ("nothing trained", "nothing")  # whatever its card says
    several = {"b": {"trials": 5}, "a": {"trials": 7}}
    (tmp_path / "bundle.json").write_text(json.dumps({"cards": several}))
    assert [Cards().run_card(run).trials for run in (record, make("b", 0), make("c", 0))] == ["7", "5", UNKNOWN]


REFUSED = (
    ("novel_pixels: some", "novel_pixels is 'some', expected 'no', 'unlabelled', 'labelled' or 'unknown'"),
    ("supervision: []", "supervision is (), expected a list of one or more"),
    ("backbone_data: ''", "backbone_data is '', expected at least 1 character"),
    ("backbone_data: '...'", "backbone_data: expected words in place of '...'"),
    ("told: some images", "told is 'some images'"),
    ("more: 1", "the key 'more' is unknown"),
    ("novel_pixels: maybe\ntrials: 0", "(and 1 more)"),
    ("bibtex: '@misc{a, title = {b}}}'", "its braces do not match"),
    ("bibtex: '@misc{a, title = {b}} @misc{c,}'", "more than one entry"),
    ("- 1", "the whole is [1], expected a mapping"),
    ("a: [", "expected a card; make one with"),
)


def test_a_card_that_does_not_fit_is_refused_in_one_line(make, tmp_path, capsys):
    record = make("a", 0)
    file = record.path / "card.yaml"
    for text, message in REFUSED:
        file.write_text(text)
        with pytest.raises(FsbenchError) as refused:
            Cards().run_card(record)
        error = str(refused.value)
        assert "card.yaml" in error and message in error and "\n" not in error, text
    assert main(["table", str(tmp_path)]) == 2 and message in capsys.readouterr().err


def ranked_first(printed):
    """Return whether each row of the first table in Markdown has the best mIoU of its group; trivial rows left out."""
    lines = [line.split("|") for line in printed.split("by object size")[0].splitlines() if line.startswith("| ")]
    return {name.strip(): "**" in cell for _, name, cell, *_ in lines if "†" in name or "‡" in name}


def test_rows_of_different_cards_are_not_ranked_together(make, tmp_path, capsys):
    of = (("a", 2, None), ("b", 3, None), ("c", 4, TRAINED), ("d", 5, TRAINED))
    records = [make(name, 0, quality, training=training) for name, quality, training in of]
    blocks = build_blocks(records, trivial=True, metrics=["mIoU"])
    printed = render(blocks, "markdown")
    assert ranked_first(printed) == {"a†": True, "b†": False, "c‡": True, "d‡": False}
    assert (
        "† and ‡ are not ranked together. † was not trained. ‡ was trained on images that show the test's classes, "
        "without labels, and its checkpoint was chosen on base classes"
    ) in printed
    printed = render(blocks, "latex")
    assert r"a$^\dagger$ & " in printed and r"c$^\ddagger$ & " in printed  # letters say what is not told apart
    lines = list(csv.DictReader(io.StringIO(render(blocks, "csv"))))
    trivial = {"(all foreground)", "(all background)", "(majority)"}
    assert {line["method"] for line in lines if not line["card"]} == trivial
    (card,) = {line["card"] for line in lines if line["method"] == "c"}
    assert card == (
        "novel pixels: unlabelled; supervision: masks; backbone data: unknown; backbone saw test images: unknown; "
        "trials: unknown; checkpoint choice: base classes; saw test classes: no; told: the supports alone; trained on: "
        "base classes of blocks fold 0, by protocol fscs; handed in: no"
    )
    assert main(["table", str(tmp_path), "--by", "card", "--metrics", "mIoU"]) == 0
    assert "backbone saw test images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("protocol", "dataset", "settings", "choice"),
    [
        ("cdfss_ifa", "fss1000", {}, "novel classes"),  # tests FSS-1000's validation classes
        ("cdfss_ifa", "fss1000", {"validation_source": "fss1000"}, "novel classes"),
        ("cdfss_ifa", "fss1000", {"validation_source": "other"}, "held-out classes"),
        ("cdfss_ifa", "isic", {"validation_source": "fss1000"}, "held-out classes"),
        ("cdfss", "fss1000", {}, "held-out classes"),
    ],
)
def test_held_out_classes_that_are_tested_are_novel_ones(emat, protocol, dataset, settings, choice):
    validation = {"validation": "held_out"} | settings
    for identity in ({"training": validation}, {"adaptation": validation}):
        record = changed(emat, identity)
        record.__dict__["header"] = record.header.model_copy(update={"protocol": protocol, "dataset": dataset})
        assert card_of(record).checkpoint_choice == choice


def test_labelled_images_beside_the_supports_are_told_and_ranked_apart(emat, prototype):
    """Of an adaptation to the test's own pool, whatever trained the weights; its choice is the last one."""
    more = told("masks") | {"labelled_images": 20}
    adaptation = {"items_sha256": "x", "files_sha256": "y", "validation": "novel"}
    for record in (emat, changed(emat, weights={"origin": "another run", "training": None})):
        adapted = changed(record, told=more, identity={"adaptation": adaptation})
        card = Cards().run_card(adapted)
        assert card.words["told"] == "20 labelled images a class"
        assert (card.novel_pixels, card.checkpoint_choice) == ("labelled", "novel classes")
        last = changed(record, told=more, identity={"adaptation": {"items_sha256": "x"}})
        assert Cards().run_card(last).checkpoint_choice == "last"
    few = Cards().run_card(changed(adapted, told=more | {"labelled_images": 3}))
    cards = {"a": card, "b": few, "c": card_of(prototype, told=told("masks"))}
    assert list(ranking_groups(cards).values()) == [0, 1, 2]
    (line,) = conditions_in_words({"a": card, "b": few}, False)
    assert line.endswith(
        "a learned from 20 labelled images a class of the test beside the supports. b learned from 3 labelled images a "
        "class of the test beside the supports"
    )
    wrong = contradictions({"told": SUPPORTS_ALONE}, adapted)
    assert len(wrong) == 1 and "told is the supports alone by the card and 20 labelled images a class by" in wrong[0]
    assert Card(told="7 labelled images a class").stated == {"told": "7 labelled images a class"}


def test_a_choice_on_the_test_is_said_wherever_the_score_stands(make, tmp_path, capsys):
    """By what a record proves, or what somebody states of a method; once for each table, whatever its rows are."""
    make("a", 0, training=TRAINED | {"validation": "novel"})
    other = make("b", 0, 2, training=TRAINED)
    line = "a: the checkpoint was chosen by its score on the classes of this test, so the score is too high. No"
    apart = (
        "a and b are not ranked together. a's checkpoint was chosen on the test's own classes. b's checkpoint was "
        "chosen on base classes."
    )
    for command in ("table", "compare"):
        assert main([command, str(tmp_path)]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert printed.count(line) == 1 and (command == "table" or apart in printed), command
    (block,) = build_blocks(find_records(tmp_path))
    assert sum("chosen by its score" in line for line in block.warnings) == 1
    assert main(["table", str(other.path)]) == 0
    assert "chosen by its score" not in capsys.readouterr().out
    stated = {name: StatedCard(checkpoint_choice=words) for name, words in (
        ("c", "novel classes"), ("d", "last"), ("e", "base classes / novel classes"),
    )}  # fmt: skip
    (said,) = choices_on_test(stated)
    assert said.startswith("c, e: the checkpoint was chosen")


def test_equal_cards_have_no_marks(make):
    blocks = build_blocks([make("a", 0), make("b", 0, 2)])
    assert set(blocks[0].marks.values()) == {""} and "different conditions" not in render(blocks, "text")


CHECKPOINT = {"training": {"checkpoint_sha256": "0"}}
RANDOM = {"backbone": {"weights": "random (seed 0)"}}
TESTED = {"training": TRAINED | {"validation": "novel"}}
HANDED_IN = {"handed_in": {"answers_sha256": "0" * 64}}


@pytest.mark.parametrize(
    ("identity", "run", "entry", "wrong", "right"),
    [
        ({}, {}, "novel_pixels", ("unlabelled", "labelled"), ("no", "unknown")),
        ({}, {}, "checkpoint_choice", ("last", "released"), ("nothing trained", "unknown")),
        ({"training": TRAINED}, {}, "novel_pixels", ("no", "labelled"), ("unlabelled", "unknown")),
        ({"training": TRAINED}, {}, "checkpoint_choice", ("nothing trained", "novel classes"), ("base classes",)),
        (TESTED, {}, "checkpoint_choice", ("nothing trained", "base classes"), ("novel classes",)),
        ({"training": {"max_epochs": 3}}, {}, "checkpoint_choice", ("nothing trained",), ("last", "base classes")),
        (CHECKPOINT, {}, "checkpoint_choice", ("nothing trained",), ("last", "novel classes", "unknown")),
        (CHECKPOINT, {}, "novel_pixels", (), ("no", "labelled")),
        (CHECKPOINT, {"weights": {"origin": "the authors' checkpoint", "training": None}}, "checkpoint_choice",
         ("nothing trained", "last"), ("released",)),
        (CHECKPOINT, {"weights": {"origin": "another run", "training": {"settings": TRAINED}}}, "checkpoint_choice",
         ("nothing trained", "novel classes"), ("base classes",)),
        ({}, {"told": told("boxes")}, "supervision", ("masks", "boxes, masks"), ("boxes",)),
        ({}, {"told": told("masks")}, "supervision", ("scribbles",), ("masks",)),
        ({"support_annotation": "bbox"}, {}, "supervision", ("masks",), ("boxes",)),
        ({}, {"told": ...}, "supervision", (), ("masks", "scribbles")),
        ({}, {"told": told("masks", saw="yes")}, "saw_test_classes", ("no",), ("yes", "unknown")),
        ({}, {"told": told("masks", saw="unknown")}, "saw_test_classes", ("no",), ("yes", "unknown")),
        ({}, {"told": told("masks")}, "saw_test_classes", (), ("no", "yes", "unknown")),
        (RANDOM, {}, "backbone_data", ("ImageNet-1k",), ("none", "random weights")),
        ({}, {}, "backbone_data", (), ("ImageNet-1k",)),
        (NO_BACKBONE, {}, "backbone_data", ("ImageNet-1k",), ("none: no backbone",)),
        (NO_BACKBONE, {}, "backbone_saw_test_images", ("yes",), ("no",)),
        ({"training": TRAINED}, HANDED_IN, "novel_pixels", (), ("no", "labelled")),
        ({"training": TRAINED}, HANDED_IN, "checkpoint_choice", (), ("nothing trained",)),
        ({}, HANDED_IN | {"told": told("masks", saw="yes")}, "saw_test_classes", (), ("no",)),
    ],
)  # fmt: skip
def test_a_card_contradicts_what_a_record_proves_and_nothing_else(prototype, identity, run, entry, wrong, right):
    record = changed(prototype, identity, **run)
    for words in wrong:
        (line,) = contradictions({entry: words}, record)
        assert f"{entry.replace('_', ' ')} is {words} by the card and " in line and "leave that entry out" in line
        assert getattr(resolve_card({entry: words}, record), entry) != words
    proved = proved_entries(record).get(entry)
    for words in right:
        assert contradictions({entry: words}, record) == []
        assert getattr(resolve_card({entry: words}, record), entry) in (words, proved)


@pytest.mark.parametrize(
    ("proved", "stated", "resolved"),
    [("no", "unknown", "unknown"), ("no", "yes", "yes"), ("unknown", "yes", "yes"), ("yes", "unknown", "yes")],
)
def test_of_classes_seen_a_card_may_admit_more_and_takes_nothing_back(prototype, proved, stated, resolved):
    record = changed(prototype, told=told("masks", saw=proved))
    assert resolve_card({"saw_test_classes": stated}, record).saw_test_classes == resolved


def test_nothing_is_known_of_a_method_that_was_not_run_but_what_is_stated(prototype, emat):
    for record in (prototype, emat):
        handed_in = changed(record, told=told("masks"), **HANDED_IN)
        assert resolve_card({}, handed_in, "ImageNet-1k") == StatedCard(handed_in=True)
        card = resolve_card({"novel_pixels": "no", "trials": UNKNOWN}, handed_in)
        assert card == StatedCard("no", handed_in=True, stated=("novel_pixels",))
        assert card.words["novel pixels"] == "no (stated)" and card.words["trials"] == UNKNOWN


def test_an_empty_card_is_unknown_and_not_no():
    assert set(dict(Card().as_rows()).values()) == {UNKNOWN} and Card().stated == {}
    assert Card(saw_test_classes="unknown").stated == {"saw_test_classes": UNKNOWN}


def test_rows_handed_in_are_marked_and_ranked_apart_unless_asked(make, tmp_path, capsys):
    """Four methods with one card; the predictions of two were handed in."""
    (tmp_path / "card.yaml").write_text(SOME_CARD.model_dump_json(exclude={"checkpoint_choice"}))
    for quality, name in enumerate(("ours1", "ours2", "theirs1", "theirs2"), 2):
        record = make(name, 0, quality)
        if name.startswith("theirs"):
            weights = {"origin": None, "training": None}
            rewrite(record, HANDED_IN["handed_in"], told=..., weights=weights, **HANDED_IN)
    best = {}
    for option in ((), ("--rank-all",)):
        assert main(["table", str(tmp_path), "--format", "markdown", "--metrics", "mIoU", *option]) == 0
        printed = capsys.readouterr().out
        best[option] = {name for name, is_best in ranked_first(printed).items() if is_best}
        rows = {"ours1†", "ours2†", "theirs1‡ [handed in]", "theirs2‡ [handed in]"}
        assert ranked_first(printed).keys() == rows
        words = "handed in: fsbench counted the predictions and knows nothing else of the method"
        assert f"theirs1, theirs2: {words}" in printed
        assert "† was not trained. ‡ may have learned from" in printed and "its answers were made elsewhere" in printed
    assert best == {(): {"ours1†", "theirs1‡ [handed in]"}, ("--rank-all",): {"ours1†"}}
