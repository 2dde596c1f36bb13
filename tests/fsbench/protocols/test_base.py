"""Protocol files: the class, every choice of a known value, and what is said of it in words."""

import re
from dataclasses import replace

import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.base.plugins import NamedFile
from fsbench.protocols import composed, registry
from fsbench.protocols.reading import load_protocol, protocol_names, protocol_of, read_protocol
from fsbench.protocols.reading import load_segmentation
from fsbench.results.tables.protocol_text import as_markdown, labels, side_by_side
from tests.fsbench.runs import some_header


def written(tmp_path, **changes):
    values = yaml.safe_load((CONFIGS / "protocols" / "hsnet.yaml").read_text()) | changes
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value != "absent"}))
    return path


def test_the_official_numbers_of_episodes():
    counts = {name: load_protocol(name).episode_count for name in protocol_names()}
    assert [counts["fscs"](dataset, 346) for dataset in ("pascal", "coco")] == [1000, 1000]
    assert [counts["hsnet"](dataset, 2400) for dataset in ("pascal", "fss1000")] == [1000, 2400]
    assert counts["fssdino"]("coco", 0) == 1000 and counts["fort"]("cub", 0) == 2000
    assert [counts["pfenet"](dataset, 364) for dataset in ("pascal", "coco")] == [1000, 4000]
    incontext = {"coco": 1000, "pascal": 1000, "fss1000": 2400, "lvis": 2300, "pascal_part": 2500, "paco_part": 2500}
    for name in ("incontext", "incontext518"):
        assert {dataset: counts[name](dataset, 2400) for dataset in incontext} == incontext


def test_an_unknown_protocol_is_named_with_the_known_ones():
    with pytest.raises(
        SettingsError,
        match=f"unknown protocol 'pfscs'; did you mean 'fscs'\\? There are: {', '.join(protocol_names())}",
    ):
        load_protocol("pfscs")


def test_a_protocol_of_classification_segments_nothing():
    with pytest.raises(SettingsError, match="the protocol fort is one of classification, which has no masks"):
        load_segmentation("fort")
    with pytest.raises(SettingsError, match="of the kind None names the protocol fort, whose kind is classification"):
        protocol_of(some_header(protocol="fort"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"class_path": "absent"},
            "has no class_path; expected a protocol's class: fsbench.protocols.composed.Composed",
        ),
        (
            {"class_path": "fsbench.protocols.composed.Compsed"},
            "has the class_path 'fsbench.protocols.composed.Compsed'",
        ),
        ({"class_path": "fsbench.protocols.segmentation.Segmentation"}, "the key 'drawing_words' is unknown"),
        ({"class_path": "fsbench.protocols.base.Choice"}, "expected a protocol's class"),
        ({"class_path": "os.system"}, "an installed package names as an entry point of fsbench.protocols"),
        ({"class_path": ["fsbench.protocols.composed.Composed"]}, "expected a protocol's class"),
        ({"version": "absent"}, "version is missing; expected the keys name, version, "),
        ({"version": 0}, "version is 0, expected a version from 1"),
        ({"void": "maybe"}, "void is 'maybe', expected 'background', 'ignore' or 'present'"),
        ({"sampler": "hsnet"}, "the key 'sampler' is unknown"),
        ({"querysize": "input"}, "the key 'querysize' is unknown; did you mean 'query_size'?"),
        ({"query_size": 0}, "query_size is 0, expected a word for a size, or 1 or more"),
        (
            {"frame": 512},
            "resize is 'pil', query_size input and frame 512; expected a frame from 1 with resize 'frame'",
        ),
        ({"resize": "frame", "query_size": "original"}, "query_size original and frame None; expected a frame from 1"),
        ({"resize": "frame", "query_size": "original", "frame": 0}, "and frame 0; expected a frame from 1"),
        ({"label_resize": "padded"}, "resize is 'pil' and label_resize 'padded'; expected both 'padded' or none"),
        (
            {"resize": "padded", "query_size": "there_and_back"},
            "query_size is 'there_and_back' and resize 'padded'; expected images that are stretched",
        ),
        ({"absent": "gone"}, "absent is 'gone', expected 'zero', 'left_out' or 'nan'"),
        ({"seed": "zero"}, "seed is 'zero', expected a number"),
        ({"empty_queries": 1}, "empty_queries is 1, expected true or false"),
        ({"episodes": 1000}, "episodes is 1000, expected a mapping"),
        ({"episodes": {"coco": 1000}}, "episodes has coco, expected an entry 'others', too"),
        ({"episodes": {"others": "most"}}, "episodes.others is 'most', expected a number or 'all'"),
    ],
)
def test_a_protocol_with_a_wrong_choice_is_refused(tmp_path, changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        read_protocol(written(tmp_path, **changes))
    assert read_protocol(written(tmp_path)) == load_protocol("hsnet")


def test_a_file_says_in_what_it_differs_from_its_base(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("base: bam\nname: mine\nversion: 3\nsummary: mine\nepisodes: {others: 7}\n")
    bam = load_protocol("bam")
    assert read_protocol(file) == replace(bam, name="mine", version=3, summary="mine", episodes={"others": 7})
    for base, message in (
        ("baam", "has the base 'baam'; did you mean 'bam'"), ("[bam]", r"has the base \['bam'\]"),
    ):  # fmt: skip
        file.write_text(f"base: {base}\nname: mine\nversion: 3\nsummary: mine\n")
        with pytest.raises(SettingsError, match=message):
            read_protocol(file)


def test_a_file_that_is_its_own_base_is_refused(tmp_path, monkeypatch):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("base: other\n")
    other.write_text("base: one\n")
    monkeypatch.setattr(registry, "named_files", lambda *_: {"one": NamedFile(one), "other": NamedFile(other)})
    with pytest.raises(SettingsError, match=r"one.yaml has the base other, whose own base it is"):
        read_protocol(one)


@pytest.mark.parametrize("kind", ["incontext.InContext", "cdfss.CrossDomain", "fscs.FSCS"])
def test_no_default_stands_for_the_words_of_a_class(tmp_path, kind):
    file = tmp_path / "mine.yaml"
    file.write_text(f"class_path: fsbench.protocols.{kind}\nname: mine\nversion: 1\nsummary: mine\n")
    with pytest.raises(SettingsError, match=r"(episodes|episode_draw) is missing"):
        read_protocol(file)


def test_a_class_that_draws_its_whole_manifest_is_refused(tmp_path, monkeypatch):
    """DRAWS and nested_in would change nothing."""

    class Whole(composed.Composed):
        def manifest(self, index, task):
            raise AssertionError

    monkeypatch.setattr(composed, "Whole", Whole, raising=False)
    with pytest.raises(SettingsError, match=r"composed\.Whole', which has a method manifest .* official_manifest"):
        read_protocol(written(tmp_path, class_path="fsbench.protocols.composed.Whole"))


def test_every_choice_is_explained_in_words():
    protocols = [load_protocol(name) for name in protocol_names()]
    for protocol in protocols:
        assert not [choice for choice in protocol.choices() if choice.value != 1 and not choice.consequence]
    text, names = side_by_side(protocols, 140), labels(protocols)
    assert max(map(len, text.splitlines())) <= 140 and all(label in text for label in names)
    assert len(as_markdown(protocols).splitlines()) == len(names) + 3
    text = side_by_side([protocol for protocol in protocols if protocol.has_masks], 140)
    shared = text.partition("The same in all of them")[2]
    assert "K shots become one answer" in shared and "void pixels (255)" not in shared
