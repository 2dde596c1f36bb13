"""`fsbench.load_test`: a test by the name of its data set, or by the file of its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.fit import check_fits
from fsbench.data.episodes.manifest import CLASSIFICATION
from fsbench.data.episodes.task import ClassificationTask, Task, takes_task
from fsbench.protocols.own_lists import marked_if_own
from fsbench.protocols.reading import DEFAULT_PROTOCOLS, load_protocol, protocol_of, read_test
from fsbench.protocols.test import Test
from fsbench.runner.config.datasets import choose_dataset, open_dataset, usual_protocol
from fsbench.runner.config.registry import check_known, read_config, task_of
from fsbench.runner.config.run_config import asked_options


@takes_task()
def load_test(
    dataset: str | None = None,
    *,
    root: str | Path | None = None,
    lists: Sequence[str | Path] = (),
    protocol: str | Path | Mapping[str, Any] | None = None,
    manifest: str | Path | None = None,
    image_size: int | None = None,
    **task: Any,
) -> Test:
    """Open a test: its episodes, their images and masks, and the rules by which predictions are counted.

    Args:
        dataset: name of a data set (see `fsbench list`); not needed with a `manifest`, which states it.
        root: folder of the data, instead of `data/<name>`.
        lists: folders with official list files.
        protocol: name of a published test (see `fsbench list protocols`), FILE.yaml of your own test, or the content of
            such a file; by default "fscs", "fort" for classification, or "fixed_supports" for a folder of your own
            without a folds.yaml.
        manifest: a file that lists episodes, which fixes everything but `root`, `lists` and `image_size`. If its
            episodes are not those that its protocol draws, they are a list of your own, and all tables with its scores
            say so.
        image_size: side of the square images that are to be predicted; needed if the protocol counts pixels at that
            size.
        **task: fields of a `Task`, such as `fold`, `way`, `shot`, `episodes` and `seed`; for classification fields of a
            `ClassificationTask`. None leaves a field at its default.

    Returns:
        The test; `test[i]` is episode i without its truth, as the model that predicts it may see it.

    Raises:
        SettingsError: a name is unknown, or the protocol has no such test.
        DataError: files of the data set are absent or unusable.
        RecordError: the manifest cannot be read.

    Examples:
        >>> import fsbench
        >>> test = fsbench.load_test("demo", protocol="pfenet", episodes=5)
        >>> len(test), test[0].query.shape, int(test[0].supports[0][0].mask.max())
        (5, (144, 115, 3), 255)
    """
    folders, known = [str(folder) for folder in lists], signature(load_test).parameters
    where: dict[str, Any] = {"data_root": None if root is None else str(root), "lists": tuple(folders)}
    if manifest is not None:
        if given := [name for name, value in {"protocol": protocol, **task}.items() if value is not None]:
            raise SettingsError(
                f"load_test was given a manifest, which fixes its episodes; leave out {', '.join(given)}"
            )
        file = Path(manifest).expanduser()
        test = open_manifest(file, dataset, root, folders, image_size)
        name = dataset or test.manifest.header.dataset
        opened = where | {"dataset": name, "manifest": str(file), "image_size": image_size}
        listed = marked_if_own(test.manifest, test.protocol, test.data, file)
        return _with_episodes(replace(test, manifest=listed, opened=opened))
    if dataset is None:
        raise SettingsError(
            "load_test was given neither a data set nor a manifest; expected one of them, such as 'pascal'"
        )
    check_known("data", "data set", dataset)
    task_name = task_of("data", dataset)
    rules = load_protocol(protocol or usual_protocol(dataset, root) or DEFAULT_PROTOCOLS[task_name])
    if rules.task != task_name:
        raise SettingsError(
            f"{dataset} is a data set of {task_name}, and the protocol {rules.name} one of {rules.task}; expected both "
            "of one kind (see: fsbench list protocols)"
        )
    if task_name == CLASSIFICATION:
        stated = read_config("data", dataset)["data"]["init_args"].get("test", {})
        usual = {name: stated[name] for name in ("queries", "min_class_size") if name in stated}
        asked: Task = ClassificationTask.chosen(task, "a test of classification", usual=usual, beside=known)
    else:
        asked = Task.chosen(task, "a test", beside=known)
    data = rules.draw.data(open_dataset(dataset, root, folders), asked.fold, asked.shot)
    asked = rules.draw.with_own_ways(data, asked)
    opened = where | {"dataset": dataset, "image_size": image_size} | asked_options(vars(asked))
    if task_name != CLASSIFICATION and rules.parts is None:
        opened["protocol"] = rules.name
    return _with_episodes(Test(rules.manifest(data, asked), data, rules, image_size, opened))


def open_manifest(
    file: Path,
    dataset: str | None = None,
    root: str | Path | None = None,
    lists: Sequence[str] = (),
    image_size: int | None = None,
) -> Test:
    """Open the test whose episodes are listed in a manifest file; arguments and errors are those of `load_test`."""
    read = read_test(file)
    rules = protocol_of(read.header)
    name = choose_dataset(dataset, read.header.dataset, f"the manifest {file}")
    data = rules.draw.data(open_dataset(name, root, lists), read.header.fold, read.header.shot)
    check_fits(read, data, str(file))
    return Test(read, data, rules, image_size)


def _with_episodes(test: Test) -> Test:
    """Return the test. Raises SettingsError where it has no episode."""
    if not len(test):
        raise SettingsError("the test has no episode; expected episodes of 1 or more")
    return test
