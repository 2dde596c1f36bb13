"""Lists of one's own: counted by a protocol's rules, and never shown as its result."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import FsbenchError, RecordError
from fsbench.cli.main import main
from fsbench.data.episodes.manifest import Manifest, read_manifest
from fsbench.protocols.kit.kit import read_kit
from fsbench.protocols.test import Test
from fsbench.records.record import read_record
from fsbench.results.published.obstacles import why_not_comparable
from fsbench.runner.evaluation.kits import load_kit_test
from fsbench.runner.papers.results import published_scores
from tests.datamodules.test_classification import photos

OWN = "list of one's own, counted by pfenet v1"


def everywhere(episode):
    return np.ones(episode.size, bool)


def drawn(root: Path, fold: int = 0, **options) -> Test:
    return fsbench.load_test("folder", root=root, **{"protocol": "pfenet", "fold": fold, "episodes": 6} | options)


def written(file: Path, test, change=lambda lines: lines, end: bool = False) -> Path:
    """Write the manifest of a test with changed lines of its episodes, as an editor would; by default without the last
    line, which states a hash."""
    test.manifest.write(file)
    first, *rows, last = file.read_text().splitlines()
    file.write_text("\n".join([first, *change(rows), *[last] * end]) + "\n")
    return file


def swapped(rows: list[str]) -> list[str]:
    """Let the first two episodes have each other's place; they are all those of the protocol."""
    one, other = map(json.loads, rows[:2])
    one["index"], other["index"] = 1, 0
    return [json.dumps(other, separators=(",", ":")), json.dumps(one, separators=(",", ":")), *rows[2:]]


def test_the_episodes_of_the_protocol_are_no_list_of_ones_own(blocks_folder, tmp_path):
    """With the last line or without: the episodes decide, and no statement of the file."""
    for protocol, options in (("pfenet", {"seed": 3}), ("fscs", {"way": 2, "draws": 2}), ("fscs", {"empty": False})):
        test = drawn(blocks_folder, protocol=protocol, **options)
        for end in (True, False):
            file = written(tmp_path / "m.jsonl", test, end=end)
            read = fsbench.load_test("folder", root=blocks_folder, manifest=file)
            assert (
                read.manifest == test.manifest and repr(read) == repr(test) and f"protocol {protocol} v1" in repr(read)
            )


@pytest.mark.slow(1)
def test_a_list_of_ones_own_says_so_everywhere(blocks_folder, tmp_path, capsys):
    file = written(tmp_path / "mine.jsonl", drawn(blocks_folder), swapped)
    root, runs = ["--data-root", str(blocks_folder)], tmp_path / "runs"
    assert main(["kit", "folder", "--manifest", str(file), *root, "--out", str(tmp_path / "kit")]) == 0
    out, err = capsys.readouterr()
    assert OWN in out and "protocol pfenet" not in out
    assert re.search(r"mine\.jsonl is a list of one's own, .*\(2 of 6 episodes are others, first 0\)", err)
    rules = (tmp_path / "kit/RULES.md").read_text()
    assert OWN in rules and "protocol pfenet" not in rules and "--manifest <the list" in rules
    assert "The episodes are a list of one's own, not those that pfenet draws" in rules
    kit = read_kit(tmp_path / "kit")
    with pytest.raises(RecordError, match=r"the kit is of a list of one's own, .*--manifest in place of --kit"):
        load_kit_test(kit, root=blocks_folder)
    test = fsbench.load_test("folder", root=blocks_folder, manifest=file)
    assert test.manifest.sha256 == read_manifest(file).sha256 == kit.test and kit.own_list
    with fsbench.Answers(tmp_path / "mine.fsa", tmp_path / "kit") as answers:
        for episode in test:
            answers.add(episode.number, everywhere(episode))
    scored = ["score", str(tmp_path / "mine.fsa"), "--manifest", str(file), "--dataset", "folder", *root]
    assert main([*scored, "--name", "mine", "--runs", str(runs)]) == 0
    out = capsys.readouterr()[0]
    assert OWN in out and "protocol pfenet" not in out
    assert "* no result of pfenet: the episodes are a list of one's own, not drawn by the protocol" in out
    (record,) = fsbench.load_runs(runs).records
    assert record.header.own_list and record.manifest.header == record.header and not record.header.is_official
    assert "list of episodes another instead of the protocol's" in why_not_comparable(record, published_scores()[0])


