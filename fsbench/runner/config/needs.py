"""Files that runs need: which are absent, and the command that brings each. Nothing is built or fetched."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsbench.base.errors import CheckpointError, FsbenchError, SettingsError, near_path
from fsbench.base.paths import weights_folder
from fsbench.networks.weights.table import checkpoint_sets, fetch_command, how_to_get, short_path, weight_files
from fsbench.runner.config.backbone_choice import needed_weights
from fsbench.runner.config.merge import merge_files, setting
from fsbench.runner.config.registry import aliases, dataset_source, is_shipped, names
from fsbench.runner.config.run_config import RunConfig


@dataclass(frozen=True, order=True)
class Missing:
    """A missing file or folder that a run needs, and how to get it.

    Attributes:
        kind: what is missing: "data", "weights", "checkpoint" or "lists".
        name: name of the data set, weights or checkpoint.
        place: the path where the file or folder should be.
        command: the command that downloads or creates it; or words for what to do where no command can.
        error: the error to raise, whose message holds name, place and command.
    """

    kind: str
    name: str
    place: str
    command: str
    error: FsbenchError = field(compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name} not in {self.place}: {self.command}"


def missing_dataset(name: str, root: str | None) -> list[Missing]:
    """Return a data set, as a list of one, if its folder `root` is missing or empty; else an empty list.

    Synthetic data sets are never missing. Those of packages and of the user's own files are not checked here: their
    classes report missing files.

    Returns:
        A list with one `Missing`, or an empty list if the folder has files.
    """
    if root is None or not is_shipped("data", name):
        return []
    source, folder = dataset_source(name), Path(root).expanduser()
    try:
        is_file = source.kind == "own" and folder.is_file()  # a table of one's own images
        is_there = source.kind == "drawn" or is_file or (folder.is_dir() and any(folder.iterdir()))
    except OSError:  # it is there, and its reader says what is wrong with it
        is_there = True
    if is_there:
        return []
    near = near_path(folder)
    if source.kind == "own" and near:  # of what was given
        command = f"correct the path{near}"
        expected = f"expected the folder of your data set{near}"
    elif source.kind == "own":  # which nothing can fetch
        command = f"give its folder with --data-root {name}=DIR"
        expected = f"expected the folder of your data set; {command}"
    else:
        command = f"fsbench data prepare {name} --root {shlex.quote(str(folder))}"
        expected = f"expected the data set {name}; get it with: {command}"
    error = source.missing(f"the folder {folder} {'is empty' if folder.is_dir() else 'does not exist'}; {expected}")
    return [Missing("data", name, str(folder), command, error)]


def missing_data(run: RunConfig) -> list[Missing]:
    """Return the run's data set, as a list of one, if its folder is missing or empty; else an empty list."""
    return missing_dataset(run.dataset, setting(run.values, "data.dataset.root"))


def missing_weights(run: RunConfig) -> list[Missing]:
    """Return the weights of the run's networks (backbone, promptable network) whose files are missing."""
    named = backbone_weights(merge_files(run.files))
    return [missing for name, _ in named for missing in missing_network(name)]


def backbone_weights(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return (name, value of the weights setting) of each frozen network of a run.

    These are its backbone and, if it uses one, its promptable network (SAM).

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
    """Return a network's weights, as a list of one, if their file is missing; else an empty list."""
    file = weight_files().get(name)
    if file is None or file.path.is_file():
        return []
    error = CheckpointError(how_to_get(file, name, file.path))
    return [Missing("weights", name, short_path(file.path), fetch_command(name), error)]


def missing_files(run: RunConfig) -> Iterator[Missing]:
    """Yield the weights, checkpoint, data set and official lists that a run needs and that are missing."""
    values = run.values
    yield from missing_data(run)
    for name, weights in backbone_weights(values):
        if weights is None:
            yield from missing_network(name)
        elif not str(weights).startswith("random") and not Path(str(weights)).is_file():
            file, advice = weight_files().get(name), "correct the path of --weights"
            message = (
                f"no weights at {weights}; {advice}" if file is None else how_to_get(file, name, Path(str(weights)))
            )
            yield Missing("weights", name, str(weights), advice, CheckpointError(message))
    checkpoint = setting(values, "run.checkpoint")
    path = Path(str(checkpoint))
    if checkpoint and not path.is_file():
        name, place, command = path.name, str(path), "correct the path of --ckpt"
        if path.is_relative_to(weights_folder()):  # one of the authors'
            sets = [one for one, entry in checkpoint_sets().items() if run.method in entry.methods]
            name, place = path.parent.name, short_path(path)
            command = fetch_command(sets[0]) if sets else "get it from the authors' page"
        yield Missing("checkpoint", name, place, command, CheckpointError(f"no checkpoint at {place}; {command}"))
    for folder in run.lists:
        if not Path(folder).expanduser().is_dir():
            command = "correct the path of --lists, or leave it out"
            yield Missing("lists", run.dataset, folder, command, SettingsError(f"no lists at {folder}; {command}"))


def distinct(missing: Iterable[Missing]) -> list[Missing]:
    """Return missing files and folders sorted, each once."""
    return sorted(set(missing))


def methods_by_weights() -> dict[str, list[str]]:
    """Return {name of a backbone: methods and aliases whose default backbone it is}."""
    found: dict[str, list[str]] = {name: [] for name in weight_files()}
    for method in [*names("methods"), *aliases()]:
        name = needed_weights(method)
        if name is not None:
            found[name].append(method)
    return found
