"""A contact sheet of predictions: support with its mask, the query's truth, the prediction, and what it was before."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fsbench.annotations import VOID, AnnotationIndex
from fsbench.files import replacing
from fsbench.preprocess import resize_labels, way_labels
from fsbench.samplers import Episode

TILE = (192, 144)
CAPTION = 16
COLOURS = np.array([[230, 60, 60], [60, 130, 230], [70, 190, 90], [240, 180, 40], [170, 90, 210]], dtype=np.uint8)
MAX_SHOTS = 2


def choose(episodes: Sequence[Episode], count: int = 8) -> list[Episode]:
    """`count` episodes spread evenly over the list, the same for every method."""
    if len(episodes) <= count:
        return list(episodes)
    return [episodes[round(i)] for i in np.linspace(0, len(episodes) - 1, count)]


def contact_sheet(
    path: Path,
    index: AnnotationIndex,
    predictions: dict[int, tuple[np.ndarray, list[bool]]],
    episodes: Sequence[Episode],
    before: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Write a PNG, one row an episode.

    Args:
        path: where to write.
        index: to read images and label maps from.
        predictions: episode index -> (label map (h, w) in way slots, decision per way); one of another size than its
            image (metrics at the input size) is stretched over it.
        episodes: rows of the sheet; those without a prediction are left out.
        before: earlier label maps, which are shown beside the predictions, and where the two differ.
    """
    rows = [
        _row(index, episode, *predictions[episode.index], (before or {}).get(episode.index))
        for episode in episodes
        if episode.index in predictions
    ]
    width = max(sum(tile.width for tile in row) for row in rows)
    sheet = Image.new("RGB", (width, len(rows) * (TILE[1] + CAPTION)), "white")
    for y, row in enumerate(rows):
        x = 0
        for tile in row:
            sheet.paste(tile, (x, y * (TILE[1] + CAPTION)))
            x += tile.width
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _row(
    index: AnnotationIndex, episode: Episode, label_map: np.ndarray, decided: list[bool], before: np.ndarray | None
) -> list[Image.Image]:
    names = [index.class_names[number - 1] for number in episode.classes]
    tiles = []
    for way, (number, shots) in enumerate(zip(episode.classes, episode.supports, strict=True)):
        for shot in shots[:MAX_SHOTS]:
            tiles.append(_tile(index, shot, support_slots(index, shot, number, way), f"support: {names[way]}"))
    truth = query_slots(index, episode)
    there = [name for n, name in enumerate(names) if (truth == n + 1).any()]
    tiles.append(_tile(index, episode.query, truth, f"{episode.index}: truth {', '.join(there) or 'none'}"))
    found = [name for name, decision in zip(names, decided, strict=True) if decision]
    tiles.append(_tile(index, episode.query, label_map, f"predicted {', '.join(found) or 'none'}"))
    if before is not None:
        differs = (before != label_map).astype(np.uint8)
        tiles.append(_tile(index, episode.query, before, "before"))
        tiles.append(_tile(index, episode.query, differs, f"{int(differs.sum())} pixels differ"))
    return tiles


def support_slots(index: AnnotationIndex, shot: str, number: int, way: int) -> np.ndarray:
    """Where the support image `shot` shows class `number`, of the way that is the `way`-th from 0."""
    return (index.label_map(shot) == index.label_values(shot, [number])[0]).astype(np.uint8) * (way + 1)


def query_slots(index: AnnotationIndex, episode: Episode) -> np.ndarray:
    """The truth of an episode in way slots."""
    return way_labels(index.label_map(episode.query), index.label_values(episode.query, episode.classes))


def painted(index: AnnotationIndex, name: str, slots: np.ndarray, colours: np.ndarray = COLOURS) -> Image.Image:
    """The photo `name` with the colour of each slot over it, and void white; slots of another size are stretched."""
    with Image.open(index.image_path(name)) as opened:
        image = np.array(opened.convert("RGB"))
    slots = resize_labels(slots, *image.shape[:2])
    colour = colours[(slots.astype(int) - 1) % len(colours)]
    shown = np.where((slots > 0)[..., None] & (slots != VOID)[..., None], image // 2 + colour // 2, image)
    shown[slots == VOID] = 255
    return Image.fromarray(shown)


def _tile(index: AnnotationIndex, name: str, slots: np.ndarray, caption: str) -> Image.Image:
    picture = painted(index, name, slots)
    picture.thumbnail(TILE)
    tile = Image.new("RGB", (TILE[0] + 4, TILE[1] + CAPTION), "white")
    tile.paste(picture, (0, CAPTION))
    ImageDraw.Draw(tile).text((2, 2), caption[:34], fill="black")
    return tile