def test_a_list_of_ones_own_has_no_mean_with_folds_of_the_protocol(blocks_folder, tmp_path):
    lists = [written(tmp_path / f"{fold}.jsonl", drawn(blocks_folder, fold), swapped) for fold in (0, 1)]
    own = [fsbench.load_test("folder", root=blocks_folder, manifest=file) for file in lists]

    def folds(*tests):
        runs = tmp_path / "-".join(test.manifest.sha256[:4] + str(test.manifest.own_list) for test in tests)
        for test in tests:
            fsbench.evaluate(everywhere, test, runs=runs, progress=False)
        return [set(frame["fold"]) for _, frame in fsbench.load_runs(runs).table(trivial=False).frame.group_by("test")]

    assert sorted(folds(own[0], drawn(blocks_folder, 1)), key=str) == [{"0"}, {"1"}]
    assert folds(*own) == [{"0", "1", "mean"}]


def test_a_list_that_cannot_be_drawn_here_is_ones_own(blocks_folder, tmp_path, capsys):
    """Images of other episodes are gone: whether the protocol has these episodes cannot be seen."""
    test = drawn(blocks_folder, episodes=1)
    file = written(tmp_path / "m.jsonl", test, end=True)
    listed = blocks_folder.parent / "some"
    shutil.copytree(blocks_folder, listed)
    for image in (listed / "JPEGImages").iterdir():
        if image.stem not in test.manifest.image_names:
            image.unlink()
    read = fsbench.load_test("folder", root=listed, manifest=file)
    assert read.manifest.own_list and "which cannot be drawn: " in capsys.readouterr()[1]
    assert read.files_sha256 == test.files_sha256 and read.all_files_sha256 != test.all_files_sha256
    assert test.remarks == [] and read.remarks == [
        "lists of images of all folds cannot be made of the data that are here, so that nothing tells whether runs of "
        "other folds saw the same copy: there is no mean with them"
    ]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda row: row[:-4], "line 3 of .* is no JSON"),
        (lambda row: " ", "line 3 of .* is empty; expected an episode"),
        (lambda row: row + "," + row.replace('"index":1', '"index":99'), "line 3 .* no JSON .Extra data at character"),
        (lambda row: "[1]", r"line 3 of .* is no episode \(the whole is \[1\], expected"),
        (lambda row: row.replace('"index":1', '"index":-1'), "line 3 .* has the index -1, and indices go from 0 to 21"),
        (lambda row: row.replace('"index":1', f'"index":{1 << 40}'), "line 3 of .* has the index 1099511627776, and"),
        (
            lambda row: re.sub(r'"query":("[^"]*")(.*)"supports":.*\]\]', r'"query":\1\2"supports":[[\1]]', row),
            "line 3 has its query .* among its supports, which show the answer",
        ),
        (lambda row: row.replace('"query":', '"qeury":'), "line 3 of .* is no episode .*query"),
        (lambda row: row.replace('"index":1', '"index":"1"'), "line 3 of .* is no episode .*index"),
        (lambda row: row.replace('"index":1', '"index":0'), "line 3 of .* has the index 0, as line 2 has"),
        (lambda row: re.sub(r'"supports":\[\[.*\]\]', '"supports":[]', row), "line 3 .* 1 classes, and supports of 0"),
        (
            lambda row: re.sub(r'\[\["([^"]*)"', r'[["\1","\1"', row),
            "shot is 1, and line 3 has a class with 2 supports",
        ),
        (
            lambda row: re.sub(r'"query":"[^"]*"', '"query":"nowhere"', row),
            "1 of its .* images are not there, .*nowhere",
        ),
        (
            lambda row: re.sub(r'"classes":\[\d+\]', '"classes":[9]', row),
            "episode 1 is about the class 9, which blocks does not have",
        ),
    ],
)
def test_a_bad_line_is_named(blocks_folder, tmp_path, change, words):
    file = written(tmp_path / "m.jsonl", drawn(blocks_folder), lambda rows: [rows[0], change(rows[1]), *rows[2:]])
    with pytest.raises(FsbenchError, match=words) as error:
        fsbench.load_test("folder", root=blocks_folder, manifest=file)
    if "is no" in words:
        assert 'expected an episode, such as {"index":0,"query"' in str(error.value)


def test_empty_lines_at_the_end_are_nothing(blocks_folder, tmp_path):
    test = drawn(blocks_folder)
    file = written(tmp_path / "m.jsonl", test, end=True)
    file.write_text(file.read_text() + "\n \n")
    assert fsbench.load_test("folder", root=blocks_folder, manifest=file).manifest == test.manifest


def with_header(file: Path, test, **entries) -> Path:
    Manifest(test.manifest.entries | entries, test.manifest.episodes).write(file)
    return file


