"""A kit holds all that a method may see of a test, and nothing of its truth; answers to it are read and checked."""

import json
import re
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fsbench.base.errors import DataError, RecordError, SettingsError
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import ClassificationTask, Task
from fsbench.data.image_io import read_label_map, read_pixels
from fsbench.data.palettes import voc_colors
from fsbench.datamodules.datasets.demo import Demo
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.protocols.kit.answers import Answers, AnswersError, header_line, line_of
from fsbench.protocols.kit.asked import asked_answers
from fsbench.protocols.kit.kit import check_kit, read_kit, write_kit
from fsbench.protocols.kit.reader import StoredAnswers, read_answers
from fsbench.protocols.reading import load_protocol, protocol_names
from fsbench.protocols.test import Test
from tests.fsbench.protocols.drawn_sets import DRAWN
from tests.recompressed import recompress, save_palette


def some_test(folder: Path, protocol: str = "fscs", **task) -> Test:
    rules = load_protocol(protocol)
    data = rules.draw.data(Demo(str(folder), train=20, val=60) if folder.name == "demo" else Folder(str(folder)))
    asked = rules.draw.with_own_ways(data, Task(0, **{"episodes": 8, **task}))
    return Test(rules.manifest(data, asked), data, rules)


@pytest.fixture(scope="module")
def two_ways(blocks_folder) -> Test:
    return some_test(blocks_folder, way=2, shot=2)


@pytest.fixture
def kit(two_ways, blocks_folder, tmp_path) -> Path:
    write_kit(two_ways, tmp_path / "kit", blocks_folder)
    return tmp_path / "kit"


def episodes_of(kit: Path) -> list[dict]:
    return [json.loads(line) for line in (kit / "episodes.jsonl").read_text().splitlines()]


def drawn_mask(number: int, size: list[int] | tuple[int, int], ways: int) -> np.ndarray:
    return np.random.RandomState(number).randint(0, ways + 1, size).astype(np.uint8)


def values(answers: StoredAnswers) -> list[list]:
    """Return number, mask, presence and score of each answer as plain values."""
    return [[None if part is None else np.array(part).tolist() for part in astuple(answer)] for answer in answers]


def answer_all(path: Path, kit: Path | str, episodes: list[dict], **more) -> Path:
    with Answers(path, kit) as answers:
        for episode in episodes:
            ways = len(episode["supports"])
            answers.add(episode["number"], drawn_mask(episode["number"], episode["size"], ways), **more)
    return path


def segmentation_names() -> list[object]:
    names = [name for name in protocol_names() if load_protocol(name).task == "segmentation"]
    return [pytest.param(name, marks=pytest.mark.slow(1)) if name in ("capl", "fss_sam3") else name for name in names]


def test_rules_say_how_the_truth_is_made(tmp_path):
    """Of five classes two have too few images; a mean over all five of the same answers is 3/5 of the test's own."""
    data = DRAWN["pascal"](tmp_path)
    rules = load_protocol("hsnet")
    test = Test(rules.manifest(data, Task(0, shot=1, episodes=40, drop_small=True)), data, rules)
    header = test.manifest.header
    left_out = [data.name_of(number) for number in header.dropped_classes]
    assert left_out and len(header.class_ids) + len(left_out) == 5
    write_kit(test, tmp_path / "kit")
    text = (tmp_path / "kit/RULES.md").read_text()
    counted = len(header.class_ids)
    assert "Label maps are the data set's own files." in text
    assert f"A mean over classes divides by {counted}, the classes of this test." in text
    assert f"Left out for want of images: {', '.join(left_out)}. A program that counts them as 0 divides by 5" in text
    assert f"its mean of the same answers is {counted}/5 of the one here" in text
    frame = pl.DataFrame({"class_id": [header.class_ids[0]], "slot": [1], "gt": [9]})
    assert rules.counting.counted_classes(frame, header) == header.class_ids
    segic = replace(rules, counting=replace(rules.counting, absent="left_out"))
    write_kit(Test(test.manifest, data, segic), tmp_path / "other")
    assert f"that episodes are about, at most {counted}." in (tmp_path / "other/RULES.md").read_text()
    assert segic.counting.counted_classes(frame, header) == header.class_ids[:1]


