"""Answers that a test asks for: sizes and numbers of ways, found without decoding an image."""

from pathlib import Path
from typing import Any

from fsbench.data.image_io import UNDECODABLE, one_line
from fsbench.errors import DataError
from fsbench.files.images import open_image
from fsbench.kit.answers import Asked
from fsbench.protocols.test import Test, VisibleImages


def image_shape(path: Path, crop: tuple[slice, slice] | None) -> tuple[int, int]:
    """Return height and width of an image, or of the rows and columns `crop` of it, from its header alone.

    Raises:
        DataError: the file is absent or no image.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist; expected the data that the test was made of") from None
    except UNDECODABLE as error:
        raise DataError(f"image {path} cannot be read ({one_line(error)}); expected an image; get it again") from error
    if crop is None:
        return height, width
    rows, columns = (len(range(*part.indices(side))) for part, side in zip(crop, (height, width), strict=True))
    return rows, columns


def asked_size(test: Test, query: Any) -> list[int] | None:
    """Return the size [h, w] of the answer to an episode, or None where the method's input size decides it."""
    if test.image_size is None and test.protocol.counts_at_input_size():
        return None
    return list(query.answer_size(image_shape(query.query_file, test.index.crop(query.query_name))))


def asked_answers(test: Test) -> Asked:
    """Return by the number of each episode the ways, the size and the number of queries of its answer.

    They are as `fsbench.kit.answers.read_kit_folder` reads them from a kit.
    """
    asked: Asked = {}
    for episode in test:
        if isinstance(episode, VisibleImages):
            queries, size = len(episode.queries), None
        else:
            queries, size = None, asked_size(test, episode)
        asked[episode.number] = {"ways": len(episode.classes), "size": size, "queries": queries}
    return asked
