"""Protocol files: the parts that they name, every choice of a known value, and what is said of it in words."""

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.base.plugins import NamedFile
from fsbench.protocols import reading
from fsbench.protocols.conditions import NOT_STATED
from fsbench.protocols.draws.boxes import BoxedSupports
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.presence import Presence
from fsbench.protocols.reading import (
    load_protocol,
    load_segmentation,
    protocol_names,
    protocol_of,
    read_protocol,
    stored_protocol,
)
from fsbench.results.tables.protocol_text import as_markdown, labels, side_by_side
from tests.fsbench.runs import some_header

PARTS = ("draw", "view", "counting", "words")


def written(tmp_path, **changes):
    """Write HSNet's file with other values; those of a part join it, None leaves an entry out."""
    values = yaml.safe_load((CONFIGS / "protocols" / "hsnet.yaml").read_text())
    for key, value in changes.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) and key in PARTS else value
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return path


def test_the_official_numbers_of_episodes():
    counts = {name: load_protocol(name).draw.episode_count for name in protocol_names()}
    assert [counts["fscs"](dataset, 346) for dataset in ("pascal", "coco")] == [1000, 1000]
    assert [counts["hsnet"](dataset, 2400) for dataset in ("pascal", "fss1000")] == [1000, 2400]
    assert counts["isaid"]("isaid", 3108) == 3108
    assert counts["fssdino"]("coco", 0) == 1000 and counts["fort"]("cub", 0) == 2000
    assert [counts["pfenet"](dataset, 364) for dataset in ("pascal", "coco")] == [1000, 4000]
    incontext = {"coco": 1000, "pascal": 1000, "fss1000": 2400, "lvis": 2300, "pascal_part": 2500, "paco_part": 2500}
    for name in ("incontext", "incontext518"):
        assert {dataset: counts[name](dataset, 2400) for dataset in incontext} == incontext


def test_numbers_of_hdmnets_program_differ_between_test_and_validation():
    protocol = load_protocol("hdmnet")
    assert [protocol.draw.episode_count(name, 5) for name in ("pascal", "coco")] == [1000, 10000]
    validation = protocol.in_validation
    assert [validation.draw.episode_count(name, 5) for name in ("pascal", "coco")] == [1000, 1000]
    assert (protocol.draw.seed, validation.draw.seed) == (510, 321)


@pytest.mark.parametrize(
    ("name", "drawn_by", "words"),
    [
        ("bam_gfss", 123, "365, 382, 322, 988"),
        ("hdmnet", 123, "365, 382, 322, 988, 98, 742, 17, 595, 106"),
        ("isaid_r2net", 321, "124, 799, 809, 712"),
    ],
)
def test_seeds_are_those_that_numpy_draws(name, drawn_by, words):
    draw = load_protocol(name).draw
    seeds = np.random.RandomState(drawn_by).randint(0, 1000, len(draw.averaged_seeds)).tolist()
    assert seeds == [*draw.averaged_seeds] and draw.seed == seeds[0] and words in draw.seed_words()