@pytest.mark.parametrize("name", ["coco", "coco@gfss", "coco@fssdino", "coco@fss_sam3", "fss1000", "pascal"])
def test_words_for_label_maps_name_what_makes_them(name, tmp_path):
    """A data set whose label maps are drawn from annotations, or thresholded, says how."""
    dataset, _, protocol = name.partition("@")
    data = DRAWN[dataset](tmp_path)
    seen = type(load_protocol(protocol).draw.data(data) if protocol else data)
    words = {
        "coco": "fillPoly of OpenCV 4.7 on vertices truncated", "coco@gfss": "the first polygon alone",
        "fss1000": "128 or more", "coco@fssdino": "of 2048 pixels or more", "pascal": "own files",
        "coco@fss_sam3": "rasterised by pycocotools",
    }  # fmt: skip
    assert words[name] in seen.label_maps_are
    own = next(one for one in seen.__mro__ if "label_map" in vars(one) or vars(one).get("first_polygon_only"))
    assert name == "pascal" or "label_maps_are" in vars(own)


@pytest.mark.parametrize("name", segmentation_names())
def test_kits_of_all_protocols(name, blocks_folder, tmp_path):
    """A kit says what the test shows."""
    try:
        test = some_test(blocks_folder, name, drop_small=True, episodes=5)
    except DataError:  # its images are too small
        test = some_test(tmp_path / "demo", name, drop_small=True, episodes=5)
    except SettingsError as error:
        pytest.skip(str(error))
    kit, root = write_kit(test, tmp_path / "kit")
    check_kit(tmp_path / "kit", kit)
    episodes = episodes_of(tmp_path / "kit")
    assert [episode["number"] for episode in episodes] == [shown.number for shown in test]
    for episode, shown in zip(episodes, test, strict=True):
        assert set(episode) == {"number", "query", "size", "supports"}
        assert root / episode["query"]["image"] == shown.query_file.absolute()
        if episode["size"] is not None:
            assert episode["size"] == list(shown.size)
        for way, supports in zip(episode["supports"], shown.supports, strict=True):
            for entry, support in zip(way, supports, strict=True):
                mask = np.asarray(Image.open(tmp_path / "kit" / entry["mask"]))
                np.testing.assert_array_equal(mask, support.mask)
                assert root / entry["image"] == support.file.absolute()
                assert entry.get("box") == (None if support.box is None else list(support.box))


class OtherTruth(Folder):
    """The data set, with another label map of one image."""

    changed = ""

    def label_map(self, name: str) -> np.ndarray:
        labels = super().label_map(name)
        return np.full_like(labels, 4) if name == self.changed else labels


@pytest.mark.parametrize("name", ["fscs", "presence", "bam"])
def test_no_truth_is_in_a_kit(name, blocks_folder, tmp_path):
    """Another truth of a query and another class of it make another test with the same kit, but for the test's hash."""
    test = some_test(blocks_folder, name, episodes=1)
    episodes = [episode for episode in test.manifest.episodes if not episode.calibrates]
    test = replace(test, manifest=Manifest(test.manifest.entries, tuple(episodes)))
    data = OtherTruth(str(blocks_folder))
    data.changed = episodes[0].query
    others = Manifest(test.manifest.entries, (replace(episodes[0], query_class=4),))
    kits = [write_kit(one, tmp_path / f"kit{place}", blocks_folder)[0] for place, one in
            enumerate([test, replace(test, data=data, manifest=others)])]  # fmt: skip
    files = [{name: sha256 for name, sha256 in kit.files.items() if name != "RULES.md"} for kit in kits]
    assert files[0] == files[1] and kits[0].test != kits[1].test


def test_a_kit_names_no_novel_class(two_ways, kit):
    told = [path.read_text() for path in (kit / "kit.json", kit / "episodes.jsonl")]
    words = set(re.findall(r"\w+", "".join([*told, (kit / "RULES.md").read_text()])))
    assert not words & {"class_ids", "class_names", "calibrates", *two_ways.manifest.header.class_names.values()}
    masks = [np.asarray(Image.open(path)) for path in (kit / "masks").iterdir()]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {0, 1, 255}


