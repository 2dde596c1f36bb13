"""Write the data of a study's explorer: columns, masks in blocks of episodes, images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.errors import FsbenchError, user_message
from fsbench.pages.report.collect import Study
from fsbench.pages.report.explorer.columns import explorer_columns, told_words
from fsbench.pages.report.explorer.files import write_data_file
from fsbench.pages.report.explorer.images import ImageFiles, Truth, open_data, open_support_labels, support_runs
from fsbench.pages.report.explorer.masks import MethodMasks, study_masks
from fsbench.records.predictions import LAYERS
from fsbench.runner.config.shared_parts import SharedParts

if TYPE_CHECKING:
    from fsbench.data.dataset import SegmentationData
    from fsbench.data.episodes.episode import Episode

BLOCK = 25
"""Episodes whose masks lie in one file."""


@dataclass(frozen=True)
class ExplorerOptions:
    """How many episodes and images the explorer, a report's page of single episodes, contains.

    Attributes:
        again: Number of episodes to predict again for each pair of methods, if runs kept no predictions.
        images: Whether images are copied beside the page.
        side: Length of the longer side of a copied image, in pixels.
        budget: Largest number of bytes of all images of a study.
    """

    again: int = 0
    images: bool = True
    side: int = 320
    budget: int = 64 << 20


def write_explorer(
    study: Study, folder: Path, options: ExplorerOptions, report: Callable[[str], None], shared: SharedParts
) -> list[str]:
    """Write the data files of the explorer (page of single episodes) of a study into `folder`/explorer.

    Args:
        study: The runs on one test.
        folder: Folder of the study's pages.
        options: How many episodes and images are included.
        report: Called with lines of text about progress.
        shared: Cache of the data sets that studies share.

    Returns:
        Sentences about masks or images that are missing, and why.
    """
    missing: list[str] = []
    columns = explorer_columns(study)
    masks = study_masks(study, options.again, missing, report)
    shown, cut = set[tuple[str, int]](), False
    files = ImageFiles(folder, options.side)
    for position, (fold, episodes) in enumerate(study.folds.items()):
        place = f"fold {fold}"
        runs = [by_fold[fold] for by_fold in study.shown.values() if fold in by_fold]
        data = open_data(runs, place, missing, shared)
        truth = None if data is None else Truth(data, options.side)
        told = {
            number: open_support_labels(by_fold[fold], f"{label}, {place}", missing, shared)
            for number, (label, by_fold) in enumerate(study.shown.items())
            if fold in by_fold and told_words(by_fold[fold])
        }
        writer = _FoldWriter(folder, position, place, masks[fold], truth, told, options.side)
        shown |= writer.write(episodes.episodes, missing)
        if data is not None and options.images:
            files.allow(options.budget // len(study.folds))
            _write_images(files, data, columns, position, report, missing)
            cut |= files.is_full
    missing += [
        f"{label} has several trainings: scores and masks of single episodes here are of seed "
        f"{runs[min(runs)][0].run.identity.seed}."
        for label, runs in study.methods.items()
        if any(len(trainings) > 1 for trainings in runs.values())
    ]
    if not options.images:
        missing.append("Images are left out (--no-photos).")
    elif cut:
        missing.append(
            f"Only episodes on which methods differ most have images, {options.budget / 2**20:.0f} MiB in all "
            "(--photo-budget)."
        )
    layers = {"soft": any(name == "soft" for name, _ in shown), "attention": _meanings(masks, shown)}
    write_data_file(folder, "data", columns | {"block": BLOCK, "images": sorted(files.written), **layers})
    return missing


def _meanings(masks: Mapping[int, Mapping[int, MethodMasks]], shown: set[tuple[str, int]]) -> dict[str, str]:
    """Return the meaning of each method's attention by its position, of those that have any; "" if none is said."""
    methods = sorted(number for name, number in shown if name == "attention")
    said = {
        number: [of_fold[number].attention_meaning for of_fold in masks.values() if number in of_fold]
        for number in methods
    }
    return {str(number): next(filter(None, meanings), "") for number, meanings in said.items()}