def test_an_unknown_protocol_is_named_with_the_known_ones():
    with pytest.raises(
        SettingsError,
        match=r"unknown protocol 'pfscs'; did you mean 'fscs'\? \(see: fsbench list protocols\)$",
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
        ({"version": None}, "version is missing; expected the keys name, version, "),
        ({"version": 0}, "version is 0, expected a version from 1"),
        ({"sampler": "hsnet"}, "the key 'sampler' is unknown"),
        ({"view": "pil"}, "view is 'pil', expected a mapping"),
        ({"counting": "pixels"}, "counting is 'pixels', expected a mapping, or images"),
        ({"draw": {"rule": "listd"}}, "draw.rule is 'listd'; did you mean 'listed'?"),
        ({"draw": {"rule": "os.system"}}, "an installed package names as an entry point of fsbench.protocols"),
        ({"draw": {"rule": ["listed"]}}, "draw.rule is ['listed']"),
        ({"draw": {"rule": "presence"}}, "the key 'episode_draw' is unknown; did you mean 'episodes'?"),
        ({"draw": {"seed": "zero"}}, "seed is 'zero', expected a number"),
        ({"draw": {"empty_queries": 1}}, "empty_queries is 1, expected true or false"),
        ({"draw": {"episodes": 1000}}, "episodes is 1000, expected a mapping"),
        ({"draw": {"episodes": {"coco": 1000}}}, "episodes has coco, expected an entry 'others', too"),
        ({"draw": {"episodes": {"others": "most"}}}, "episodes.others is 'most', expected a number or 'all'"),
        ({"counting": {"void": "maybe"}}, "void is 'maybe', of which there is no rule; there are: background, ignore"),
        ({"counting": {"absent": "gone"}}, "absent is 'gone', expected 'zero', 'left_out' or 'nan'"),
        ({"view": {"querysize": "input"}}, "the key 'querysize' is unknown; did you mean 'query_size'?"),
        ({"view": {"query_size": 0}}, "query_size is 0, expected a word for a size, or 1 or more"),
        (
            {"view": {"frame": 512}},
            "resize is 'pil', query_size input and frame 512; expected a frame from 1 with resize 'frame'",
        ),
        *(
            ({"view": {"resize": "frame", "query_size": "original"} | frame}, message)
            for frame, message in (
                ({}, "query_size original and frame None; expected a frame from 1"),
                ({"frame": 0}, "and frame 0; expected a frame from 1"),
            )
        ),
        ({"view": {"label_resize": "padded"}}, "resize is 'pil' and label_resize 'padded'; expected both 'padded'"),
        (
            {"view": {"resize": "padded", "query_size": "there_and_back"}},
            "query_size is 'there_and_back' and resize 'padded'; expected images that are stretched",
        ),
        ({"metrics": "mIoU"}, "metrics is 'mIoU', expected a list of names of metrics"),
        ({"metrics": ["mIou"]}, "metrics has 'mIou'; did you mean 'mIoU'?"),
        ({"metrics": ["IFA-figure"]}, "metrics.IFA-figure: batch is missing"),
        ({"metrics": [{"IFA-figure": {"batch": "12"}}]}, "metrics.IFA-figure: batch is '12', expected a number"),
        ({"metrics": [{"IFA-figure": {"batch": 0}}]}, "IFA-figure: batch is 0, expected 1 or more"),
        ({"metrics": [{"mIoU": {"absent": "nan"}}]}, "it takes no values, write its name alone"),
        ({"metrics": ["mIoU", "mIoU"]}, "metrics has mIoU twice"),
        ({"metrics": []}, "metrics is empty"),
        ({"words": {"metric": "mIou"}}, "words.metric is 'mIou', which there is not; did you mean 'mIoU'?"),
        ({"words": {"row_dataset": "COCO-20i"}}, "words: the key 'row_dataset' is unknown"),
        ({"resize": "pil"}, "the key 'resize' is unknown; it is one of the part view"),
        ({"class_path": "mine.Protocol"}, "a protocol names its parts and has no class, see docs/guides/protocols.md"),
        ({"view": {"label_resize": "letterbox"}}, "label_resize is 'letterbox', expected 'pil', 'pil_both', 'cv2' or"),
        ({"view": {"keeps_padding": True}}, "keeps_padding is for views of training"),
        ({"view": {"resize": "centre"}}, "resize is 'centre', expected another rule for images with masks"),
        ({"draw": {"episods": 1}}, "draw: the key 'episods' is unknown; did you mean 'episodes'?"),
        ({"draw": {"further_seeds": [-1]}}, "seed is -1, expected a seed from 0"),
        ({"draw": {"image_lists": {}}}, "image_lists is empty, expected an entry 'others'"),
        ({"draw": {"all_settings": True}}, "all_settings is true and seed 0; expected seed null"),
        ({"draw": {"processes_by_themselves": True}}, "processes draw by themselves with workers 0"),
        (
            {"draw": {"processes_by_themselves": True, "workers": 4}},
            "depends_on is 'no', which does not go with processes that draw by themselves",
        ),
        (
            {"draw": {"processes_by_themselves": True, "workers": 4, "depends_on": "workers+gpus", "batch": 2}},
            "batch is 2, which does not go with processes that draw by themselves",
        ),
        (
            {
                "draw": {
                    **{"processes_by_themselves": True, "workers": 4, "depends_on": "workers+gpus"},
                    **{"episode_draw": "image then class", "image_lists": "bam", "min_object": "2048 query+support"},
                }
            },
            "episode_draw is 'image then class'; expected one of HSNet's",
        ),
        ({"draw": {"ways": "any"}}, "ways is 'any', empty_queries false and seed 0; expected seed null"),
        ({"draw": {"empty_queries": True}}, "empty_queries true and seed 0; expected seed null"),
        ({"draw": {"seed": None, "further_seeds": [1]}}, "seed is None and further_seeds [1]; expected one number"),
        ({"draw": {"further_seeds": [0, 1]}}, "seed is 0 and further_seeds [0, 1]; expected one number, and others"),
        ({"more_metrics": ["mIoU-mean"]}, "metrics has mIoU-mean, which is a mean over draws whose queries share"),
        ({"more_metrics": ["AUROC", "AUROC"]}, "more_metrics has AUROC twice"),
        ({"counting": {"calibrated": True}}, "the draw has no episodes that only calibrate"),
        ({"counting": "images"}, "the draw is of masks, and counting counts images"),
        ({"metrics": [{"mIoU-novel": {"absent_is_zero": True}}]}, "which is a mean over draws whose queries share"),
    ],
)
def test_a_protocol_with_a_wrong_choice_is_refused(tmp_path, changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        read_protocol(written(tmp_path, **changes))
    assert read_protocol(written(tmp_path)) == load_protocol("hsnet")


def own_file(tmp_path, text):
    """Write a file of one's own: a name, a version and a summary, and then `text`."""
    (tmp_path / "mine.yaml").write_text(f"name: mine\nversion: 3\nsummary: mine\n{text}\n")
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    ("text", "base", "draw"),
    [
        ("base: bam\ndraw: {episodes: {others: 7}}", "bam", {"episodes": {"others": 7}}),
        ("base: pfenet\ndraw: {rule: listed, seed: 3}", "pfenet", {"seed": 3}),
    ],
)
def test_a_file_says_in_what_it_differs_from_its_base(tmp_path, text, base, draw):
    """Also where it names the rule that its base has."""
    known = load_protocol(base)
    expected = replace(known, name="mine", version=3, summary="mine", draw=replace(known.draw, **draw))
    assert read_protocol(own_file(tmp_path, text)) == expected