def test_base_classes_are_named(blocks_folder, tmp_path):
    test = some_test(blocks_folder, "bam_gfss")
    write_kit(test, tmp_path / "kit", blocks_folder)
    assert all(episode["supports"][:3] == [[], [], []] for episode in episodes_of(tmp_path / "kit"))
    header = test.manifest.header
    base = [header.class_names[str(number)] for number in header.class_ids[:3]]
    assert ", ".join(f"{place} {name}" for place, name in enumerate(base, 1)) in (tmp_path / "kit/RULES.md").read_text()


def test_rules_follow_the_header(blocks_folder, tmp_path):
    """A kit without empty queries does not speak of them; of one way there is no presence to tell, either."""
    texts = {}
    for way, empty in ((1, True), (2, True), (1, False), (2, False)):
        folder = tmp_path / f"{way}{empty}"
        write_kit(some_test(blocks_folder, way=way, empty=empty), folder, blocks_folder)
        texts[way, empty] = (folder / "RULES.md").read_text()
    for (way, empty), text in texts.items():
        assert ("A query may show none of the classes" in text) == ("- empty queries: allowed" in text) == empty
        assert ("- empty queries: none: the class is always there" in text) == (not empty)
        assert ("presence=[…]" in text) == (empty or way > 1)
        assert ("need not show all of the classes" in text) == (way > 1 and not empty)
    assert texts[1, False].count("none of the classes") == 0


def test_kits_with_copies_stand_alone(two_ways, tmp_path):
    kit, root = write_kit(two_ways, tmp_path / "kit", copy_images=True)
    assert root == tmp_path / "kit" and kit.copied_images
    for episode, shown in zip(episodes_of(root), two_ways, strict=True):
        np.testing.assert_array_equal(read_pixels(root / episode["query"]["image"]), shown.query)


def test_a_kit_that_is_there(two_ways, blocks_folder, kit, tmp_path):
    """The same kit stays, and anything else is refused and stays as it is."""
    stamps = {path: path.stat().st_mtime_ns for path in kit.rglob("*")}
    write_kit(two_ways, kit, blocks_folder)
    assert {path: path.stat().st_mtime_ns for path in kit.rglob("*")} == stamps
    with pytest.raises(SettingsError, match="choices of --copy-images"):
        write_kit(two_ways, kit, copy_images=True)
    with pytest.raises(SettingsError, match="has the kit of"):
        write_kit(some_test(blocks_folder), kit)
    (kit / "RULES.md").write_text("mine")
    with pytest.raises(SettingsError, match=r"RULES.md is absent or was changed"):
        write_kit(two_ways, kit)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(SettingsError, match=r"not empty.*no kit"):
        write_kit(two_ways, tmp_path / "mine")
    with pytest.raises(SettingsError, match="no folder"):
        write_kit(two_ways, tmp_path / "mine" / "notes.txt")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["kit", "mine"]


