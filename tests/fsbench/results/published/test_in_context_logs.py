"""The figures of the released logs of GF-SAM and Matcher: complete, and of the classes and episodes of the protocol."""

import csv

import pytest

from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.paco_part import PacoPart
from fsbench.datamodules.datasets.pascal_part import PascalPart
from fsbench.protocols.reading import load_protocol
from fsbench.results.published.scores import FOLDER

OURS = {
    "COCO-20i": "coco", "PASCAL-5i": "pascal", "FSS-1000": "fss1000", "iSAID-5i": "isaid", "LVIS-92i": "lvis",
    "PACO-Part": "paco_part", "PASCAL-Part": "pascal_part",
}  # fmt: skip
LOGGED = {kind.name: kind for kind in (Lvis, PacoPart, PascalPart)}
ISAID = (3108, 3657, 3298)


@pytest.fixture(scope="module")
def logged():
    """(method, data set, fold, shot) -> {metric: value} of single folds."""
    rows: dict[tuple[str, str, str, int], dict[str, float]] = {}
    with (FOLDER / "incontext.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["dataset"] in OURS and row["setting"] == "released log" and "(" not in row["method"]:
                key = (row["method"], OURS[row["dataset"]], row["fold"], int(row["shot"]))
                rows.setdefault(key, {})[row["metric"]] = float(row["value"])
    return rows


def test_the_mean_of_the_classes_is_the_logged_figure(logged):
    complete = {key: values for key, values in logged.items() if key[0] == "GF-SAM"}
    assert len(complete) > 50
    for key, values in complete.items():
        classes = [value for metric, value in values.items() if metric.startswith("IoU_")]
        assert sum(classes) / len(classes) == pytest.approx(values["mIoU"], abs=0.01), key
        if key[1] in LOGGED:
            assert len(classes) == LOGGED[key[1]].logged_classes[key[3]][int(key[2])]


def test_the_runs_have_as_many_episodes_as_the_protocol(logged):
    for (_, dataset, fold, _), values in logged.items():
        if "episodes" in values:
            count = load_protocol("incontext").draw.episode_count(dataset, 2400)
            of_fold = {"isaid": ISAID, **{name: kind.logged_episodes for name, kind in LOGGED.items()}}.get(dataset)
            assert values["episodes"] == (of_fold[int(fold)] if of_fold else count)