def test_a_file_of_another_rule_than_its_base_takes_no_values_of_it(tmp_path):
    found = read_protocol(own_file(tmp_path, "base: hsnet\ndraw: {rule: presence}"))
    assert found.draw == Presence() and found.view == load_protocol("hsnet").view


def test_a_file_that_is_its_own_base_is_refused(tmp_path, monkeypatch):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("base: other\n")
    other.write_text("base: one\n")
    monkeypatch.setattr(reading, "named_files", lambda *_: {"one": NamedFile(one), "other": NamedFile(other)})
    with pytest.raises(SettingsError, match=r"one.yaml has the base other, whose own base it is"):
        read_protocol(one)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: baam", "has the base 'baam'; did you mean 'bam'"),
        ("base: [bam]", "has the base ['bam']"),
        ("", "draw is missing; expected the rule that draws"),
        ("draw: {rule: fixed supports}", "expected resize 'padded' and weak_supports false"),
        ("draw: {rule: fixed supports, runs: 0}", "runs is 0, expected 1 or more"),
        ("draw: {rule: labelled images}", "the draw is of labelled images, and counting counts pixels"),
        ("draw: {rule: presence, seed: null}", "seed is null, and the draw has one stream for all episodes"),
        ("draw: {rule: presence, ways: any}", "ways is 'any', and the draw knows 'one' alone"),
        ("base: fort\nmetrics: [mIoU]", "metrics has mIoU, which is one of masks; expected accuracy or error"),
    ],
)
def test_a_file_of_parts_that_do_not_go_together_is_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        read_protocol(own_file(tmp_path, text))


def test_a_metric_that_is_shown_is_no_further_one_of_the_base(tmp_path):
    found = read_protocol(own_file(tmp_path, "base: bam_gfss\nmetrics: [mIoU-mean: {absent_is_zero: true}]"))
    assert found.default_metrics == ("mIoU-mean",) and found.metric_names.count("mIoU-mean") == 1


