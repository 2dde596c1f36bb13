"""Access to the suite's inside for the other files here, which see plain values only."""

import io
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import fsbench
from fsbench.base.errors import FsbenchError
from fsbench.base.paths import CONFIGS
from fsbench.cli.main import main
from fsbench.datamodules.datasets.demo import Demo
from fsbench.protocols.published_tests import test_names
from fsbench.protocols.reading import manifest_fault
from fsbench.runner.config import tests as opening
from fsbench.runner.config.registry import task_of

CPUINFO = Path("/proc/cpuinfo")
CLASSIFICATION = "fort"
"""Protocol of data sets of classification."""


class DrawnTest(NamedTuple):
    """The episodes of a test.

    Attributes:
        sha256: hash of the manifest, as the suite names it.
        episodes: query, supports by way, classes, number of the draw, and marks, of each episode in order.
    """

    sha256: str
    episodes: list[list[Any]]


def protocol_names() -> list[str]:
    """Return the names of the published tests."""
    return sorted(path.stem for path in CONFIGS.glob("protocols/*.yaml"))


def atlas_names() -> list[str]:
    """Return the names of the published tests of the atlas."""
    return test_names()


def data_set_names() -> list[str]:
    """Return the names of the data sets."""
    return sorted({path.stem.partition(".")[0] for path in CONFIGS.glob("data/*.yaml")})


def draw(dataset: str, root: Path, lists: Sequence[Path], task: dict[str, Any]) -> DrawnTest | str:
    """Draw the episodes of a test; a test that is refused is the word and the class of the error.

    Args:
        dataset: name of the data set.
        root: its folder.
        lists: folders of official lists.
        task: further arguments of `fsbench.load_test`.
    """
    try:
        test = fsbench.load_test(dataset, root=root, lists=lists, **task)
    except FsbenchError as error:
        return f"refused {type(error).__name__}"
    assert not manifest_fault(test.manifest, test.protocol.draw), (dataset, task)
    return DrawnTest(test.manifest.sha256, [_plain(episode) for episode in test.manifest.episodes])


def _plain(episode: Any) -> list[Any]:
    """Return an episode of masks, whose images have names, or of classification, which have places in a list."""
    if hasattr(episode, "query_class"):
        marks = [episode.query_class, episode.augmented, episode.calibrates]
        return [episode.query, episode.supports, episode.classes, episode.draw, marks]
    return [episode.query, episode.support, episode.classes, episode.draw, []]


@contextmanager
def data_sets_opened_once() -> Iterator[None]:
    """Keep data sets open within the block: each protocol would read all annotations anew."""
    real = opening.open_dataset

    @cache
    def opened(name: str, root: str, lists: tuple[str, ...]) -> Any:
        data = real(name, root, lists)
        if hasattr(data, "class_pixels"):
            data.class_pixels = cache(data.class_pixels)  # a mask is opened once
        return data

    with mock.patch.object(opening, "open_dataset", lambda name, root, lists: opened(name, str(root), tuple(lists))):
        yield


class Counted(NamedTuple):
    """Counts of a method's answers.

    Attributes:
        columns: names of the columns.
        rows: a row for each way of each episode, whole numbers.
        losses: of the training steps that were made first.
        allowed: difference of a count that the accepted answers of this method allow on another processor.
    """

    columns: list[str]
    rows: list[list[int]]
    losses: list[float]
    allowed: int


FEW_TESTS = ("--data.test.episodes=3",)
FEW_STEPS = (
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.training.validation_episodes=1",
    "--data.test.episodes=1",
)  # fmt: skip
FEW_CLASSIFIED = 2
QUERIES_THAT_MAY_DIFFER = 1
TRUTH = ("slot", "class_id", "gt", "void", "valid", "present")
"""Columns of counts that no answer changes."""
LOSS = 3e-4
"""Relative difference of a loss that is allowed on another processor, as `fsbench regress` has it."""


def method_names() -> list[str]:
    """Return the names of the methods."""
    return sorted(path.stem for path in CONFIGS.glob("methods/*.yaml") if "." not in path.stem)


def is_classifier(method: str) -> bool:
    """Return whether a method names classes of images."""
    return task_of("methods", method) == "classification"


def draw_small_demo(folder: Path) -> Path:
    """Write the demo on which `fsbench regress` tests, a folder of 160 images, and return it."""
    Demo(str(folder), train=100, val=60)
    return folder


def answer_masks(method: str, data: Path) -> Counted:
    """Train a method two steps, then test it with disturbed first weights on a few episodes, as `fsbench regress`."""
    from fsbench.runner.regression.cases import read_cases
    from fsbench.runner.regression.outcome import Row
    from fsbench.runner.regression.run import observe

    (case,) = (case for case in read_cases([method]) if case.name == method)
    outcome = observe(
        replace(case, arguments={**case.arguments, "test": FEW_TESTS, "training": FEW_STEPS}), data
    ).outcome
    whole = [name for name, kind in Row.__annotations__.items() if kind is not float]
    rows = [
        [answer.number, *(int(getattr(row, name)) for name in whole)]
        for answer in outcome.answers
        for row in answer.slots
    ]
    return Counted(["episode", *whole], rows, outcome.losses, case.pixels)


