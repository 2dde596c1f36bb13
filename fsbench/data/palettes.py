"""Colours that say class numbers: VOC's, those that somebody painted, and palettes whose colours say other numbers."""

from collections import Counter
from collections.abc import Mapping
from colorsys import rgb_to_hsv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageFilter

from fsbench.base.errors import DataError
from fsbench.data.dataset import VOID

Colour = tuple[int, int, int]
SeenColours = dict[Colour, tuple[int, Path]]
"""Colour -> its place in the palette of the first label map that showed it, and that file."""

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_MOST_COLOURS = 2000
"""Colours of a painted mask with soft edges; a photo has more."""


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
def voc_numbers() -> dict[Colour, int]:
    """Return VOC's colour -> its class number."""
    return {colour: number for number, colour in enumerate(_colours(voc_colors()))}


def colour_named(text: str) -> Colour | None:
    """Return the colour of a common name, as CSS has them, or of #rrggbb; None if there is none.

    >>> colour_named("red"), colour_named("#0ac814"), colour_named("cat")
    ((255, 0, 0), (10, 200, 20), None)
    """
    try:
        return ImageColor.getrgb(text.strip())[:3]
    except ValueError:
        return None


def colour_word(colour: Colour) -> str:
    """Return the word for a colour: red, orange, yellow, green, cyan, blue, purple, pink, black, grey or white."""
    hue, saturation, value = rgb_to_hsv(*(channel / 255 for channel in colour))
    if value < 0.15 or saturation < 0.15:
        return "black" if value < 0.15 else "white" if value > 0.9 else "grey"
    ends = {"red": 15, "orange": 45, "yellow": 70, "green": 165, "cyan": 200, "blue": 260, "purple": 315, "pink": 345}
    return next((word for word, end in ends.items() if 360 * hue < end), "red")


def colours_in(pixels: np.ndarray) -> dict[Colour, int]:
    """Return {colour: number of pixels} of an image (H, W, 3) uint8, the most frequent first."""
    counts: Any = Image.fromarray(np.ascontiguousarray(pixels)).getcolors(1 << 24)
    return {colour: count for count, colour in sorted(counts, reverse=True)}


def colour_table(found: Mapping[Colour, int]) -> str:
    """Return colours and their pixels in words, such as "red 4,120 pixels, green 33 pixels", of the first six."""
    shown = [f"{name} {count:,} pixels" for name, count in zip(_names(found), found.values(), strict=False)]
    return ", ".join(shown) + (f" and {len(found) - len(shown):,} more colours" if len(found) > len(shown) else "")


def _names(found: Mapping[Colour, int]) -> list[str]:
    """Return the words of the first six colours, or #rrggbb where several have one word."""
    words = {colour: colour_word(colour) for colour in list(found)[:6]}
    counts = Counter(words.values())
    return [word if counts[word] == 1 else "#{:02x}{:02x}{:02x}".format(*colour) for colour, word in words.items()]


def numbered(pixels: np.ndarray, numbers: Mapping[Colour, int]) -> np.ndarray:
    """Return the numbers (H, W) uint8 of the colours (H, W, 3) uint8; 0 for those that have none."""
    table = np.zeros(1 << 24, np.uint8)
    for (red, green, blue), number in numbers.items():
        table[red << 16 | green << 8 | blue] = number
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return table[red << 16 | green << 8 | blue]


def painted_labels(pixels: np.ndarray, colours: Mapping[Colour, int], subject: str) -> np.ndarray:
    """Convert a painted mask (H, W, 3) uint8 to class numbers (H, W) uint8: 0 where it is black or white.

    Args:
        pixels: the mask as it is seen.
        colours: {colour: class number}; where the mask lacks a colour, its most frequent one of the same word is taken.
            Without any, one colour may be painted, which is class 1.
        subject: kind and name of the file, for messages.

    Raises:
        DataError: other colours are seen, except for soft edges of those.
    """
    found = colours_in(pixels)
    numbers = _painted(colours, found)
    background = [colour for colour in (_BLACK, _WHITE) if colour in found and colour not in numbers]
    if len(background) == 2 and not numbers.keys() & found.keys():
        background = [_BLACK]
    objects = {colour: count for colour, count in found.items() if colour not in background}
    if not colours:
        numbers = dict.fromkeys(list(objects)[:1], 1)
    labels = numbered(pixels, numbers)
    has_more = not objects.keys() <= numbers.keys()
    if has_more and (len(objects) > _MOST_COLOURS or not _fill_edges(labels, pixels, numbers, background)):
        given = ",".join(f"{name}={word}" for name, word in zip(_names(objects), ("cat", "dog"), strict=False))
        raise DataError(
            f"{subject} shows {colour_table(objects)}; expected one colour on black, white or nothing, or a name for "
            f"each; give {given}, or paint without soft edges"
        )
    return labels