class UnfinishedDraw(Draw):
    """A draw of a package that says nothing of its episodes."""


class OwnBoxes(BoxedSupports):
    """A draw of a package, after a published one."""


class Undecorated(BoxedSupports):
    """A draw of a package whose value no file could give."""

    margin: int = 3


def test_a_draw_of_a_package_states_nothing_that_is_anothers(tmp_path, monkeypatch):
    kinds = {"unfinished": UnfinishedDraw, "own boxes": OwnBoxes, "undecorated": Undecorated}
    monkeypatch.setattr(reading, "plug_in_part", lambda name, kind: kinds[name])
    stated = read_protocol(own_file(tmp_path, "draw: {rule: own boxes}")).conditions("pascal")
    assert (stated["image_lists"], stated["episode_draw"]) == (NOT_STATED, NOT_STATED)
    for rule, message in (
        ("unfinished", "is an unfinished class: UnfinishedDraw lacks official_episodes"),
        ("undecorated", r"the values margin; expected @dataclass\(frozen=True\) above it"),
    ):
        with pytest.raises(SettingsError, match=message):
            read_protocol(own_file(tmp_path, f"draw: {{rule: {rule}}}"))


def test_every_choice_is_explained_in_words():
    protocols = [load_protocol(name) for name in protocol_names()]
    for protocol in protocols:
        assert all(choice.words for choice in protocol.choices())
    text, names = side_by_side(protocols, 140), labels(protocols)
    assert max(map(len, text.splitlines())) <= 140 and all(label in text for label in names)
    assert len(as_markdown(protocols).splitlines()) == len(names) + 3
    text = side_by_side([protocol for protocol in protocols if protocol.has_masks], 140)
    shared = text.partition("The same in all of them")[2]
    assert "K shots become one answer" in shared and "void pixels (255)" not in shared


OWN = {
    "name": "mine", "version": 1, "summary": "a test", "draw": {"seed": 5678, "image_lists": "hsnet"},
    "words": {"notes": {"pascal": ["verified by nobody"]}},
}  # fmt: skip
"""Parts as a header has them, which may be a stranger's."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draw": OWN["draw"] | {"workers": {"others": 10**12}}}, "workers.others is 1000000000000, expected"),
        ({"draw": OWN["draw"] | {"episodes": {"others": 10**8}}}, "episodes.others is 100000000, expected"),
        ({"summary": "x" * 600}, "the parts.summary has 600 characters, expected 500 at most"),
        ({"words": {"notes": {"pascal": ["y" * 400] * 60}}}, "characters, expected 20,000 at most"),
    ],
)  # fmt: skip
def test_parts_of_a_stranger_keep_nobody_waiting(change, message):
    assert stored_protocol(OWN).draw.seed == 5678
    with pytest.raises(SettingsError, match=re.escape(message)):
        stored_protocol(OWN | change)


def test_the_content_of_a_file_is_as_good_as_the_file(tmp_path):
    content = {"base": "pfenet", "name": "mine", "version": 3, "summary": "mine", "view": {"query_size": "input"}}
    protocol = load_protocol(content)
    assert protocol == load_protocol(own_file(tmp_path, "base: pfenet\nview: {query_size: input}"))
    assert load_protocol(protocol.parts) == stored_protocol(protocol.parts) == protocol and "base" in content
    with pytest.raises(SettingsError, match="the key 'base' is unknown"):
        stored_protocol(content)
    with pytest.raises(SettingsError, match=r"^protocol has the base 'pfe'; did you mean 'pfenet'"):
        load_protocol(content | {"base": "pfe"})


def test_a_list_names_no_file_of_its_readers_machine(tmp_path):
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: 1\n")
    with pytest.raises(SettingsError, match="unknown protocol"):
        protocol_of(some_header(protocol=str(secret)))


def test_words_of_a_file_of_ones_own_are_said_to_be_its_own():
    header = some_header(dataset="pascal", protocol="mine", protocol_parts=OWN)
    assert "the protocol mine says: verified by nobody" in protocol_of(header).rule_notes(header, {})