@dataclass
class _FoldWriter:
    """Writes the masks of a fold's episodes."""

    folder: Path
    position: int
    place: str
    masks: Mapping[int, MethodMasks]
    truth: Truth | None
    told: "Mapping[int, Callable[[Episode], list[list[np.ndarray]]] | None]"
    side: int

    def write(self, episodes: "tuple[Episode, ...]", missing: list[str]) -> set[tuple[str, int]]:
        """Write a file for each `BLOCK` episodes, and one of each of `LAYERS` that there is.

        Returns the names of layers that there are, each with the position of a method that has it.
        """
        found, unread = set[tuple[str, int]](), list[str]()
        for block, start in enumerate(range(0, len(episodes), BLOCK)):
            chosen = episodes[start : start + BLOCK]
            by_method = {number: [masks.ways(e.number) for e in chosen] for number, masks in self.masks.items()}
            shown = {number: ways for number, ways in by_method.items() if any(ways)}
            known = [[ways[i] for ways in shown.values()] for i in range(len(chosen))]
            sizes = [next((ways[0]["size"] for ways in of_episode if ways), None) for of_episode in known]
            truths = [self._truth(episode, size, unread) for episode, size in zip(chosen, sizes, strict=True)]
            name = f"{self.position}-{block}"
            predicted = {str(number): [_masks(of_episode) for of_episode in ways] for number, ways in shown.items()}
            told = {str(number): [self._told(draw, e, unread) for e in chosen] for number, draw in self.told.items()}
            write_data_file(self.folder, f"masks-{name}", {"truth": truths, "predicted": predicted, "told": told})
            for layer in LAYERS:
                with_layer = [number for number, ways in shown.items() if any(w and w[0].get(layer) for w in ways)]
                found |= {(layer, number) for number in with_layer}
                if with_layer:
                    maps = {
                        str(number): [None if w is None else [way[layer] for way in w] for w in shown[number]]
                        for number in with_layer
                    }
                    write_data_file(self.folder, f"{layer}-{name}", maps)
        if unread:
            missing.append(f"No truth for {len(unread)} of {len(episodes)} episodes of {self.place}: {unread[0]}")
        return found

    def _truth(self, episode: "Episode", size: tuple[int, int] | None, unread: list[str]) -> dict[str, Any] | None:
        if self.truth is None:
            return None
        try:
            return {"query": self.truth.query(episode, size), "supports": self.truth.supports(episode)}
        except FsbenchError as error:
            unread.append(f"episode {episode.number}: {user_message(error)}")
            return None

    def _told(
        self, draw: "Callable[[Episode], list[list[np.ndarray]]] | None", episode: "Episode", unread: list[str]
    ) -> list[list[Any]] | None:
        """Return [height, width, runs, runs of void] of what a method was told of each support, by way and shot."""
        if draw is None:
            return None
        try:
            return [[support_runs(labels, self.side) for labels in way] for way in draw(episode)]
        except FsbenchError as error:
            sentence = f"episode {episode.number}: {user_message(error)}"
            if sentence not in unread:  # its truth is in the same files
                unread.append(sentence)
            return None


def _masks(ways: list[dict[str, Any]] | None) -> list[Any] | None:
    """Return [height, width, runs, decisions, scores] of an episode's ways."""
    if ways is None:
        return None
    height, width = ways[0]["size"]
    scores = [round(way["score"], 4) for way in ways]
    return [height, width, [way["rle"] for way in ways], [way["decided"] for way in ways], scores]


def _write_images(
    files: ImageFiles,
    data: "SegmentationData",
    columns: Mapping[str, Any],
    position: int,
    report: Callable[[str], None],
    missing: list[str],
) -> None:
    """Write the images of a fold's episodes, those first on which the methods differ most."""
    folds, names = columns["folds"], columns["names"]
    start = sum(fold["count"] for fold in folds[:position])
    end = start + folds[position]["count"]
    spread = np.array(columns["columns"]["spread"][start:end])
    report(f"explorer: images of fold {folds[position]['fold']}")
    try:
        for i in (start + np.argsort(-spread, kind="stable")).tolist():
            supports = [number for way in columns["columns"]["supports"][i] for number in way]
            numbers = [columns["columns"]["query"][i], *supports]
            files.write(data, {number: names[number] for number in numbers})
            if files.is_full:
                return
    except FsbenchError as error:
        missing.append(f"Images of fold {folds[position]['fold']} are incomplete: {user_message(error)}")
