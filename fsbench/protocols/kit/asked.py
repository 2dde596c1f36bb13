"""Answers that a test asks for: sizes and numbers of ways, found without decoding an image."""

from pathlib import Path
from typing import Any

from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.picture_file import picture_header
from fsbench.protocols.kit.answers import Asked
from fsbench.protocols.test import Test


def image_shape(data: SegmentationData, name: str) -> tuple[int, int]:
    """Return (height, width) of image `name` as the data set reads it, from the file's header if possible.

    Raises:
        DataError: the file is absent or not an image.
    """
    if not data.images_are_files:
        height, width = data.label_map(name).shape
        return height, width
    path, crop = Path(data.image_path(name)), data.crop(name)
    header = picture_header(path)
    height, width = header.height, header.width
    if crop is None:
        return header.shown_shape if data.turns_images else (height, width)
    rows, columns = (len(range(*part.indices(side))) for part, side in zip(crop, (height, width), strict=True))
    return rows, columns


def asked_size(test: Test, query: str) -> list[int] | None:
    """Return the size [h, w] of the label map to predict for a query; None if the method's input size decides it."""
    shape = image_shape(test.data, query)
    size = test.protocol.view.answer_size(shape, test.image_size)
    return None if size is None else list(size)


def asked_answers(test: Test) -> Asked:
    """Return {episode number: {"ways": N, "size": [h, w] or None, "queries": number of queries or None}} of a test.

    The dict is the form of the answer to each episode, which `read_kit_folder` reads from a kit (an exported test).
    """
    return {episode.number: _asked(test, episode) for episode in test.manifest.episodes}


def _asked(test: Test, episode: Episode | ClassificationEpisode) -> dict[str, Any]:
    if isinstance(episode, ClassificationEpisode):
        queries, size = sum(map(len, episode.query)), None
    else:
        queries, size = None, asked_size(test, episode.query)
    return {"ways": len(episode.classes), "size": size, "queries": queries}
