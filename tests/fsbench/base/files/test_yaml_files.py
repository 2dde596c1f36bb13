"""Values of YAML files that are of another kind or out of range are refused with one line, whatever file it is."""

import math
from pathlib import Path

import pytest
import yaml

from fsbench.base.errors import FsbenchError
from fsbench.base.paths import CONFIGS
from fsbench.datamodules.datasets.folder import read_description
from fsbench.protocols.reading import read_protocol
from fsbench.runner.grid.spec import read_grid

NO_COUNT = [-5, True, 1.5, math.inf, math.nan, None, "x", [1], 10**30]
GRID = {"methods": ["emat"], "datasets": ["demo"], "folds": [0]}
FOLDER = {"name": "x", "classes": ["a", "b"], "folds": [["a"], ["b"]]}


def refused(tmp_path: Path, content: dict, read) -> str:
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(FsbenchError) as error:
        read(file)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "name": [None, "", 3, True, ["x"]],
        "classes": [None, ["a", None], {1: None, 2: "b"}, {True: "a"}, {-1: "a"}, {math.inf: "a"}, {None: "a"}, "ab"],
        "folds": [None, [None], [[None]], [[1.0]], [[True]], [[math.inf]], [["c"]], 1],
        "train": [None, ["a"], True],
        "min_pixels": NO_COUNT,
        "augment_threshold": [-1, 1.5, True, math.inf, math.nan, None, "x"],
        "query_sampling": [None, "x", 1],
    }.items(),
)
def test_a_folders_description(tmp_path, key, values):
    for value in values:
        assert key in refused(tmp_path, {**FOLDER, key: value}, read_description)


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "name": [None, 3, True],
        "version": [*NO_COUNT[:-1], 0],
        "draw": [None, 1, "lists", {"rule": 1}, {"rule": "nothing"}, {"sede": 1}],
        "draw.seed": [value for value in NO_COUNT if value is not None],
        "draw.episodes": [{"others": value} for value in (*NO_COUNT[:-1], 0)] + [None, {}, []],
        "draw.empty_queries": [None, 1, "no"],
        "draw.ways": [None, 1, "many"],
        "draw.image_lists": [None, 1, "nobody", {}, {"coco": "bam"}],
        "view": [None, 1, "whole", {"resise": "cv2"}],
        "view.resize": [None, 1, "nothing"],
        "counting": [None, 1, "pictures", {"viod": "ignore"}],
        "counting.void": [None, 1, "nothing"],
        "metrics": [None, 1, "mIoU", [1], [None], [[]], ["mIou"], [{"IFA-figure": {"batch": True}}]],
        "words.task": [None, 1, []],
    }.items(),
)
def test_a_protocol(tmp_path, key, values):
    part, _, entry = key.partition(".")
    for value in values:
        content = yaml.safe_load((CONFIGS / "protocols" / "pfenet.yaml").read_text())
        if entry:
            content.setdefault(part, {})[entry] = value
        else:
            content[part] = value
        message = refused(tmp_path, content, read_protocol)
        assert (entry or part) in message and "\n" not in message, (value, message)


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "methods": [None, [None], [1], [], ["nope"]],
        "folds": [None, *([value] for value in NO_COUNT)],
        "shots": [None, [0], *([value] for value in NO_COUNT)],
        "seeds": [None, *([value] for value in NO_COUNT)],
        "devices": [0, *(value for value in NO_COUNT if value is not None)],
        "settings": [[None], [1]],
        "data_roots": [None, {"demo": None}, ["x"]],
        "fast": [1, "yes", None],
        "checkpoint": [3, True],
    }.items(),
)
def test_a_grid(tmp_path, key, values):
    for value in values:
        message = refused(tmp_path, {**GRID, key: value}, lambda file: read_grid([file]))
        assert "\n" not in message and (key in message or "unknown" in message)
