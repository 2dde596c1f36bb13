"""Headers that say otherwise than what they are about: every statement is held against it, and every reader asks."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import FsbenchError, RecordError
from fsbench.base.paths import BENCHMARKS
from fsbench.cli.main import main
from fsbench.data.episodes.manifest import Header, Manifest, read_manifest
from fsbench.data.episodes.task import Task
from fsbench.data.published import PUBLISHED, published_names
from fsbench.datamodules.datasets.coco import Coco, CocoAll
from fsbench.datamodules.datasets.deepglobe import DeepGlobe, DeepGlobeAll
from fsbench.datamodules.datasets.folder import Folder, read_description
from fsbench.datamodules.datasets.isaid import Isaid
from fsbench.datamodules.datasets.lung import Lung, LungAll
from fsbench.datamodules.datasets.pascal import Pascal, Pascal10, PascalAll
from fsbench.datamodules.datasets.suim import Suim
from fsbench.protocols.headers import HEADER
from fsbench.protocols.reading import load_protocol, read_checked_manifest
from fsbench.records.description import all_notes, shorter
from fsbench.records.grouping import variants
from fsbench.records.record import Record
from fsbench.runner.exchange.bundle import write_bundle
from tests.datamodules.test_classification import photos
from tests.fsbench.runner.exchange.test_bundle import cards_of
from tests.fsbench.runs import changed, rewrite

FSCS = {"protocol": "fscs", "way": 2, "episodes": 6, "draws": 2}
PFENET = {"protocol": "pfenet", "episodes": 6}
PRESENCE = {"protocol": "presence", "episodes": 6}
AUGMENTED = {"protocol": "fscs", "setting": "fully_augmented", "way": 2, "episodes": 6}
SMALL = {"protocol": "fscs", "setting": "0-15", "episodes": 6}
GFSS = {"protocol": "gfss"}
FORT = {"dataset": "imagefolder", "way": 2, "episodes": 3}
PASCAL = {"pascal": "hsnet-fold1-1way1shot-original.jsonl.gz"}
OTHER_CLASS = {"class_ids": [1, 2, 3, 4, 5], "class_names": {str(n): "a" for n in range(1, 6)}}


def each(**changed):
    """Return a change of all episodes."""
    return lambda one: replace(one, **changed)


def shown_by_itself(one):
    return replace(one, supports=((one.query,), *one.supports[1:]))


OWN_PARTS = {"name": "mine", "version": 1, "summary": "", "draw": {"rule": "presence"}}

FORGERIES = [
    (FSCS, {"kind": "classification"}, None, "line 2 of "),
    (FSCS, {"version": 2}, None, "version is 2, and the protocol fscs is of version 1 here"),
    (FSCS, {"protocol_parts": {"name": "fscs"}}, None, "protocol_parts make no protocol of one's own"),
    (FSCS, {"protocol_parts": OWN_PARTS}, None, "protocol is 'fscs', and protocol_parts have the name 'mine'"),
    (FSCS, {"dataset": "../x"}, None, "dataset is '../x', which is a path"),
    (FSCS, {"dataset": "a\x1b[2J"}, None, "which has characters that do not print"),
    (FSCS, {"dataset": "PASCAL"}, None, "which is the name of the published data set pascal"),
    (FSCS, {"dataset": "COCO-20i"}, None, "which is the name of the published data set COCO-20i"),
    (FSCS, {"dataset": "pascal · official"}, None, "which has a ·, which parts the words of a title"),
    (FSCS, {"fold": 7}, None, "fold is 7, and the folds are 0 to 1"),
    (FSCS, {"folds": 0}, None, "fold is 0, and the folds are 0 to -1"),
    (PASCAL, {"folds": 2}, None, "folds is 2, and pascal has 4"),
    (FORT, {"folds": 4}, None, "folds is 4, and imagefolder has 1"),
    (FSCS, {"way": 1}, None, "way is 1, and episodes have 2 ways"),
    (PFENET, {}, each(classes=(1, 2, 3), supports=(("a",),) * 3), "way is 1, and episodes have 3 ways"),
    (AUGMENTED, {"way": 3}, None, "way is 3, and "),
    (FSCS, {"shot": 5}, None, "shot is 5, and line 2 has a class with 1 supports"),
    (FSCS, {"shot": 0}, each(supports=((), ())), "shot is 0, expected 1 or more"),
    (FSCS, {}, each(supports=((), ())), "shot is 1, and line 2 has a class with 0 supports"),
    (PFENET, {}, shown_by_itself, "among its supports, which show the answer"),
    (FORT, {}, lambda one: replace(one, support=tuple(own[:1] for own in one.query)), "line 2 has its query "),
    (PFENET, {"setting": "0-5"}, None, "setting is '0-5', and the protocol pfenet has original"),
    (FSCS, {"setting": "0-50"}, None, "setting is '0-50', and the protocol fscs has original, partially"),
    (PFENET, {}, each(augmented=True), "setting is original, and 6 episodes are augmented"),
    (FSCS, {"classes": "all"}, None, "classes is all, and the episodes are of masks"),
    (PASCAL, {"classes": "base"}, None, "class_ids have 6, 7, 8, 9, 10, and the base classes of pascal in fold 1 are"),
    (PRESENCE, {"empty": False}, None, "empty is False, and 3 queries show none of their episode's classes"),
    (PFENET, {"empty": True}, None, "empty is True, and by the protocol pfenet it is False"),
    (PFENET, {"seed": None}, None, "seed is None, and the protocol pfenet has a seed of the whole test"),
    (FSCS, {"seed": 3}, None, "seed is 3, and the protocol fscs has no seed of the whole test"),
    (FSCS, {"lists": "official"}, None, "lists is 'official', and no official lists of blocks are known"),
    (PASCAL, {"lists_sha256": "0" * 64}, None, "lists_sha256 is 000000000000…, which is none of the official"),
    (FSCS, {"dropped_classes": [2, 5]}, None, "dropped_classes are 2, 5, and episodes ask for 2"),
    (PASCAL, {"dropped_classes": [1]}, None, "dropped_classes have 1, which pascal has in another fold"),
    (FSCS, {"all_classes": True}, None, "all_classes is True, and the protocol fscs does not ask for all"),
    (GFSS, {"novel_ids": []}, None, "novel_ids are [], and episodes have supports of 1, 2, 3"),
    (GFSS, {"run_lengths": [6]}, None, "run_lengths are [6], and "),
    (FSCS, {"requested": 1000}, None, "requested is 1000, and 6 episodes are there"),
    (SMALL, {"requested": 1000, "episodes": None}, None, "requested is 1000, and 6 episodes are there"),
    (FSCS, {"requested": 5}, None, "requested is 5, and 6 episodes are there"),
    (FSCS, {"official_episodes": 6}, None, "official_episodes is 6, and the protocol fscs has 1000"),
    (FSCS, {"episodes": 1000}, None, "episodes is 1000, and 6 are there"),
    (FSCS, {"class_ids": [1]}, None, "class_ids are 1, and episodes ask for 2, 3 as well"),
    (PASCAL, {}, each(query_class=1), "class_ids are 6, 7, 8, 9, 10, and queries are there for 1 as well"),
    (PASCAL, OTHER_CLASS, each(query_class=1, classes=(1,)), "class_ids have 1, 2, 3, 4, 5, and the novel classes of"),
    (FSCS, {"class_names": {str(n): "a" for n in range(1, 9)}}, None, "class_names has a name of 4, 5, 6, 7, 8"),
    (FORT, {"queries": 9}, None, "queries is 9, and classes of the episodes have 15"),
    (FSCS, {"queries": 9}, None, "queries is 9, and the episodes are of masks"),
    (FSCS, {"min_class_size": 9}, None, "min_class_size is 9, and the episodes are of masks"),
    (FORT, {"filled_classes": 1}, None, "filled_classes is 1, and 0 classes may be repeated"),
    (FSCS, {"small_classes": 9}, None, "small_classes is 9, and the episodes are of masks"),
    (FSCS, {"draws": 3}, None, "draws is 3, and the supports of the episodes are of the draws 0, 1"),
    (FSCS, {"official_sha256": "0" * 64}, None, "official_sha256 is 000000000000…, and that of draw 0 is "),
    (FSCS, {"official_sha256": None}, None, "official_sha256 is missing, and draws is 2"),
    (PFENET, {"nested_in": 0}, None, "nested_in is 0, and shot 1"),
    (FSCS, {"calibration_ids": [4]}, None, "calibration_ids are 4, and episodes calibrate by none"),
    (FSCS, {"calibration_images": "test images"}, None, "calibration_images is test images, and calibration_ids are n"),
    (FSCS, {"slices": True}, None, "slices is True, and the images of the protocol fscs are no slices"),
]  # fmt: skip
"""A test, other entries of its header, a change of its episodes, and what is said of them."""


@pytest.fixture(scope="module")
def drawn(blocks_folder, tmp_path_factory):
    """Return the manifest of a test, drawn once."""
    roots = {"folder": blocks_folder, "imagefolder": tmp_path_factory.mktemp("photos")}
    photos(roots["imagefolder"])
    gfss = load_protocol("gfss")  # whose supports are small enough for small images
    gfss = replace(gfss, draw=replace(gfss.draw, support_pixels={"others": 1}))
    kept = {str(GFSS): gfss.manifest(Folder(str(blocks_folder)), Task(0, episodes=6))}

    def draw(task):
        key = str(task)
        if key not in kept and "pascal" in task:
            kept[key] = read_manifest(BENCHMARKS / "manifests/pascal" / task["pascal"])
        elif key not in kept:
            name = task.get("dataset", "folder")
            kept[key] = fsbench.load_test(**{"dataset": name, "root": roots[name]} | task).manifest
        return kept[key]

    return draw


@pytest.mark.parametrize(("task", "header", "change", "words"), FORGERIES, ids=range(len(FORGERIES)))
def test_a_header_that_says_otherwise_is_refused(drawn, tmp_path, task, header, change, words):
    honest, file = drawn(task), tmp_path / "test.jsonl"
    honest.write(file)
    assert read_checked_manifest(file) == honest
    episodes = honest.episodes if change is None else tuple(map(change, honest.episodes))
    Manifest(honest.entries | header, episodes).write(file)  # with a hash of its own, as anybody can
    with pytest.raises(RecordError) as refused:
        read_checked_manifest(file)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_every_entry_of_a_header_is_held_against_something():
    assert HEADER.keys() == Header.model_fields.keys()
    believed = {name for name, one in HEADER.items() if one.contradicted is None}
    assert believed == {"protocol", "all_lists_sha256", "drop_small", "selection", "own_list"}
    assert all(HEADER[name].against for name in HEADER)


def test_episodes_that_come_with_the_suite_are_what_they_say():
    for file in sorted((BENCHMARKS / "manifests").rglob("*.jsonl.gz")):
        read_checked_manifest(file)


def test_only_a_known_protocol_says_how_its_tests_are(drawn, tmp_path):
    honest = drawn(PFENET)
    own = Manifest(honest.entries | {"protocol": "mine", "official_episodes": 7, "requested": 10}, honest.episodes)
    own.write(tmp_path / "own.jsonl")
    assert read_checked_manifest(tmp_path / "own.jsonl") == own


def everywhere(episode):
    return np.ones(episode.size, bool)


@pytest.fixture(scope="module")
def honest_run(blocks_folder, tmp_path_factory) -> Record:
    test = fsbench.load_test("folder", root=blocks_folder, protocol="fscs", episodes=6, empty=False)
    return fsbench.evaluate(everywhere, test, runs=tmp_path_factory.mktemp("runs"), progress=False).record


@pytest.mark.parametrize(
    ("header", "words"),
    [({"shot": 5}, "shot is 5, and line 2 has a class with 1 supports"), ({"setting": "0-5"}, "in the setting 0-5")],
    ids=["shot", "setting"],
)
def test_every_reader_of_a_run_refuses_its_header(honest_run, blocks_folder, tmp_path, capsys, header, words):
    copied, runs = Record(tmp_path / "runs/forged", honest_run.run), str(tmp_path / "runs")
    shutil.copytree(honest_run.path, copied.path)
    forged = rewrite(copied, header=header)
    folder = forged.path.rename(tmp_path / "runs" / forged.run.id)
    file, card = str(folder / "manifest.jsonl"), tmp_path / "card.yaml"
    vars(bundled := Record(folder, forged.run)).update(
        {name: getattr(honest_run, name) for name in ("manifest", "header", "every_episode")}
    )
    (tmp_path / "bundles").mkdir()
    write_bundle([bundled], cards_of([bundled]), "CC-BY-4.0", "fsbench 1", tmp_path / "bundles/forged.fsb")
    root = ["--data-root", str(blocks_folder)]
    readers = [
        ["table", runs],
        ["compare", runs],
        ["report", runs, "--out", str(tmp_path / "report")],
        ["verify", str(tmp_path / "bundles/forged.fsb")],
    ]
    if "shot" in header:
        readers += [
            ["bundle", "--new-card", str(card), runs],
            ["data", "manifest", "show", file],
            ["data", "manifest", "verify", file, "--dataset", "folder", *root],
            ["kit", "folder", "--manifest", file, *root, "--out", str(tmp_path / "kit")],
            ["score", str(tmp_path / "none.fsa"), "--manifest", file, "--dataset", "folder", *root, "--name", "m"],
        ]
    for words_of_command in readers:
        status, (out, err) = main(words_of_command), capsys.readouterr()
        lines = [line for line in (out + err).splitlines() if words in line]
        assert status != 0 and len(lines) == 1, (words_of_command, out, err)
    assert main(["report", "--strict", "--board", str(tmp_path / "bundles"), "--out", str(tmp_path / "site")]) != 0
    assert words in "".join(capsys.readouterr())
    with pytest.raises(RecordError, match="shot is 5") if "shot" in header else pytest.raises(FsbenchError):
        fsbench.load_test("folder", root=blocks_folder, manifest=file)


# Names


def test_a_data_set_of_ones_own_has_a_name_of_its_own(tmp_path):
    file = tmp_path / "folds.yaml"
    for name, words in (
        ("pascal", "is the name of the published data set pascal"),
        ("COCO", "is the name of the published data set coco"),
        ("pascal-5i", "is the name of the published data set PASCAL-5i"),
        ("cub", "is the name of the published data set cub"),
        ("../x", "is a path"),
        ("a/b", "is a path"),
        ("..", "is a path"),
        ('"a\\u001b[2J"', "has characters that do not print"),
        ("demo", ""),
        ("my shapes", ""),
    ):
        file.write_text(f"name: {name}\nclasses: [a, b]\nfolds: [[a], [b]]\n")
        if not words:
            assert read_description(file).name == name
            continue
        with pytest.raises(FsbenchError) as refused:
            read_description(file)
        assert words in str(refused.value) and "expected a name of its own" in str(refused.value)


@pytest.mark.parametrize("name", ["(best without a model)", "m [handed in]", "m — mean", "a\nb", " m"])
def test_a_method_with_the_name_of_a_line_of_ours_is_quoted(honest_run, name):
    record = changed(honest_run, {"method": {"name": name}})
    assert list(variants([record])) == [f"'{name}'"]
    assert list(variants([honest_run])) == [honest_run.run.identity.method.name]


def test_a_test_with_fewer_episodes_than_asked_for_says_so(honest_run):
    named = Record(honest_run.path, honest_run.run)
    vars(named).update(header=honest_run.header.model_copy(update={"requested": 1000}))
    assert shorter([honest_run]) == []
    assert shorter([named]) == ["fold 0 has only 6 of the 1000 episodes that were asked for"]


def test_a_published_name_shows_nothing_of_the_data(honest_run):
    """Lists whose checksums are the authors' do."""
    header = honest_run.header
    for dataset, lists, words in (
        ("pascal", "derived", ["only the name says that these are the images of the published pascal"]),
        ("pascal", "official", []),
        ("blocks", "derived", []),
    ):
        named = Record(honest_run.path, honest_run.run)
        vars(named).update(header=header.model_copy(update={"dataset": dataset, "lists": lists}))
        (note,) = (note for note in all_notes([named]) if note.startswith("image lists: "))
        assert note.split("; ")[1:] == words


def test_what_is_known_of_published_data_sets_is_what_their_classes_say():
    from tests.frozen.data_sets import SETS  # whose data sets are those of the suite

    for kind in (Pascal, Pascal10, PascalAll, Coco, CocoAll, Isaid, DeepGlobe, DeepGlobeAll, Lung, LungAll, Suim):
        data, known = kind.__new__(kind), PUBLISHED[kind.name]  # folds and classes need no files
        assert known.folds == data.folds
        for fold in range(data.folds):
            assert known.test_classes(fold) == data.test_classes(fold), kind.name
    assert PUBLISHED.keys() - published_names() == set()
    assert {one.dataset for one in SETS.values()} - published_names() == {"demo", "demo-cls", "folder", "imagefolder"}
