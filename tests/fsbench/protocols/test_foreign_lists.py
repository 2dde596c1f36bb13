"""Lists of episodes from a stranger: what no test of their protocol can be is refused, whoever reads them."""

from dataclasses import replace

import pytest

import fsbench
from fsbench.base.errors import RecordError
from fsbench.base.paths import BENCHMARKS
from fsbench.cli.main import main
from fsbench.data.episodes.fit import image_hash, mismatches
from fsbench.data.episodes.manifest import Manifest
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol, read_test
from tests.datamodules.test_classification import photos

FSCS = {"protocol": "fscs", "way": 2, "episodes": 6, "draws": 2}
PFENET = {"protocol": "pfenet", "episodes": 6}
FORT = {"dataset": "imagefolder", "way": 2, "episodes": 3}


@pytest.fixture
def drawn(blocks_folder, tmp_path):
    """Return a function that draws a test, and writes it with other entries and episodes, and a hash of its own."""

    def write(task, header=None, change=None):
        dataset = task.get("dataset", "folder")
        root = blocks_folder if dataset == "folder" else tmp_path / "photos"
        if root != blocks_folder and not root.exists():
            photos(root)
        honest = fsbench.load_test(**{"dataset": dataset, "root": root} | task).manifest
        episodes = honest.episodes if change is None else tuple(map(change, honest.episodes))
        Manifest(honest.entries | (header or {}), episodes).write(tmp_path / "test.jsonl")
        return tmp_path / "test.jsonl"

    return write


def each(**changed):
    return lambda one: replace(one, **changed)


def shown(one):
    return replace(one, supports=((one.query,), *one.supports[1:]))


@pytest.mark.parametrize(
    ("task", "header", "change", "words"),
    [
        (FSCS, {"version": 2}, None, "is of version 2 of the protocol fscs, and here it is 1"),
        (FSCS, {"kind": "classification"}, None, "line 2 of "),
        (FSCS, {"shot": 5}, None, "shot is 5, and line 2 has a class with 1 supports"),
        (FSCS, {"shot": 0}, each(supports=((), ())), "shot"),
        (FSCS, {}, each(supports=((), ())), "shot is 1, and line 2 has a class with 0 supports"),
        (PFENET, {}, shown, "among its supports, which show the answer"),
        (FORT, {}, lambda one: replace(one, support=tuple(own[:1] for own in one.query)), "line 2 has its query "),
        (PFENET, {"protocol": "gfss", "version": 2}, None, "has no novel_ids and no run_lengths"),
        (PFENET, {"protocol": "gfss", "run_lengths": ["6"]}, None, "run_lengths"),
        (PFENET, {"episodes": 9}, None, "has 6 of its 9 episodes"),
        (PFENET, {}, each(classes=(-5,)), "has the class -5, expected 0 or more"),
    ],
)
def test_what_the_protocol_never_draws_is_refused(drawn, task, header, change, words):
    assert read_test(drawn(task)).header.shot == 1
    with pytest.raises(RecordError) as refused:
        read_test(drawn(task, header, change))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_header_is_believed_otherwise(drawn):
    """Drawing again tells whose episodes they are."""
    for header in ({"lists": "official"}, {"dataset": "pascal"}, {"folds": 9}, {"protocol": "mine", "shot": 7}):
        assert read_test(drawn(PFENET, header)).entries.items() >= header.items()


OUTSIDE = [
    "../secret", "a/../../secret", "..\\secret", "a\\..\\..\\secret", "/secret", "\\secret", "\\\\host\\x", "C:x",
    "c:\\x", "..", "x/.. /y", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("place", ["query", "supports"])
def test_a_name_that_leads_out_of_the_folder_is_refused_before_a_file_is_opened(drawn, tmp_path, capsys, name, place):
    file = drawn(PFENET, {}, each(**{place: name if place == "query" else ((name,),)}))
    for root in (tmp_path / "nowhere", tmp_path):  # what is there is not looked at
        with pytest.raises(RecordError, match=r"line 2 .*leads out of the data's folder"):
            fsbench.load_test("folder", root=root, manifest=file)
    data = ["--dataset", "folder", "--data-root", str(tmp_path / "nowhere")]
    for command in (["data", "manifest", "verify", str(file), *data], ["data", "manifest", "show", str(file)]):
        assert main(command) == 2
        (line,) = "".join(capsys.readouterr()).strip().splitlines()
        assert "leads out of the data's folder" in line


def test_other_names_of_files_are_names(drawn):
    for name in ("a/b", "a..b", "..a", "12:30", "a\\b", "…/x"):
        assert read_test(drawn(PFENET, {}, each(query=name))).episodes[0].query == name


@pytest.mark.parametrize("command", ["data manifest verify", "data manifest show", "kit", "score", "bench"])
def test_every_reader_refuses_it(drawn, blocks_folder, tmp_path, capsys, command):
    file, root = str(drawn(PFENET, {}, shown)), ["--data-root", str(blocks_folder)]
    words = {
        "data manifest verify": ["data", "manifest", "verify", file, "--dataset", "folder", *root],
        "data manifest show": ["data", "manifest", "show", file],
        "kit": ["kit", "folder", "--manifest", file, *root, "--out", str(tmp_path / "kit")],
        "score": ["score", str(tmp_path / "none"), "--manifest", file, "--dataset", "folder", *root, "--name", "m"],
        "bench": ["bench", "--method", "prototype", "--dataset", "folder", *root, "--manifest", file],
    }[command]
    assert main(words) != 0
    (line,) = (line for line in "".join(capsys.readouterr()).splitlines() if "which show the answer" in line)
    assert "line 2 has its query" in line


def test_classes_that_the_data_lack_are_named(drawn, blocks_folder):
    data = Folder(str(blocks_folder))
    for change in (each(query_class=9), each(classes=(9,)), each(classes=(0,))):
        test = read_test(drawn(PFENET, {}, change))
        hashed = replace(test, images={name: image_hash(data, name) for name in test.image_names})
        for one in (test, hashed):
            (said,) = mismatches(one, data)
            assert said.startswith("episode 0 is about the class ") and data.name in said


def test_lists_that_come_with_the_suite_are_what_their_protocols_draw():
    for file in sorted((BENCHMARKS / "manifests").rglob("*.jsonl.gz")):
        assert load_protocol(read_test(file).header.protocol)
