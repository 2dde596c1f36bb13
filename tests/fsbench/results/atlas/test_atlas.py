"""The atlas: its schema, how figures find their programs, its groups and ranks against a plain computation."""

import csv
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from fsbench.base.errors import DataError
from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main
from fsbench.protocols.conditions import CONDITIONS, NOT_FOUND
from fsbench.protocols.programs import EVIDENCED, FOLDER, PROGRAMS, TESTS, read_programs
from fsbench.results.atlas.atlas import TEST, Entry, Reported, read_atlas
from fsbench.results.atlas.effects import read_effects

COMBINATION = (
    "dataset", "image_lists", "void", "network_size", "geometry", "compared_at", "episode_draw", "episodes_per_fold",
    "checkpoint",
)  # fmt: skip


@pytest.fixture(scope="module")
def atlas():
    return read_atlas()


@pytest.fixture
def folder(tmp_path):
    """A copy of the atlas with no figures but its own, to be changed."""
    copy = tmp_path / "published" / "atlas"
    shutil.copytree(FOLDER, copy)
    return copy


def lines(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def joined(folder=FOLDER):
    """The rows of the two files as one: a program with the words of its test."""
    tests = {row["key"]: row for row in lines(folder / TESTS)}
    return [tests[row["test"]] | row for row in lines(folder / PROGRAMS)]


def write(file, rows):
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        (TESTS, "void", "dropped", "void is 'dropped'"),
        (TESTS, "workers", "many", "workers is 'many'"),
        (TESTS, "key", "", "key"),
        (PROGRAMS, "year", "soon", "year is 'soon'"),
        (PROGRAMS, "commit", "main", "commit is 'main'"),
        (PROGRAMS, "repository", "CaNet", "'CaNet'"),
        (PROGRAMS, "evidence", "", "without evidence"),
        (PROGRAMS, "evidence", "void=somewhere", "the evidence of void is 'somewhere'"),
        (PROGRAMS, "evidence", "colour=a.py:1", "'colour', which is no column"),
        (PROGRAMS, "no_line", "colour", "without evidence"),
        (PROGRAMS, "method", "", "method"),
        (PROGRAMS, "test", "nobody/pascal-5i", "nobody/pascal-5i"),
        (PROGRAMS, "certainty", "run", "certainty is 'run' and goldens ''"),
        (PROGRAMS, "certainty", "sure", "certainty is 'sure'"),
        (PROGRAMS, "goldens", "atlas_runs/atlas_meter", "certainty is 'read' and goldens 'atlas_runs/atlas_meter'"),
        (PROGRAMS, "checkpoint", "any", "checkpoint is 'any'"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(folder, file, column, value, message):
    rows = lines(folder / file)
    rows[0][column] = value
    write(folder / file, rows)
    with pytest.raises(DataError, match=re.escape(file)) as refused:
        read_atlas(folder)
    assert message in str(refused.value)


def test_unknown_is_a_value_and_needs_no_evidence(folder):
    tests, rows = lines(folder / TESTS), lines(folder / PROGRAMS)
    unknown = [one.key for one in EVIDENCED]
    tests[0] |= {key: NOT_FOUND for key in unknown if key in tests[0]}
    rows[0] |= {key: NOT_FOUND for key in unknown if key in rows[0]} | {"evidence": "", "no_line": ""}
    assert rows[0]["test"] == tests[0]["key"]
    write(folder / TESTS, tests)
    write(folder / PROGRAMS, rows)
    assert read_programs(folder)[0].places == {}


def test_the_list_of_conditions_without_a_line_is_closed(folder):
    unlined = Counter(column for program in read_programs() for column in program.unlined)
    assert unlined == {one.key: one.unlined for one in EVIDENCED if one.unlined}
    rows = lines(folder / PROGRAMS)
    row = next(row for row in rows if "geometry=" in row["evidence"])
    row["evidence"] = "; ".join(part for part in row["evidence"].split("; ") if not part.startswith("geometry="))
    row["no_line"] = "; ".join(filter(None, [row["no_line"], "geometry"]))
    write(folder / PROGRAMS, rows)
    with pytest.raises(DataError, match=r"106 .*geometry.* 105"):
        read_atlas(folder)


def test_an_absence_needs_no_line_of_its_own_and_help_does(folder):
    row = next(row for row in joined() if row["fb_iou"] == "not computed" and "metric=" in row["evidence"])
    program = next(each for each in read_programs() if (each.method, each.dataset) == (row["method"], row["dataset"]))
    assert program.absence("fb_iou") == "metric" and "fb_iou" not in {*program.places, *program.unlined}
    rows = lines(folder / PROGRAMS)
    changed = next(each for each in rows if (each["method"], each["test"]) == (row["method"], row["test"]))
    changed["extra_supervision"] = "a crystal ball"
    kept = [part for part in changed["evidence"].split("; ") if not part.startswith("extra_supervi")]
    changed["evidence"] = "; ".join(kept)
    changed["no_line"] = "; ".join(part for part in changed["no_line"].split("; ") if part != "extra_supervision")
    write(folder / PROGRAMS, rows)
    with pytest.raises(DataError, match="extra_supervision is 'a crystal ball' without evidence"):
        read_atlas(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (PROGRAMS, lambda rows: [*rows, rows[3]], "twice"),
        (TESTS, lambda rows: [*rows, rows[3]], "each test once"),
        ("figures.csv", lambda rows: [rows[0] | {"method": "Nobody"}], "line 2: no rule of links.yaml .*Nobody"),
        ("figures.csv", lambda rows: [rows[0] | {"value": "many"}], "line 2: value is 'many'"),
        ("figures.csv", lambda rows: [rows[0] | {"value": "100.1"}], "line 2: value is 100.1"),
        (
            "figures.csv",
            lambda rows: [rows[0] | {"value": "61.0"}, rows[1], rows[0] | {"value": "62.5"}],
            "line 4: .* 62.5, but 61 in line 2",
        ),
    ],
)
def test_a_row_that_stands_twice_and_a_figure_without_a_rule_are_refused(folder, file, change, message):
    write(folder / file, change(lines(folder / file)))
    with pytest.raises(DataError, match=message):
        read_atlas(folder)


def test_a_file_of_figures_without_rules_is_refused(folder):
    shutil.copy(folder / "figures.csv", folder.parent / "mine.csv")
    with pytest.raises(DataError, match=r"links.yaml has no rules for mine.csv"):
        read_atlas(folder)


@pytest.mark.parametrize(
    ("changes", "message"), [("{colour: red}", "'colour', expected one of task"), ("{void: dropped}", "'dropped'")]
)
def test_changes_are_conditions_with_values_of_their_columns(folder, changes, message):
    links = folder / "links.yaml"
    rule = "{method: SSP, setting: HSNet protocol, test: SSP (HSNet protocol)"
    links.write_text(links.read_text().replace(rule, f"{rule}, changes: {changes}", 1))
    with pytest.raises(DataError, match=r"links\.yaml, rule 1 of figures\.csv") as refused:
        read_atlas(folder)
    assert message in str(refused.value)


def test_the_command_checks_a_folder(folder, capsys):
    assert main(["atlas", "check", str(folder)]) == 0
    said = capsys.readouterr().out
    assert (
        "108 published tests, 154 evaluation programs" in said and "53 programs were run, 6 were read in part" in said
    )
    assert "asnet-fss/pascal-5i/resnet-50: 1-way 5-shot mIoU is printed as 70.8, its folds give 69.82" in said
    (folder / PROGRAMS).write_text("method\n")
    assert main(["atlas", "check", str(folder)]) == 2
    assert f"{PROGRAMS} differs in the columns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("notes.txt", "expected a name that ends in .html"),
        ("folder", "which is a folder"),
        ("pipe.html", "which is a device or a pipe"),
        ("none/page.html", "there is no folder"),
        ("", "which is a folder"),
    ],
)
def test_the_page_takes_the_place_of_nothing_else(out, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.html")
    assert main(["atlas", "page", "--out", out]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and "TRACEBACK" not in said
    assert (tmp_path / "notes.txt").read_text() == "mine" and (tmp_path / "pipe.html").is_fifo()
    assert len(list(tmp_path.iterdir())) == 3


def test_the_combinations_are_those_of_a_plain_count():
    rows = joined()

    def count(own):
        seen = Counter(tuple(row[name] for name in COMBINATION) for row in own)
        return len(seen), len(own), sum(number == 1 for number in seen.values())

    fss = [row for row in rows if row["task"] == "FSS"]
    assert count(rows)[:2] == (122, 154)
    assert count([row for row in fss if row["dataset"] == "PASCAL-5i"]) == (28, 45, 21)
    assert count([row for row in fss if row["dataset"] == "COCO-20i"]) == (34, 44, 29)
    assert len({tuple(row[name] for name in (*TEST, "method")) for row in rows}) == 154
    # task and metric, which the atlas adds to a test, part none of these
    assert len({tuple(row[name] for name in TEST) for row in rows}) == 122
    chosen = [row for row in rows if row["checkpoint"] in ("best on test fold", "best on test set")]
    assert (len(chosen), sum(row["checkpoint"] != "none" for row in rows)) == (87, 128)
    assert sum(row["depends_on"] != "no" for row in rows) == 65


def test_groups_are_those_of_a_plain_computation(atlas):
    """Programs in one group agree in every condition, those in two differ in one or have one that is not found."""
    rows = joined()
    expected = {}
    for row in rows:
        test = tuple(row[name] for name in TEST)
        opened = row["geometry"] == "squash" or row["compared_at"] in ("network input", "original")
        if "not found" not in test and not opened:
            expected.setdefault(test, set()).add((row["method"], row["dataset"]))
    found = {}
    for group in atlas.groups():
        if group.is_known:
            test = tuple(group.conditions[name] for name in TEST)
            assert test not in found and not any(
                CONDITIONS[key].is_unsure(word) for key, word in zip(TEST, test, strict=True)
            )
            found[test] = {
                (entry.program.method, entry.program.dataset)
                for entry in group.entries
                if not set(entry.changes) & set(TEST)
            }
    assert {test: members for test, members in found.items() if members} == expected
    groups = {frozenset(name for name, _ in members) for members in found.values()}
    assert {"HSNet", "ASNet (FSS)", "FECANet", "AFANet"} in groups  # A of the analysis
    assert {"PFENet", "SCL (PFENet)"} in groups and {"SSP (own protocol)", "MLC (baseline)"} in groups


def with_run(atlas, entry, half, fold="mean"):
    """Return the atlas with a run of an entry's test, whose 1-shot mIoU has an interval of twice `half`."""
    figure = entry.cells()["1", "1", "mIoU"].figure.model_copy(update={"fold": fold, "value": 30.0})
    run = Entry("run/x", "x", "demo", "run", entry.dataset, None, dict(entry.conditions),
                (Reported(figure, "", 0, False, "", half),), ours=True)  # fmt: skip
    return replace(atlas, entries=[*atlas.entries, run])


def test_there_is_no_rank_where_no_run_tells_how_far_images_move_a_score(atlas):
    assert not any(group.ranks(atlas) for group in atlas.groups())
    bam = atlas.entry("bam/pascal-5i/resnet-50")
    assert not any(group.ranks(fold) for fold in [with_run(atlas, bam, 1.0, "0")] for group in fold.groups())


@pytest.mark.parametrize("half", [0.01, 0.5, 3.0])
def test_ranks_are_those_of_a_plain_computation(atlas, half):
    """A rank leaves open what two scores on other images may exchange: half an interval times the root of two."""
    bam = atlas.entry("bam/pascal-5i/resnet-50")
    known, least, number = with_run(atlas, bam, half), half * 2**0.5, 0
    for group in known.groups():
        ranks = group.ranks(known)
        if group.conditions["dataset"] != "PASCAL-5i" or group.conditions["image_lists"] != "bam":
            assert not ranks
        for entry in group.entries:
            told = [other for other in group.entries if other.told == entry.told]
            for cell in entry.cells():
                values = [other.cells()[cell].figure.value for other in told if cell in other.cells()]
                rank, own = ranks.get((entry.id, cell)), entry.cells()[cell].figure.value
                if rank is not None:
                    assert cell == ("1", "1", "mIoU") and rank.size == len(values)
                    assert rank.first == sum(value > own + least for value in values) + 1
                    assert rank.last == sum(value >= own - least for value in values)
                    assert (rank.first, rank.last) != (1, rank.size)
                    number += 1
    assert number > 5
    spread = known.spread(bam.conditions, ("1", "1", "mIoU"))
    assert (spread.half, spread.of_difference) == (half, least)
    assert known.spread(bam.conditions, ("1", "5", "mIoU")) is None


def test_an_id_names_method_test_and_backbone_once(atlas):
    names = [entry.id for entry in atlas.entries]
    assert len(names) == len(set(names))
    hsnet = atlas.entry("hsnet/coco-20i/resnet-50")
    assert (hsnet.method, hsnet.dataset, hsnet.backbone) == ("HSNet", "COCO-20i", "ResNet-50")
    assert hsnet.cells()["1", "1", "mIoU"].figure.value == 39.2 and hsnet.cells()["1", "1", "mIoU"].repeated
    dcama = atlas.entry("dcama/pascal-5i/resnet-50")  # of another file of benchmarks/published
    assert dcama.cells()["1", "1", "mIoU"].figure.value == 64.6 and dcama.program.network_size == "384"
    assert dcama.cells()["1", "1", "mIoU"].file == "dcama.csv"


def test_the_authors_own_print_comes_before_a_repetition(atlas):
    for entry in atlas.entries:
        repeated = [each.repeated for each in entry.figures]
        assert repeated == sorted(repeated)


def test_figures_of_other_lists_do_not_stand_for_those_of_hsnet(atlas):
    hsnet = atlas.entry("hsnet/pascal-5i/resnet-101")
    assert hsnet.cells()["1", "1", "mIoU"].figure.value == 66.2
    other = atlas.entry("hsnet/pascal-5i/resnet-101/uniform-lists")
    assert other.program is None and other.cells()["1", "1", "mIoU"].figure.value == 65.3


def test_marks_stay_with_every_row_of_a_program(atlas):
    marked = {entry.program.method for entry in atlas.entries if entry.program and entry.marks}
    partly = {program.method for program in atlas.programs if program.certainty == "partly read"}
    opened = {"CLIPSeg", "FS-SAM2", "FSSDINO", "PerSAM", "POP"}  # by a word, or by what a class without pixels counts
    assert marked == partly | opened | {"SSP (HSNet protocol)", "VRP-SAM"}
    assert atlas.entry("pam/pascal-5i/not-stated").marks == ("no evaluation program found",)


def test_the_words_of_a_condition_are_explained(capsys):
    assert main(["atlas", "words", "void"]) == 0
    said = capsys.readouterr().out
    assert all(value.word in said and value.sentence in said for value in CONDITIONS["void"].values)
    assert main(["atlas", "words", "voids"]) == 2
    assert "did you mean 'void'" in capsys.readouterr().err


def test_effects_of_several_conditions_name_them_all():
    joint = [effect for effect in read_effects() if effect.together]
    assert {effect.what for effect in joint} == {"pfenet instead of hsnet", "fss_sam3 instead of hsnet"}
    canvas = {(effect.condition, *effect.together): effect for effect in joint if effect.what.startswith("fss_sam3")}
    void = canvas["void", "compared_at", "metric"]
    assert (void.low, void.high, void.rows) == (-4.9, -1.2, 3)
    together = {effect.condition: effect for effect in joint if effect.what.startswith("pfenet")}
    assert set(together) == {"image_lists", "min_object", "episode_draw", "geometry", "compared_at"}
    lists = together["image_lists"]
    assert (lists.low, lists.high, lists.rows) == (0.4, 2.1, 2) and set(lists.together) == set(together) - {
        "image_lists"
    }


def test_effects_are_those_of_the_committed_results():
    alone = [effect for effect in read_effects() if not effect.together]
    demo = [effect for effect in alone if effect.origin.startswith("The demo")]
    photos = {effect.condition: effect for effect in alone if effect not in demo}
    effects = {effect.condition: effect for effect in demo}
    assert set(photos) == {"episodes_per_fold", "compared_at", "min_object", "void"}
    assert (photos["void"].low, photos["void"].high, photos["void"].rows) == (-3.1, -2.7, 4)
    assert photos["min_object"].high == 6.0 and "PASCAL VOC and COCO" in photos["min_object"].origin
    assert set(effects) == {"episodes_per_fold", "compared_at", "min_object", "void", "saw_test_classes"}
    assert effects["void"].low == effects["void"].high == -5.1
    assert (effects["saw_test_classes"].low, effects["saw_test_classes"].high) == (13.6, 13.6)
    assert effects["compared_at"].low == -0.4 and effects["compared_at"].high == 0.1
    assert effects["min_object"].low == 3.6 and effects["min_object"].rows == 11
    assert "demo" in effects["episodes_per_fold"].origin and effects["episodes_per_fold"].high == 0.6


def test_links_of_the_guide_lead_to_rows_and_filters_that_there_are(atlas):
    text = (REPOSITORY / "docs" / "guides" / "reading-papers.md").read_text()
    links = [parse_qs(query) for query in re.findall(r"atlas\.html\?([^)]+)\)", text)]
    assert len(links) == 22
    for link in links:
        own = [entry for entry in atlas.entries if entry.dataset == link["data"][0]]
        for name, (value,) in link.items():
            if name == "row":
                assert atlas.entry(value) in own
            elif name == "method":
                assert any(value.lower() in entry.method.lower() for entry in own), value
            elif name != "data":
                assert any(entry.conditions[name] == value for entry in own), value
