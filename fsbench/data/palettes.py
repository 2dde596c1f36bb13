"""Colours that say class numbers, and palettes whose colours say others than their places do."""

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID

Colour = tuple[int, int, int]
SeenColours = dict[Colour, tuple[int, Path]]
"""Colour -> its place in the palette of the first label map that showed it, and that file."""

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@cache
def voc_colors() -> np.ndarray:
    """Return the VOC colour map (256, 3) uint8: the bits of a class number spread over red, green and blue."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    number = np.arange(256)
    for shift in range(8):
        for channel in range(3):
            bit = (number >> (3 * shift + channel)) & 1
            colours[:, channel] |= (bit << (7 - shift)).astype(np.uint8)
    return colours


@cache
def _voc_numbers() -> dict[Colour, int]:
    """Return VOC's colour -> its class number; white, which others draw void in, is void, too."""
    return {colour: number for number, colour in enumerate(_colours(voc_colors()))} | {_WHITE: VOID}


def check_palette(
    labels: np.ndarray, palette: np.ndarray, path: Path, seen: SeenColours | None = None, *, is_one_class: bool = False
) -> None:
    """Check that a palette's colours agree with the stored indices, which are the class numbers.

    Programs that shrink images drop unused palette entries and sort the rest: the picture looks the same, but the
    indices change.

    Args:
        labels: (H, W) palette indices.
        palette: (n, 3) uint8, transparent entries black.
        path: the label map's file, for messages.
        seen: {colour: palette index and file} of other label maps of the data set; this label map's colours are added.
        is_one_class: the label map is a mask of a single class, whose number is known from elsewhere; only background
            and void are then compared with their colours.

    Raises:
        DataError: a colour stands for another number in VOC's map or as grey, or had another index in an earlier file.
    """
    colours = _colours(palette)
    unused = bytes(range(256)).translate(None, labels.tobytes())  # a tenth of the time of numpy's unique
    used = [place for place in range(len(colours)) if place not in unused]
    is_voc = np.array_equal(palette, voc_colors()[: len(palette)])  # which agrees with itself
    wrong = None if is_voc else _contradiction(colours, used, is_one_class)
    if wrong is not None:
        place, number = wrong
        raise DataError(
            f"label map {path} contradicts itself: its pixels of number {place} have the colour {colours[place]}, "
            f"which stands for {number}, as after a program that sorted the palette; expected colours and numbers that "
            "agree; save the class numbers that are meant as a grey PNG"
        )
    if seen is None:
        return
    entries = Counter(colours)
    for place in used:
        if entries[colours[place]] == 1:
            first, file = seen.setdefault(colours[place], (place, path))
            if first != place:
                raise DataError(
                    f"label maps {file} and {path} contradict each other: the colour {colours[place]} has the number "
                    f"{first} there and {place} here, as after a program that sorted the palettes; expected one number "
                    "for a colour; save the class numbers that are meant as grey PNGs"
                )


def _contradiction(colours: list[Colour], used: list[int], is_one_class: bool) -> tuple[int, int] | None:
    """Return a place in use, and the number that its colour stands for, where they differ; else None.

    Colours stand for numbers by VOC's colour map, or as grey values; where all agree with their places by either, there
    is no contradiction. A palette with an entry of neither kind is somebody's own, unless several colours in use, and
    most of them, are VOC's at other places. In a palette of one's own, black is background, VOC's void is void, and
    other colours say nothing. White at place 1, on black, is the one class of a mask. Place 255 is void in any colour.
    """
    used = [place for place in used if place != VOID]
    if colours[:2] == [_BLACK, _WHITE] and set(used) <= {0, 1}:
        return None
    voc, grey = _voc_numbers(), {colour: colour[0] for colour in colours if len(set(colour)) == 1}
    readings = [{_BLACK: 0, _colours(voc_colors())[VOID]: VOID}]
    coloured = [place for place in used if colours[place] not in grey]
    moved = [place for place in coloured if _first_wrong(colours, [place], voc)]
    is_known = all(colour in voc or colour in grey for colour in colours) or len(moved) > max(1, len(coloured) / 2)
    if is_known and not is_one_class:
        readings = [grey | voc] + [grey] * all(colours[place] in grey for place in used)
    wrong = [_first_wrong(colours, used, stands_for) for stands_for in readings]
    return None if None in wrong else wrong[0]


def _first_wrong(colours: list[Colour], used: list[int], stands_for: dict[Colour, int]) -> tuple[int, int] | None:
    """Return the first place in use whose colour stands for another number, and that number; None if all agree.

    A colour that is at the place of its number may fill others, too, as where a palette is filled up with black.
    """
    for place in used:
        number = stands_for.get(colours[place], place)
        if number != place and colours[number : number + 1] != [colours[place]]:
            return place, number
    return None


def _colours(palette: np.ndarray) -> list[Colour]:
    return [(red, green, blue) for red, green, blue in palette.tolist()]
