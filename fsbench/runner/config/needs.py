"""Files that runs need: which are absent, and the command that brings each. Nothing is built or fetched."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsbench.base.errors import CheckpointError, DataError, FsbenchError, SettingsError
from fsbench.base.paths import weights_folder
from fsbench.networks.weights.table import checkpoint_sets, fetch_command, how_to_get, short_path, weight_files
from fsbench.runner.config.backbone_choice import needed_weights
from fsbench.runner.config.merge import merge_files, setting
from fsbench.runner.config.registry import (
    aliases,
    dataset_source,
    is_shipped,
    names,
)
from fsbench.runner.config.run_config import RunConfig


@dataclass(frozen=True, order=True)
class Missing:
    """A file or folder that a run needs and that is absent.

    Attributes:
        kind: "data", "weights", "checkpoint" or "lists".
        name: of it.
        place: where it should be.
        command: that brings it.
        error: that says all of it.
    """

    kind: str
    name: str
    place: str
    command: str
    error: FsbenchError = field(compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name} not in {self.place}: {self.command}"


@dataclass(frozen=True)
class AbsentData:
    """A data set whose folder is absent or empty: its name and that folder."""

    name: str
    folder: Path

    @property
    def is_own(self) -> bool:
        """True for a data set of the user's own, which nothing can fetch."""
        return dataset_source(self.name).kind == "own"

    @property
    def command(self) -> str:
        """The command that brings the data set, or the option that says where it is."""
        own = f"give its folder with --data-root {self.name}=DIR"
        return own if self.is_own else f"fsbench data prepare {self.name} --root {shlex.quote(str(self.folder))}"

    @property
    def error(self) -> DataError:
        """The error about it, with what to fetch from where."""
        expected = f"expected the data set {self.name}; get it with: {self.command}"
        if self.is_own:
            expected = f"expected the folder of your data set; {self.command}"
        problem = f"the folder {self.folder} does not exist or is empty; {expected}"
        return dataset_source(self.name).missing(problem)


def absent_data(name: str, root: str | None) -> AbsentData | None:
    """Return the data set where its folder `root` is absent or empty.

    Data sets that are drawn are never absent; those of packages and of the user's own files tell it themselves.
    """
    if root is None or not is_shipped("data", name) or dataset_source(name).kind == "drawn":
        return None
    folder = Path(root).expanduser()
    try:
        is_there = folder.is_dir() and any(folder.iterdir())
    except OSError:  # it is there, and its reader says what is wrong with it
        is_there = True
    return None if is_there else AbsentData(name, folder)


def missing_dataset(name: str, root: str | None) -> list[Missing]:
    """Return the data set where its folder `root` is absent or empty."""
    absent = absent_data(name, root)
    if absent is None:
        return []
    return [Missing("data", absent.name, str(absent.folder), absent.command, absent.error)]


def missing_data(run: RunConfig) -> list[Missing]:
    """Return the run's data set where its folder is absent or empty."""
    return missing_dataset(run.dataset, setting(run.values, "data.dataset.root"))


def missing_weights(run: RunConfig) -> list[Missing]:
    """Return the weights of the run's own backbone, and of the network beside it, where their files are absent."""
    named = backbone_weights(merge_files(run.files))
    return [missing for name, _ in named for missing in missing_network(name)]


def backbone_weights(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return name and weights, as settings state them, of a run's backbone and of the promptable network beside it.

    Args:
        values: the run's merged settings.
    """
    weights = setting(values, "model.backbone.weights")
    networks = [(str(setting(values, "model.backbone.name")), weights)]
    sam, own = setting(values, "model.backbone.sam"), setting(values, "model.backbone.sam_weights")
    if sam is not None:  # random weights are those of both (fsbench.networks.backbones.sam)
        networks.append((str(sam), weights if own is None and str(weights).startswith("random") else own))
    return networks


def missing_network(name: str) -> list[Missing]:
    """Return the weights of a network of the table where their file is absent from its usual place."""
    file = weight_files().get(name)
    if file is None or file.path.is_file():
        return []
    error = CheckpointError(how_to_get(file, name, file.path))
    return [Missing("weights", name, short_path(file.path), fetch_command(name), error)]


def missing_files(run: RunConfig) -> Iterator[Missing]:
    """Yield the weights, the checkpoint, the data set and the lists that a run needs and that are absent."""
    values = run.values
    for name, weights in backbone_weights(values):
        if weights is None:
            yield from missing_network(name)
        elif not str(weights).startswith("random") and not Path(str(weights)).is_file():
            file, advice = weight_files().get(name), "correct the path of --weights"
            if file is None:
                yield _missing("weights", name, str(weights), advice)
            else:
                error = CheckpointError(how_to_get(file, name, Path(str(weights))))
                yield Missing("weights", name, str(weights), advice, error)
    checkpoint = setting(values, "run.checkpoint")
    if checkpoint and not Path(str(checkpoint)).is_file():
        yield _missing_checkpoint(run.method, Path(str(checkpoint)))
    yield from missing_data(run)
    for folder in run.lists:
        if not Path(folder).expanduser().is_dir():
            yield _missing("lists", run.dataset, folder, "correct the path of --lists, or leave it out")


def _missing(kind: str, name: str, place: str, command: str) -> Missing:
    message = f"no {kind} at {place}; {command}"
    error = CheckpointError(message) if kind in ("checkpoint", "weights") else SettingsError(message)
    return Missing(kind, name, place, command, error)


def _missing_checkpoint(method: str, path: Path) -> Missing:
    """Return the checkpoint of `method` that is not in the file `path`, which may be one of the authors'."""
    if not path.is_relative_to(weights_folder()):
        return _missing("checkpoint", path.name, str(path), "correct the path of --ckpt")
    sets = [name for name, entry in checkpoint_sets().items() if method in entry.methods]
    command = fetch_command(sets[0]) if sets else "get it from the authors' page"
    return _missing("checkpoint", path.parent.name, short_path(path), command)


def distinct(missing: Iterable[Missing]) -> list[Missing]:
    """Sort what is missing, each thing once."""
    return sorted(set(missing))


def methods_by_weights() -> dict[str, list[str]]:
    """Return the methods and aliases that take each backbone of the table by themselves."""
    found: dict[str, list[str]] = {name: [] for name in weight_files()}
    for method in [*names("methods"), *aliases()]:
        name = needed_weights(method)
        if name is not None:
            found[name].append(method)
    return found
