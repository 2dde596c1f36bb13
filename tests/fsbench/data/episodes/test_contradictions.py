"""A header that says otherwise than its episodes is refused, with both figures; drawn manifests never are."""

import pytest

import fsbench
from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.data.episodes.manifest import Manifest, contradictions
from fsbench.protocols.reading import protocol_of, read_checked_manifest
from fsbench.records.statements import _official_lists
from tests.fsbench.runs import rewrite

TASKS = (
    {"protocol": "fscs", "way": 2, "episodes": 9},
    {"protocol": "fscs", "setting": "fully_augmented", "way": 2, "episodes": 9},
    {"protocol": "fscs", "setting": "0-15"},
    {"protocol": "presence", "episodes": 9},
    {"protocol": "hsnet", "draws": 3, "episodes": 9},
    {"protocol": "gfss", "episodes": 9},
)


@pytest.fixture
def manifest(blocks_folder):
    return fsbench.load_test("folder", root=blocks_folder, protocol="fscs", way=2, episodes=6, draws=2).manifest


def contradictions_of(manifest):
    """Return what the header says otherwise than the episodes and the protocol, which is known."""
    draw = protocol_of(manifest.header).draw
    fixed = draw.fixed_episode_count(manifest.header.dataset)
    return list(contradictions(manifest, fixed, draw.may_be_shorter, draw.draws_slices))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: "-".join(map(str, task.values())))
def test_what_is_drawn_contradicts_nothing(task):
    drawn = fsbench.load_test("demo", **task).manifest
    assert contradictions_of(drawn) == []


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"episodes": 1000}, "episodes is 1000, and 6 are there"),
        ({"requested": 1000}, "requested is 1000, and 6 episodes are there"),
        ({"requested": 5}, "requested is 5, and 6 episodes are there"),
        ({"official_episodes": 6}, "official_episodes is 6, and the protocol fscs has 1000"),
        ({"draws": 3}, "draws is 3, and the supports of the episodes are of the draws 0, 1"),
        ({"class_ids": [1]}, "class_ids are 1, and episodes ask for 2, 3 as well"),
        ({"dropped_classes": [2, 5]}, "dropped_classes are 2, 5, and episodes ask for 2"),
        ({"calibration_ids": [4]}, "calibration_ids are 4, and episodes calibrate by none"),
        ({"slices": True}, "slices is True, and the images of the protocol fscs are no slices"),
        ({"way": 1}, "way is 1, and episodes have 2 ways"),
        ({"official_sha256": "0" * 64}, "official_sha256 is 000000000000…, and that of draw 0 is "),
    ],
)
def test_a_header_that_says_otherwise_is_refused(manifest, tmp_path, capsys, header, words):
    file = tmp_path / "test.jsonl"
    manifest.write(file)
    assert read_checked_manifest(file) == manifest
    Manifest(manifest.entries | header, manifest.episodes).write(file)  # with a hash of its own, as anybody can
    with pytest.raises(RecordError) as refused:
        read_checked_manifest(file)
    assert words in str(refused.value)
    assert main(["data", "manifest", "show", str(file)]) == 2 and words in capsys.readouterr().err


def test_only_a_known_protocol_says_how_many_episodes_there_are(tmp_path):
    drawn = fsbench.load_test("demo", protocol="fscs", way=2, episodes=9).manifest
    own = Manifest(drawn.entries | {"protocol": "mine", "official_episodes": 6, "requested": 10}, drawn.episodes)
    own.write(tmp_path / "own.jsonl")
    assert read_checked_manifest(tmp_path / "own.jsonl") == own
    assert list(contradictions(own, 1000, False)) == [
        "requested is 10, and 9 episodes are there",
        "official_episodes is 6, and the protocol mine has 1000",
    ]


def test_a_record_of_such_a_header_stands_in_no_table(make):
    record = make("mine", 0)
    assert record.manifest.header.requested == 24
    forged = rewrite(record, header={"requested": 1000, "episodes": 1000})
    with pytest.raises(RecordError, match=r"episodes is 1000, and 24 are there; requested is 1000, and 24 episodes"):
        _ = forged.every_episode


def test_episodes_that_come_with_the_suite_are_what_they_say():
    for file, manifest in _official_lists("pascal", ""):
        assert contradictions_of(manifest) == [], file


def test_the_local_data_tell_a_changed_header(manifest, blocks_folder, tmp_path, capsys):
    drawn = fsbench.load_test("folder", root=blocks_folder, protocol="fscs", way=2, episodes=6).manifest
    file = tmp_path / "test.jsonl"
    arguments = ["data", "manifest", "verify", str(file), "--dataset", "folder", "--data-root", str(blocks_folder)]
    drawn.write(file)
    assert main(arguments) == 0
    names = drawn.entries["class_names"] | {"4": "yellow"}
    Manifest(drawn.entries | {"class_ids": [1, 2, 3, 4], "class_names": names}, drawn.episodes).write(file)
    assert main(arguments) == 1
    assert "the header's class_ids is [1, 2, 3, 4], by the local data [1, 2, 3]" in capsys.readouterr().err
