"""Draw a contact sheet of predictions: supports, the query's truth, the prediction, and an earlier one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fsbench.data.dataset import SegmentationIndex
from fsbench.episodes.samplers import Episode
from fsbench.visualization.episodes import paint_slots, query_image, support_images
from fsbench.visualization.sheet import Panel, write_sheet

TILE = (192, 144)
MAX_SHOTS = 2


def choose(episodes: Sequence[Episode], count: int = 8) -> list[Episode]:
    """Choose `count` episodes spread evenly over the list, the same for every method."""
    if len(episodes) <= count:
        return list(episodes)
    return [episodes[round(i)] for i in np.linspace(0, len(episodes) - 1, count)]


def contact_sheet(
    path: Path,
    index: SegmentationIndex,
    predictions: Mapping[int, tuple[np.ndarray, list[bool]]],
    episodes: Sequence[Episode],
    earlier: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Write a PNG with one row per episode.

    Args:
        path: Where to write.
        index: Reads images and label maps.
        predictions: By episode index, the label map (h, w) in way slots and the decision on every way. A label map of
            another size than its image (metrics at the input size) is stretched over it.
        episodes: Rows of the sheet; those without a prediction are left out.
        earlier: Earlier label maps by episode index, drawn beside the predictions with the differing pixels.
    """
    rows = []
    for episode in episodes:
        if episode.index in predictions:
            label_map, present = predictions[episode.index]
            rows.append(_draw_row(index, episode, label_map, present, (earlier or {}).get(episode.index)))
    write_sheet(path, rows, TILE)


def _draw_row(
    index: SegmentationIndex, episode: Episode, label_map: np.ndarray, present: list[bool], earlier: np.ndarray | None
) -> list[Panel]:
    panels = [(support.caption, support.painted()) for support in support_images(index, episode, MAX_SHOTS)]
    query = query_image(index, episode)
    panels.append((f"{episode.index}: {query.caption}", query.painted()))
    names = [index.class_names[class_id - 1] for class_id in episode.classes]
    predicted = [name for name, decision in zip(names, present, strict=True) if decision]
    panels.append((f"predicted: {', '.join(predicted) or 'none'}", paint_slots(query.pixels, label_map)))
    if earlier is not None:
        differs = (earlier != label_map).astype(np.uint8)
        panels.append(("before", paint_slots(query.pixels, earlier)))
        panels.append((f"{int(differs.sum())} pixels differ", paint_slots(query.pixels, differs)))
    return panels
