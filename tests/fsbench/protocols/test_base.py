"""Protocol files: every choice is there and of a known value, and is explained."""

import re

import pytest
import yaml

from fsbench.errors import SettingsError
from fsbench.paths import CONFIGS
from fsbench.protocols.base import load_protocol, protocol_names, read_protocol
from fsbench.tables.protocol_text import LABELS, as_markdown, choices, side_by_side


def written(tmp_path, **changes):
    values = yaml.safe_load((CONFIGS / "protocols" / "hsnet.yaml").read_text()) | changes
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value != "absent"}))
    return path


def test_the_official_numbers_of_episodes():
    counts = {name: load_protocol(name).episode_count for name in protocol_names()}
    assert [counts["fscs"](dataset, 346) for dataset in ("pascal", "coco")] == [1000, 1000]
    assert [counts["hsnet"](dataset, 2400) for dataset in ("pascal", "fss1000")] == [1000, 2400]
    assert counts["fssdino"]("coco", 0) == 1000
    assert [counts["pfenet"](dataset, 364) for dataset in ("pascal", "coco")] == [1000, 4000]
    incontext = {"coco": 1000, "pascal": 1000, "fss1000": 2400, "lvis": 2300, "pascal_part": 2500, "paco_part": 2500}
    for name in ("incontext", "incontext518"):
        assert {dataset: counts[name](dataset, 2400) for dataset in incontext} == incontext


def test_an_unknown_protocol_is_named_with_the_known_ones():
    with pytest.raises(
        SettingsError,
        match="unknown protocol 'pfscs'; there are: fscs, fssdino, hsnet, incontext, incontext518, pfenet",
    ):
        load_protocol("pfscs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"void": "maybe"}, "void is 'maybe', expected 'background' or 'ignore'"),
        ({"void": "absent"}, "void is missing; expected the keys name, version, "),
        ({"querysize": "input"}, "the key 'querysize' is unknown; did you mean 'query_size'?"),
        ({"query_size": 0}, "query_size is 0, expected 'original', 'input' or 1 or more"),
        (
            {"frame": 512},
            "resize is 'pil', query_size input and frame 512; expected a frame from 1 with resize 'frame'",
        ),
        ({"resize": "frame", "query_size": "original"}, "query_size original and frame None; expected a frame from 1"),
        ({"resize": "frame", "query_size": "original", "frame": 0}, "and frame 0; expected a frame from 1"),
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


def test_every_choice_is_explained_in_words():
    protocols = [load_protocol(name) for name in protocol_names()]
    for protocol in protocols:
        words = choices(protocol)
        assert set(LABELS) <= set(words)
        assert not [key for key in LABELS if words[key] == str(getattr(protocol, key))]
    text = side_by_side(protocols, 140)
    assert max(map(len, text.splitlines())) <= 140
    assert all(label in text for label in LABELS.values())
    shared = text.partition("The same in all of them")[2]
    assert LABELS["shots"] in shared and LABELS["void"] not in shared
    assert len(as_markdown(protocols).splitlines()) == len(LABELS) + 3