@pytest.mark.parametrize(
    "entries, is_own",
    [
        ({"lists_sha256": "0" * 64}, True),
        ({"all_lists_sha256": "0" * 64}, True),
        ({"lists": "made by hand"}, False),
        ({"requested": 1 << 50}, True),  # so many are not drawn to compare them
        ({"draws": 1 << 30}, True),
    ],
)
def test_lists_that_the_data_do_not_have_are_ones_own(blocks_folder, tmp_path, entries, is_own):
    """The lists here are derived; what else they are called is their owner's matter."""
    file = with_header(tmp_path / "m.jsonl", drawn(blocks_folder), **entries)
    assert fsbench.load_test("folder", root=blocks_folder, manifest=file).manifest.header.own_list == is_own


def test_that_a_list_is_ones_own_is_part_of_the_runs_identity(blocks_folder, tmp_path):
    """Whether a list is one's own depends on the data it is drawn from, so no file states it."""
    file = written(tmp_path / "mine.jsonl", drawn(blocks_folder), swapped)
    test = fsbench.load_test("folder", root=blocks_folder, manifest=file)
    record = fsbench.evaluate(everywhere, test, runs=tmp_path, progress=False).record
    assert record.run.identity.own_list and "own_list" not in (record.path / "manifest.jsonl").read_text()
    assert read_record(record.path).header.own_list and read_record(record.path).manifest.own_list
    path = record.path / "run.json"
    path.write_text(re.sub(r'"own_list": *true, *', "", path.read_text()))
    with pytest.raises(RecordError, match="seal"):
        read_record(record.path)
    official = fsbench.evaluate(everywhere, drawn(blocks_folder), runs=tmp_path, progress=False).record
    assert "own_list" not in official.run.identity.as_json()


def test_copies_of_queries_among_the_supports_are_counted(blocks_folder, tmp_path, capsys):
    root, test = tmp_path / "copied", drawn(blocks_folder)
    shutil.copytree(blocks_folder, root)
    for folder in ("JPEGImages", "SegmentationClassAug"):
        file = next((root / folder).glob(f"{test.manifest.episodes[0].query}.*"))
        shutil.copyfile(file, file.with_stem("copy"))

    def shown(rows: list[str]) -> list[str]:
        return [json.dumps(json.loads(rows[0]) | {"supports": [["copy"]]}), *rows[1:]]

    fsbench.load_test("folder", root=root, manifest=written(tmp_path / "m.jsonl", test, shown))
    assert "; in 1 of its episodes a support is a copy of a query" in capsys.readouterr()[1]


def test_chosen_episodes_are_checked_as_well(blocks_folder, tmp_path):
    choice = {"selection": {"name": "mine", "manifest_sha256": "0" * 64}, "shot": 2}
    file = with_header(tmp_path / "m.jsonl", drawn(blocks_folder), **choice)
    with pytest.raises(RecordError, match=r"shot is 2, and line 2 has a class with 1 supports"):
        fsbench.load_test("folder", root=blocks_folder, manifest=file)


def test_a_list_that_was_cut_off_is_refused(blocks_folder, tmp_path):
    file = written(tmp_path / "m.jsonl", drawn(blocks_folder), lambda rows: rows[:4])
    with pytest.raises(RecordError, match="has 4 of its 6 episodes"):
        fsbench.load_test("folder", root=blocks_folder, manifest=file)


def test_places_of_images_that_a_class_lacks_are_refused(tmp_path):
    """Episodes of classification name images by their places in the list of the data set."""
    root = tmp_path / "photos"
    photos(root)
    test = fsbench.load_test("imagefolder", root=root, way=2, episodes=3)
    official = written(tmp_path / "m.jsonl", test)
    assert fsbench.load_test("imagefolder", root=root, manifest=official).manifest == test.manifest
    own = written(tmp_path / "own.jsonl", test, swapped)
    assert fsbench.load_test("imagefolder", root=root, manifest=own).manifest == replace(
        read_manifest(own), own_list=True
    )
    row = json.loads(own.read_text().splitlines()[1])
    shown = json.dumps(row | {"support": [[own[0]] for own in row["query"]]})
    with pytest.raises(RecordError, match=r"line 2 has its query .* among its supports, which show the answer"):
        fsbench.load_test(
            "imagefolder", root=root, manifest=written(tmp_path / "l.jsonl", test, lambda rows: [shown, *rows[1:]])
        )
    with pytest.raises(RecordError, match=r'line 2 of .* is no episode .*such as {"index":0,"classes":.*"support":'):
        read_manifest(written(tmp_path / "b.jsonl", test, lambda rows: ["{}", *rows[1:]]))
    far = written(
        tmp_path / "far.jsonl", test, lambda rows: [re.sub(r'"query":\[\[\d+', '"query":[[999', rows[0]), *rows[1:]]
    )
    with pytest.raises(FsbenchError, match="episode 0 names place 999 of class"):
        fsbench.load_test("imagefolder", root=root, manifest=far)