def answer_classes(method: str, root: Path, runs: Path) -> Counted:
    """Test a classifier on a few episodes of the demo of classification."""
    import torch

    test = fsbench.load_test("demo-cls", root=root, way=5, shot=3, episodes=FEW_CLASSIFIED)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        frame = fsbench.evaluate(method, test, runs=runs, progress=False).record.episodes
    finally:
        torch.set_num_threads(threads)
    whole = [name for name, kind in frame.schema.items() if kind.is_integer() or str(kind) == "Boolean"]
    rows = [[int(number) for number in row] for row in frame.select(whole).rows()]
    return Counted(whole, rows, [], QUERIES_THAT_MAY_DIFFER)


def machine() -> dict[str, str]:
    """Return what rounding depends on: packages, the processor and its instruction set.

    A virtual machine may have any name for its processor, so that the numbers of its kind and its flags tell, too.
    """
    from fsbench.runner.regression.run import environment

    told = r"^(?:model name|cpu family|model|stepping|flags)\s*: (.*)$"
    lines = re.findall(told, CPUINFO.read_text().split("\n\n")[0], re.MULTILINE) if CPUINFO.is_file() else []
    return environment() | {"processor": " ".join(lines) or platform.processor()}


def evaluate(models: Sequence[Any], root: Path, fold: int, shot: int, episodes: int, runs: Path) -> None:
    """Let functions, and methods by their names, answer a test of the small demo; the masks are kept."""
    test = fsbench.load_test("folder", root=root, protocol="fscs", fold=fold, shot=shot, episodes=episodes)
    for model in models:
        fsbench.evaluate(model, test, runs=runs, progress=False)


def printed(words: Sequence[str]) -> str | None:
    """Return what a command prints; None where it is refused."""
    out = io.StringIO()
    with redirect_stdout(out):
        status = main(words)
    assert status in (0, 2), f"{' '.join(words)} ended with {status}, expected 0, or 2 where it is refused"
    return out.getvalue() if status == 0 else None


INTERVAL = ("low", "high", "scope", "error", "df", "p")
"""Entries of an estimate beside its value that are frozen."""
Row = tuple[str, dict[str, Any], dict[str, Any]]
"""A row of a table: which one; its scores by their names; their intervals and tests."""


def table_rows(content: Any) -> Iterator[Row]:
    """Return the rows of what `fsbench table --format json` prints."""
    for block in content:
        for row in block["rows"]:
            which = f"{row['method']} fold={row['fold']}"
            yield (which, *_estimates(row["scores"]))
            for kind in ("size", "class"):
                for part, subset in row[f"by_{kind}"].items():
                    values, intervals = _estimates(subset["scores"])
                    numbers = {"pairs": subset["pairs"], "episodes": subset["episodes"]}
                    yield f"{which} {kind}={part}", numbers | values, intervals


def compare_rows(content: Any) -> Iterator[Row]:
    """Return the rows of what `fsbench compare --format json` prints."""
    for comparison in content:
        for kind, metrics in comparison["tables"].items():
            for metric, lines in metrics.items():
                for line in lines:
                    pair = line["difference"]
                    which = f"{pair['method']} - {pair['other']} fold={line['fold']} {kind}={line['part']} {metric}"
                    value, interval = _estimates({metric: pair["difference"]})
                    numbers = {name: line[name] for name in ("images", "episodes")}
                    tests = {name: line[name] for name in ("corrected", "size", "equivalent")}
                    yield which, numbers | value, interval | tests


def protocol_rows(content: Any) -> Iterator[Row]:
    """Return the rows of what `fsbench table --protocol NAME --format json` prints."""
    for group in content:
        lines: dict[tuple[str, str, str], dict[bool, dict[str, Any]]] = {}
        for row in group["rows"]:
            line = lines.setdefault((row["method"], row["fold"], row["rule"]), {False: {}, True: {}})
            if row["value"] is not None:
                line[bool(row["minus"])][row["metric"]] = row
        for place, ((method, fold, _), line) in enumerate(lines.items()):
            values, intervals = _estimates(line[False])
            differences, theirs = _estimates(line[True])
            scored = {"defined": bool(values), "scores": values, "difference": differences}
            yield f"{method} fold={fold} figures={place}", scored, {"scores": intervals, "difference": theirs}


def _estimates(scores: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part scores by their names into values and intervals with tests."""
    values = {name: estimate["value"] for name, estimate in scores.items()}
    return values, {name: {key: one[key] for key in INTERVAL} for name, one in scores.items()}