def _painted(colours: Mapping[Colour, int], found: Mapping[Colour, int]) -> dict[Colour, int]:
    """Return {colour of a mask: class number}; a colour that it lacks stands for the only other one of its word."""
    absent = Counter(colour_word(colour) for colour in colours if colour not in found)
    alike: dict[str, Colour] = {}
    for colour in found:
        if colour not in colours:
            alike.setdefault(colour_word(colour), colour)
    numbers = {}
    for colour, number in colours.items():
        is_alike = colour not in found and absent[colour_word(colour)] == 1
        numbers[alike.get(colour_word(colour), colour) if is_alike else colour] = number
    return numbers


def _fill_edges(
    labels: np.ndarray, pixels: np.ndarray, numbers: Mapping[Colour, int], background: list[Colour]
) -> bool:
    """Number the soft edges of painted colours where half of the colour or more is seen.

    An edge mixes a colour with the background, and lies at most two pixels from that colour.

    Returns:
        Whether all pixels without a number are background or such edges.
    """
    rest = numbered(pixels, dict.fromkeys([*numbers, *background], 1)) == 0
    mixed = pixels[rest].astype(float)
    is_edge, values = np.zeros(len(mixed), bool), np.zeros(len(mixed), np.uint8)
    for colour, number in numbers.items():
        painted = Image.fromarray((pixels == colour).all(-1) * np.uint8(255))
        near = np.asarray(painted.filter(ImageFilter.MaxFilter(5)))[rest] > 0
        for ground in background:
            step = np.subtract(colour, ground, dtype=float)
            share = (mixed - ground) @ step / (step @ step)
            on_line = np.abs(mixed - (ground + share[:, None] * step)).max(1, initial=0) <= 3
            edge = near & on_line & (share > 0) & (share < 1)
            values[edge & (share >= 0.5)] = number
            is_edge |= edge
    labels[rest] = values
    return bool(is_edge.all())


def check_palette(
    labels: np.ndarray, palette: np.ndarray, path: Path, seen: SeenColours | None = None, *, is_one_class: bool = False
) -> None:
    """Check that a palette's colours agree with the stored indices, which are the class numbers.

    Programs that shrink images drop unused palette entries and sort the rest: the picture looks the same, but the
    indices change.

    Args:
        labels, palette: (H, W) palette indices, and (n, 3) uint8, transparent entries black.
        path: the label map's file, for messages.
        seen: colours of other label maps of the data set; this label map's colours are added.
        is_one_class: the label map is a mask of a single class, of which only background and void are compared.

    Raises:
        DataError: a colour stands for another number in VOC's map or as grey, or had another index in an earlier file.
    """
    is_voc = np.array_equal(palette, voc_colors()[: len(palette)])  # which agrees with itself
    if is_voc and seen is None:
        return
    colours = _colours(palette)
    unused = bytes(range(256)).translate(None, labels.tobytes())  # a tenth of the time of numpy's unique
    used = [place for place in range(len(colours)) if place not in unused]
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
    most of them, are VOC's at other places. In a palette of one's own, black is background (white, beside one colour
    alone), VOC's void is void, and other colours say nothing. White at place 1, on black, is the one class of a mask.
    Place 255 is void in any colour.
    """
    used = [place for place in used if place != VOID]
    if colours[:2] == [_BLACK, _WHITE] and set(used) <= {0, 1}:
        return None
    voc, grey = voc_numbers() | {_WHITE: VOID}, {colour: colour[0] for colour in colours if len(set(colour)) == 1}
    readings = [{_BLACK: 0, _colours(voc_colors())[VOID]: VOID}]
    if len(used) == 2 and used[0] == 0 and colours[0] != _BLACK:
        readings[0][_WHITE] = 0  # behind one colour
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
