"""Draw chosen episodes for the gallery: every method predicts them again, and its counts must equal the record's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from fsbench.errors import FsbenchError, user_message
from fsbench.records.record import Record
from fsbench.report.collect import Study
from fsbench.report.episodes import worth_a_look

if TYPE_CHECKING:
    from fsbench.data.dataset import SegmentationIndex
    from fsbench.episodes.samplers import Episode
    from fsbench.metrics.episodic import SegmentationResult

SIDE = 240
"""Longer side of a thumbnail in pixels."""


@dataclass
class Gallery:
    """The figures of a study.

    Attributes:
        files: Fold -> episode -> {"support": [...], "query", "truth", "methods": {position of the method:
            [prediction, errors]}}; paths relative to the study's folder.
        missing: Why runs or methods have no figures.
    """

    files: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def draw_gallery(study: Study, folder: Path, count: int, report: Callable[[str], None]) -> Gallery:
    """Draw `count` episodes of each pair of methods into `folder`/gallery.

    Args:
        study: The runs.
        folder: The study's folder.
        count: Number of episodes; 0: none.
        report: Gets a line of progress for each run.
    """
    gallery = Gallery()
    if not count:
        gallery.missing.append("Pictures were not asked for (--gallery 0).")
        return gallery
    able = _methods_with_config(study)
    without = [label for label in study.methods if label not in able]
    if without:
        gallery.missing.append(f"No pictures of {', '.join(without)}: there is no config.yaml beside the record.")
    if not able:
        return gallery
    labels = able if len(able) > 1 else able * 2
    for fold, positions in worth_a_look(study.folds, labels, count).items():
        chosen = [study.folds[fold].episodes[position] for position in positions]
        for label in able:
            record = study.methods[label].get(fold)
            if record is not None and chosen:
                report(f"gallery: {label}, fold {fold}: {len(chosen)} episodes")
                number = list(study.methods).index(label)
                _draw_run(gallery, folder, record, chosen, (label, number, fold))
    return gallery


def _methods_with_config(study: Study) -> list[str]:
    """Return the methods all of whose runs have the configuration that it takes to predict again."""
    return [
        label
        for label, runs in study.methods.items()
        if all((record.path / "config.yaml").is_file() for record in runs.values())
    ]


def _draw_run(
    gallery: Gallery, folder: Path, record: Record, chosen: "list[Episode]", place: tuple[str, int, int]
) -> None:
    """Draw a run's episodes; `place` is the method's label, its position and the fold."""
    label, number, fold = place
    episodes = {episode.index: episode for episode in chosen}
    try:
        index, results = predict_again(record, episodes)
        for result in results:
            entries = gallery.files.setdefault(fold, {})
            _draw_result(entries, index, folder, f"gallery/f{fold}", number, episodes[result.episode], result)
    except FsbenchError as error:
        gallery.missing.append(f"No pictures of {label}, fold {fold}: {user_message(error).splitlines()[0]}")
    except Exception as error:  # unreadable images, too little memory: the numbers are shown without figures
        gallery.missing.append(f"No pictures of {label}, fold {fold}: {type(error).__name__}: {error}")


def predict_again(record: Record, chosen: Iterable[int]) -> "tuple[SegmentationIndex, list[SegmentationResult]]":
    """Predict the episodes `chosen` (indices) again.

    Returns:
        The data set and the results.

    Raises:
        RecordError: the data or the counts differ from the record's.
    """
    import torch  # slow to import; a report without figures needs none

    from fsbench.engine.restore import check_counts, reopen_at

    experiment, episodes = reopen_at(record, chosen)
    with torch.inference_mode():
        results: list[SegmentationResult] = [cast(Any, experiment.method).evaluate(episode) for episode in episodes]
    check_counts(record, results)
    return experiment.data.dataset, results


def _draw_result(
    entries: dict[int, dict[str, Any]],
    index: "SegmentationIndex",
    folder: Path,
    prefix: str,
    number: int,
    episode: "Episode",
    result: "SegmentationResult",
) -> None:
    """Write the figures of one method's prediction and, where they are not there yet, those of its episode."""
    from fsbench.visualization.episodes import paint_errors, paint_slots, query_image, support_images  # needs torch

    name = f"{prefix}-{episode.index:06d}"
    query = query_image(index, episode)
    if episode.index not in entries:
        supports = [
            _write_thumbnail(folder, f"{name}-s{n}.jpg", support.painted())
            for n, support in enumerate(support_images(index, episode))
        ]
        entries[episode.index] = {
            "support": supports,
            "query": _write_thumbnail(folder, f"{name}-q.jpg", query.pixels),
            "truth": _write_thumbnail(folder, f"{name}-t.jpg", query.painted()),
            "methods": {},
        }
    prediction = result.label_map.numpy()
    entries[episode.index]["methods"][number] = [
        _write_thumbnail(folder, f"{name}-m{number}.jpg", paint_slots(query.pixels, prediction)),
        _write_thumbnail(folder, f"{name}-e{number}.jpg", paint_errors(query.pixels, prediction, query.slots)),
    ]


def _write_thumbnail(folder: Path, file: str, pixels: np.ndarray) -> str:
    """Write a small JPEG; returns its path relative to `folder`."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    (folder / file).parent.mkdir(exist_ok=True)
    image.save(folder / file, quality=85)
    return file