def test_a_kit_is_there_whole_or_not_at_all(two_ways, tmp_path):
    def stops(test):
        yield test[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_kit(two_ways, tmp_path / "kit", progress=stops)
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_equal_tests_have_equal_kits(two_ways, kit, tmp_path):
    again, _ = write_kit(two_ways, tmp_path / "again", Path(two_ways.data.image_path("image_024")).parent.parent)
    assert again.sha256 == read_kit(kit).sha256 and again.test == two_ways.manifest.sha256


def test_answers_are_checked_where_they_are_given(kit, tmp_path):
    (first, *_) = episodes_of(kit)
    number, (height, width) = first["number"], first["size"]
    with Answers(tmp_path / "a.fsa", kit) as answers:
        with pytest.raises(AnswersError, match=rf"size {height + 1} x {width} .* expected {height} x {width}"):
            answers.add(number, np.zeros((height + 1, width), int))
        with pytest.raises(AnswersError, match="episode 99 is none of the test, which has 8"):
            answers.add(99, np.zeros((height, width), int))
        answers.add(number, np.zeros((height, width), int), presence=[True, False], score=[1, 0.25])
    assert Answers(tmp_path / "a.fsa").done == {number}


def to_pictures(folder: Path, episodes: list[dict], mode: str = "L") -> Path:
    folder.mkdir()
    for episode in episodes:
        mask = drawn_mask(episode["number"], episode["size"], len(episode["supports"]))
        picture = Image.fromarray(mask, "L")
        if mode == "P":
            picture = picture.copy()
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(folder / f"{episode['number']:04d}.png")
    return folder


@pytest.mark.filterwarnings("ignore:'mode' parameter")
@pytest.mark.parametrize("mode", ["L", "P"])
def test_pictures_are_the_same_answers(two_ways, kit, tmp_path, mode):
    written = read_answers([answer_all(tmp_path / "a.fsa", kit, episodes_of(kit))], two_ways)
    read = read_answers([to_pictures(tmp_path / "pictures", episodes_of(kit), mode)], two_ways)
    assert values(read) == values(written)


@pytest.mark.parametrize("palette", [voc_colors(), np.array([(0, 0, 0), (255, 9, 9), (9, 255, 9)])], ids=["voc", "own"])
def test_recompressed_pictures_are_refused(two_ways, kit, tmp_path, palette):
    """The same pictures, whose palettes are in other orders: no answer changes its ways without a word."""
    folder = to_pictures(tmp_path / "pictures", episodes_of(kit))
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            labels = np.asarray(image)
        save_palette(file, labels, palette)
    assert len(read_answers([folder], two_ways)) == len(two_ways)
    rng = np.random.RandomState(0)
    for file in sorted(folder.iterdir()):
        recompress(file, rng)
    with pytest.raises(RecordError, match="contradict"):
        read_answers([folder], two_ways)


def test_presence_beside_pictures(two_ways, kit, tmp_path):
    folder = to_pictures(tmp_path / "pictures", episodes_of(kit))
    rows = [f"{number},1,1,0.5\n{number},2,0,0.25\n" for number in range(len(two_ways))]
    whole = "".join(["number,way,presence,score\n", *rows])
    (folder / "presence.csv").write_text(whole)
    read = read_answers([folder], two_ways)
    assert read[2].presence.tolist() == [True, False] and read[2].score.tolist() == [0.5, 0.25]
    (folder / "presence.csv").write_text(
        whole.replace(",1,1,", ",1,True,").replace(",2,0,", ",2,0.0,")
    )  # as pandas does
    assert read_answers([folder], two_ways)[2].presence.tolist() == [True, False]
    without = f"of {len(two_ways)} episodes, and not of"
    for text, words in [
        (whole.partition("3,1,")[0], f"presence.csv tells of 3 {without} 3, 4, 5, …; expected a row for each way"),
        ("number,way,presence,score\n", f"presence.csv tells of 0 {without} 0, 1, 2, …"),
        ("", f"presence.csv tells of 0 {without} 0, 1, 2, …"),
        (whole.replace(",0.5", ",").replace("\n5,2,0,0.25", "\n5,2,0,"), "a score for each or none"),
        (whole.replace("5,1,1,0.5\n5,2,0,0.25", "5,1,1,\n5,2,0,"), r"episodes have presence and its score \(0, 1, 2"),
        (
            "number,way,presence\n" + "".join(f"{n},1,1\n" for n in range(len(two_ways))),
            "presence of episode 0 has the length 1; expected 2",
        ),
        ("number,way,presence\n2,1,1\n2,1,1\n", "is there twice"),
        ("number,way,presence\n99,1,1\n", "has no mask"),
        ("number,way,presence\n2,1,1\n2,3,1\n", "expected all from 1 to N"),
        ("number,way,presence\n2,1,yes\n", "the row 1"),
        ("number,way,presence,score\n2,1,1,nan\n", "score nan"),
        ("number,way,presence,score\n2,1,1,0.5\n2,2,1,\n", "a score for each or none"),
    ]:
        (folder / "presence.csv").write_text(text)
        with pytest.raises(RecordError, match=words):
            read_answers([folder], two_ways)


def test_presence_is_told_by_all_files_or_by_none(two_ways, kit, tmp_path):
    """Two processes wrote with other versions of a script: a mean over both would be of two rules."""
    episodes = episodes_of(kit)
    with Answers(tmp_path / "told.fsa", kit) as told:
        for episode in episodes[:2]:
            told.add(episode["number"], np.zeros(episode["size"], int), presence=[True, False])
        with pytest.raises(
            AnswersError, match=r"episode 2 has no presence, and answers before it in .*told\.fsa have pres"
        ):
            told.add(episodes[2]["number"], np.zeros(episodes[2]["size"], int))
    with Answers(tmp_path / "told.fsa", kit) as again, pytest.raises(AnswersError, match="presence and its score"):
        again.add(episodes[2]["number"], np.zeros(episodes[2]["size"], int), [True, False], [0.5, 0.5])
    with Answers(tmp_path / "rest.fsa", kit) as rest:
        for episode in episodes[2:]:
            rest.add(episode["number"], np.zeros(episode["size"], int))
    others = f"{len(episodes) - 2} episodes have no presence"
    found = rf"2 episodes have presence without a score \(0, 1\), {others} \(2, 3, 4, …"
    for partial in (False, True):
        with pytest.raises(RecordError, match=found):
            read_answers([tmp_path / "told.fsa", tmp_path / "rest.fsa"], two_ways, partial)
    mixed = tmp_path / "mixed.fsa"
    mixed.write_bytes((tmp_path / "told.fsa").read_bytes() + (tmp_path / "rest.fsa").read_bytes().partition(b"\n")[2])
    with pytest.raises(RecordError, match=found):
        read_answers([mixed], two_ways)
    with pytest.raises(AnswersError, match="answers before it"):
        Answers(mixed, kit)


def test_answers_of_several_files(two_ways, kit, tmp_path):
    """Each process has a file of its own; the answers are those of one file with all."""
    episodes = episodes_of(kit)
    one = read_answers([answer_all(tmp_path / "a.fsa", kit, episodes)], two_ways)
    parts = [answer_all(tmp_path / f"{part}.fsa", kit, episodes[part::2][::-1]) for part in (0, 1)]
    assert values(read_answers(parts, two_ways)) == values(one)
    with pytest.raises(RecordError, match="answers in two places"):
        read_answers([*parts, parts[0]], two_ways)
    with Answers(tmp_path / "exchanged.fsa", kit) as answers:
        for episode, other in zip(episodes[:2], (1, 0), strict=True):
            answers.add(episode["number"], drawn_mask(other, episode["size"], 2))
    rest = answer_all(tmp_path / "rest.fsa", kit, episodes[2:])
    assert values(read_answers([tmp_path / "exchanged.fsa", rest], two_ways)) != values(one)


def test_missing_answers(two_ways, kit, tmp_path):
    path = answer_all(tmp_path / "a.fsa", kit, episodes_of(kit)[:3])
    with pytest.raises(RecordError, match=r"5 of 8 episodes have no answer \(3, 4, 5, …\).*--partial"):
        read_answers([path], two_ways)
    read = read_answers([path], two_ways, partial=True)
    assert (read.numbers, read.missing) == ([0, 1, 2], [3, 4, 5, 6, 7])
    Answers(tmp_path / "empty.fsa", kit).close()
    with pytest.raises(RecordError, match="there is no answer"):
        read_answers([tmp_path / "empty.fsa"], two_ways, partial=True)


def raw(path: Path, test: str | None, *values) -> Path:
    """Write a file of answers with right checksums, whatever it holds."""
    path.write_bytes(header_line(test) + b"".join(map(line_of, values)))
    return path


def test_files_that_are_refused(two_ways, kit, tmp_path):
    """One line each, which names the file or the episode."""
    whole = answer_all(tmp_path / "a.fsa", kit, episodes_of(kit)).read_bytes()
    lines = whole.splitlines(keepends=True)
    other = tmp_path / "other.fsa"
    for content, words in [
        (b"", "is empty"),
        (whole[:-1], "is cut off in line 9"),
        (whole[:-40], "is cut off in line 9"),
        (lines[0][:20], "is cut off in line 1"),
        (b"".join(lines[1:]), "no file of answers"),
        (whole + lines[3], "episode 2 has two answers"),
        (b"".join(lines[:4]) + lines[4].replace(b"1", b"2", 1) + b"".join(lines[5:]), "line 5 of .* damaged"),
        (header_line("cd" * 32) + b"".join(lines[1:]), "answers the test cdcd"),
        (whole + line_of({"number": 44, "size": [1, 1], "runs": "", "presence": None}), "answers episode 44, which is"),
        (whole + line_of({"number": 44, "size": [1, 10**9], "runs": ""}), r"line 10 of .*its size is .1, 1000000000"),
        (whole + line_of([]), "it is no answer"),
        (b"\x89PNG\r\n" * 5, "no file of answers"),
    ]:
        other.write_bytes(content)
        with pytest.raises(RecordError, match=words) as error:
            read_answers([other], two_ways)
        assert "\n" not in str(error.value)
    with pytest.raises(RecordError, match="cannot be read"):
        read_answers([tmp_path / "nowhere.fsa"], two_ways)


def test_masks_that_are_refused(two_ways, kit, tmp_path):
    """Also those that a program of somebody's own wrote, without the checks of `answers.py`."""
    number, size = 0, episodes_of(kit)[0]["size"]
    answer_all(tmp_path / "a.fsa", None, [episodes_of(kit)[0]])
    good = json.loads((tmp_path / "a.fsa").read_bytes().splitlines()[1].partition(b" ")[2])
    answer_all(tmp_path / "b.fsa", None, [{"number": 0, "size": size, "supports": [0] * 3}])
    three = json.loads((tmp_path / "b.fsa").read_bytes().splitlines()[1].partition(b" ")[2])
    for change, words in [
        ({"size": [size[0] + 1, size[1]]}, f"size {size[0] + 1} x {size[1]}"),
        ({"runs": three["runs"]}, "has the value 3"),
        ({"runs": good["runs"][:-8]}, "damaged"),
        ({"runs": "AAAA"}, "damaged"),
        ({"presence": [True]}, "presence of episode 0 has the length 1"),
        ({"labels": [1]}, "is labels; expected a mask"),
    ]:
        path = raw(tmp_path / "c.fsa", two_ways.manifest.sha256, {**good, **change})
        with pytest.raises(RecordError, match=words):
            read_answers([path], two_ways, partial=True)
    assert read_answers([raw(tmp_path / "c.fsa", None, good)], two_ways, partial=True).numbers == [number]


def test_sizes_of_the_input_agree(blocks_folder, tmp_path):
    test = some_test(blocks_folder, "hsnet")
    with Answers(tmp_path / "a.fsa") as answers:
        for place, side in enumerate((40, 40, 48)):
            answers.add(place, np.eye(side, dtype=int))
    with pytest.raises(RecordError, match=r"48 x 48, expected 40 x 40 as others have"):
        read_answers([tmp_path / "a.fsa"], test, partial=True)
    with Answers(tmp_path / "b.fsa") as answers:
        answers.add(0, np.zeros((40, 48), int))
    with pytest.raises(RecordError, match="expected the square S x S"):
        read_answers([tmp_path / "b.fsa"], test, partial=True)
    huge = {"number": 0, "size": [9000, 9000], "runs": "AAAA", "presence": None, "score": None}  # nothing is decoded
    with pytest.raises(RecordError, match="9000 x 9000; expected the square S x S of the method's input, S up to 2048"):
        read_answers([raw(tmp_path / "c.fsa", None, huge)], test, partial=True)
    sized = Test(test.manifest, test.data, test.protocol, image_size=40)
    assert asked_answers(sized)[0]["size"] == [40, 40]


def test_pictures_that_are_refused(two_ways, kit, tmp_path):
    folder = to_pictures(tmp_path / "pictures", episodes_of(kit))
    size = episodes_of(kit)[0]["size"]
    for name, picture, words in [
        (
            "0000.png",
            Image.fromarray(np.full(size, 255, np.uint8)),
            "marks a way with 255; write its number, from 1 to 2, and 0",
        ),
        ("0000.png", Image.new("L", (5, 5)), "has the size 5 x 5"),
        ("0.png", Image.new("L", (5, 5)), "episode 0 has two answers in"),
        ("77.png", Image.new("L", (5, 5)), "answers episode 77, which is none of the 8"),
        ("cat.png", Image.new("L", (5, 5)), "holds 'cat.png'"),
    ]:
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        picture.save(folder / name)
        with pytest.raises(RecordError, match=words):
            read_answers([folder], two_ways)
        (folder / name).unlink() if before is None else (folder / name).write_bytes(before)
    content = (folder / "0000.png").read_bytes()
    header = b"IHDR" + (10_000).to_bytes(4, "big") * 2 + content[24:29]
    (folder / "0000.png").write_bytes(content[:12] + header + crc32(header).to_bytes(4, "big") + content[33:])
    with pytest.raises(RecordError, match="has the size 10000 x 10000"):  # which nobody decodes
        read_answers([folder], two_ways)
    (folder / "0000.png").write_bytes(content[:60])
    with pytest.raises(RecordError, match="cannot be decoded"):
        read_answers([folder], two_ways)
    (tmp_path / "none").mkdir()
    with pytest.raises(RecordError, match="holds no label map"):
        read_answers([tmp_path / "none"], two_ways)


def test_the_example_runs(two_ways, kit, blocks_folder, tmp_path):
    """`example.py` of a kit answers everything with background, and goes on where it was stopped; it may be edited."""
    example = (kit / "example.py").read_text()
    assert repr(str(blocks_folder)) in example
    (kit / "example.py").write_text(example + "# mine\n")
    made = read_kit(kit)
    check_kit(kit, made)
    assert write_kit(two_ways, kit, blocks_folder)[0] == made
    assert (kit / "example.py").read_text().endswith("# mine\n")
    for _ in range(2):
        subprocess.run([sys.executable, str(kit / "example.py")], cwd=tmp_path, check=True)
    read = read_answers([tmp_path / "mine.fsa"], two_ways)
    assert len(read) == 8 and not any(answer.label_map.any() for answer in read)


def test_kits_are_checked(kit, tmp_path):
    content = json.loads((kit / "kit.json").read_text())
    for change, words in [
        ({"version": 2}, "version"),
        ({"files": {"a": 1}}, "files"),
        ({"fold": -1}, "fold"),
        ({"more": 1}, "more"),
    ]:
        (tmp_path / "kit.json").write_text(json.dumps(content | change))
        with pytest.raises(RecordError, match=words):
            read_kit(tmp_path)
    (tmp_path / "kit.json").write_text(json.dumps(content | {"files": {"../x": "ab"}}))
    with pytest.raises(RecordError, match="absent or was changed"):
        check_kit(tmp_path, read_kit(tmp_path))
    with pytest.raises(AnswersError, match="no kit"):
        Answers(tmp_path / "a.fsa", tmp_path)
    assert read_label_map(next((kit / "masks").iterdir())).any()


def test_a_kit_of_classification(photos, tmp_path):
    """Queries come in the order in which the test shows them, and their labels go back in it."""
    rules, data = load_protocol("fort"), ImageFolder(str(photos))
    task = ClassificationTask(way=3, shot=2, queries=3, episodes=4)
    test = Test(rules.manifest(data, task), data, rules)
    kit, root = write_kit(test, tmp_path / "kit", photos)
    check_kit(tmp_path / "kit", kit)
    for episode, shown in zip(episodes_of(tmp_path / "kit"), test, strict=True):
        assert set(episode) == {"number", "supports", "queries"}
        for entry, photo in zip(episode["queries"], shown.queries, strict=True):
            assert re.fullmatch(r"images/\d{6}\.\w+", entry["image"])  # no name of a class
            with Image.open(root / entry["image"]) as image:
                assert np.array_equal(np.asarray(image.convert("RGB")), photo.image)
        assert [len(way) for way in episode["supports"]] == [2, 2, 2]
    with Answers(tmp_path / "a.fsa", tmp_path / "kit") as answers:
        for place in range(4):
            answers.add(place, labels=np.arange(9) % 3 + 1)
        for labels, words in [([1] * 8, "8 labels up to 1; expected 9"), ([4] * 9, "up to 4; expected 9 from 1 to 3")]:
            answers.done.clear()
            with pytest.raises(AnswersError, match=words):
                answers.add(0, labels=labels)
        with pytest.raises(AnswersError, match="is a mask; expected labels"):
            answers.add(0, np.eye(3, dtype=int))
    read = read_answers([tmp_path / "a.fsa"], test)
    assert [answer.labels.tolist() for answer in read] == [[1, 2, 3] * 3] * 4
    subprocess.run([sys.executable, str(tmp_path / "kit" / "example.py")], cwd=tmp_path, check=True)
    assert read_answers([tmp_path / "mine.fsa"], test)[3].labels.tolist() == [1] * 9
