"""A label map whose palette says other class numbers than it stores is refused; somebody's own palette is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_label_map, read_mask
from fsbench.data.palettes import SeenColours, colour_named, voc_colors
from fsbench.predict.result import ImageResult
from tests.recompressed import recompress, save_palette

BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 200, 10)
MAROON, VOC_GREEN, VOC_VOID = (128, 0, 0), (0, 128, 0), (224, 224, 192)
ROAD = (128, 64, 128)
CITYSCAPES = [ROAD, (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30)]


@pytest.mark.parametrize("original", ["voc", "voc of 21 and white void", "voc of 21 and black", "grey"])
def test_a_recompressed_map_is_refused_or_read_as_it_was(tmp_path: Path, original: str) -> None:
    """Whatever the order of the palette: the same numbers, or an error, and never other numbers."""
    filled = {"voc of 21 and white void": 255, "voc of 21 and black": 0}.get(original)
    palette = voc_colors().copy() if original != "grey" else np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    if filled is not None:
        palette[21:] = filled
    rng = np.random.RandomState(0)
    refused = 0
    for _ in range(40):
        numbers = rng.permutation(21)[: rng.randint(2, 6)]
        labels = rng.choice([*numbers, 255] if filled != 0 else numbers, (6, 7)).astype(np.uint8)
        save_palette(tmp_path / "a.png", labels, palette)
        np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)
        recompress(tmp_path / "a.png", rng)
        try:
            np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)
        except DataError as error:
            assert "a.png contradicts itself" in str(error) and "save the class numbers" in str(error)
            refused += 1
    assert refused > 30


REFUSED = {
    "classes swapped": (
        [BLACK, VOC_GREEN, MAROON],
        [0, 1, 2],
        "number 1 have the colour .0, 128, 0., which stands for 2",
    ),
    "one class in all pixels": ([MAROON], [0, 0], "number 0 have the colour .128, 0, 0., which stands for 1"),
    "object and background": ([MAROON, BLACK], [1, 0], "contradicts itself"),
    "entries left out": ([BLACK, MAROON, VOC_VOID], [0, 1, 2], "number 2 .* stands for 255"),
    "grey of class 4": ([BLACK, (4, 4, 4)], [0, 1], "the colour .4, 4, 4., which stands for 4"),
    "grey, void moved": ([BLACK, (1, 1, 1), WHITE], [0, 1, 2], "number 2 .* stands for 255"),
    "white in front of black": ([WHITE, BLACK], [0, 1], "contradicts itself"),
    "own colours, background moved": ([RED, BLACK], [1, 0], "the colour .0, 0, 0., which stands for 0"),
    "mostly VOC's colours, at other places": (
        [BLACK, VOC_GREEN, MAROON, RED],
        [0, 1, 2, 3],
        "number 1 have the colour .0, 128, 0., which stands for 2",
    ),
    "own colours, VOC's void moved": ([BLACK, RED, VOC_VOID], [0, 1, 2], "stands for 255"),
}


@pytest.mark.parametrize("places", [[0, 1, 1, 0], [0, 1, 255, 0]])
@pytest.mark.parametrize("colour", [VOC_GREEN, (128, 128, 128), RED])
def test_the_number_of_a_named_mask_says_nothing(tmp_path: Path, places: list, colour: tuple) -> None:
    palette = np.zeros((256, 3), np.uint8)
    palette[1], palette[255] = colour, VOC_VOID
    labels = np.array([places], np.uint8)
    save_palette(tmp_path / "a.png", labels, palette)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png", is_one_class=True), labels)
    save_palette(tmp_path / "a.png", 1 - np.array([[0, 1, 1, 0]], np.uint8), np.array([colour, BLACK]))
    with pytest.raises(DataError, match="contradicts itself"):  # whose background was moved
        read_label_map(tmp_path / "a.png", is_one_class=True)


@pytest.mark.slow(2)
def test_label_maps_of_predict_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Of any classes: no colour that they are shown in stands for another number."""
    rng = np.random.RandomState(0)
    for number in range(1, 255):
        few = rng.choice(np.arange(1, 255), 4, replace=False)
        for numbers in ([0, number], [number], [0, *few], [*range(number + 1)]):
            labels = np.array([numbers], np.uint8)
            ImageResult("photo", labels, (), np.zeros((1, 1, 3), np.uint8)).labels().save(tmp_path / "a.png")
            np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize(("colours", "places", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, colours: list, places: list, message: str) -> None:
    save_palette(tmp_path / "a.png", np.array([places], np.uint8), np.array(colours))
    with pytest.raises(DataError, match=message):
        read_label_map(tmp_path / "a.png")


OWN = {
    "colours of nobody else": ([BLACK, RED, GREEN], [0, 1, 1, 0]),
    "no black": ([GREEN, RED, (10, 20, 30)], [0, 1, 1, 0]),
    "another order beside own colours": ([BLACK, VOC_GREEN, MAROON, RED], [0, 1, 1, 0]),
    "one of VOC's colours at another place": (CITYSCAPES, [0, 1, 1, 0]),
    "one class alone, by the whole palette": (CITYSCAPES, [0, 0, 0, 0]),
    "void of any colour": ([*CITYSCAPES, *[BLACK] * (256 - len(CITYSCAPES))], [0, 1, 255]),
    "black and white": ([BLACK, WHITE], [0, 1, 1, 0]),
    "grey values": ([(n, n, n) for n in range(20)], [0, 1, 1, 0]),
    "VOC's first colours": (voc_colors()[:3].tolist(), [0, 1, 1, 0]),
    "a class without a colour of its own": ([*voc_colors()[:3].tolist(), *[BLACK] * 253], [0, 1, 1, 40]),
    "no palette beyond black": ([BLACK], [0, 1, 1, 0]),
}


@pytest.mark.parametrize(("colours", "places"), OWN.values(), ids=OWN)
def test_own_palettes_are_taken_by_their_numbers(tmp_path: Path, colours: list, places: list) -> None:
    save_palette(tmp_path / "a.png", np.array([places], np.uint8), np.array(colours))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), [places])


def test_a_transparent_entry_is_background(tmp_path: Path) -> None:
    save_palette(tmp_path / "a.png", np.array([[1, 0, 1]], np.uint8), np.array([RED, GREEN]), transparency=1)
    with pytest.raises(DataError, match=r"calls its number 1 transparent"):
        read_label_map(tmp_path / "a.png")
    save_palette(tmp_path / "a.png", np.array([[1, 0, 1]], np.uint8), np.array([WHITE, WHITE]), transparency=0)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), [[1, 0, 1]])


def test_own_colours_mean_one_number_in_all_files_of_a_data_set(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    save_palette(first, np.array([[0, 1, 2]], np.uint8), np.array([BLACK, RED, GREEN]))
    save_palette(second, np.array([[0, 1, 2]], np.uint8), np.array([BLACK, GREEN, RED]))
    seen: SeenColours = {}
    for _ in range(2):  # a file may be read again
        np.testing.assert_array_equal(read_label_map(first, seen), [[0, 1, 2]])
    with pytest.raises(DataError, match=r"a\.png and .*b\.png contradict each other: the colour \(0, 200, 10\) has"):
        read_label_map(second, seen)
    np.testing.assert_array_equal(read_label_map(second), [[0, 1, 2]])
    own = np.array([BLACK, RED, MAROON])  # against VOC's own map, which alone it is not
    save_palette(first, np.array([[0, 1, 2]], np.uint8), voc_colors())
    save_palette(second, np.array([[0, 1, 2]], np.uint8), own)
    np.testing.assert_array_equal(read_label_map(second), [[0, 1, 2]])
    seen = {}
    read_label_map(first, seen)
    with pytest.raises(DataError, match=r"the colour \(128, 0, 0\) has the number 1 there and 2 here"):
        read_label_map(second, seen)


@pytest.mark.parametrize("form", ["bmp", "tiff"])
def test_other_formats_have_palettes_too(tmp_path: Path, form: str) -> None:
    save_palette(tmp_path / f"a.{form}", np.array([[0, 1, 1]], np.uint8), np.array([MAROON, BLACK]))
    with pytest.raises(DataError, match=r"contradicts itself|is a BMP of class numbers"):
        read_label_map(tmp_path / f"a.{form}")


RAMP = np.repeat(np.arange(256)[:, None], 3, 1)
MASK = np.zeros((20, 30), np.uint8)
MASK[5:12, 6:21] = 1
WHITES: dict[str, Callable[[Path], object]] = {
    "a ramp of grey": lambda path: save_palette(path, MASK * 255, RAMP),
    "white at 0, black at 1": lambda path: save_palette(path, 1 - MASK, np.array([WHITE, BLACK])),
    "white in the middle": lambda path: save_palette(path, MASK * 7, np.array([BLACK] * 7 + [WHITE, RED])),
    "white at 7, black at 3": lambda path: save_palette(
        path, 3 + 4 * MASK, np.array([RED] * 3 + [BLACK] * 4 + [WHITE])
    ),
    "white on a transparent entry": lambda path: save_palette(path, 1 - MASK, np.array([WHITE, RED]), transparency=1),
    "one bit": lambda path: Image.fromarray(MASK > 0).save(path),
    "16 bits": lambda path: Image.fromarray(MASK.astype(np.uint16) * 65535).save(path),
    "colours": lambda path: Image.fromarray(np.dstack([MASK * 255] * 3)).save(path),
    "grey and opaque": lambda path: Image.fromarray(MASK * 255).convert("LA").save(path),
}


@pytest.mark.parametrize("save", WHITES.values(), ids=WHITES)
def test_white_is_what_is_seen(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], MASK)


def test_white_that_is_transparent_is_not_seen(tmp_path: Path) -> None:
    Image.fromarray(MASK * 255).save(tmp_path / "a.png", transparency=255)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], MASK * 255)  # void


def test_white_behind_one_colour_is_no_class(tmp_path: Path) -> None:
    save_palette(tmp_path / "a.png", 1 - MASK, np.array([RED, WHITE]))
    with pytest.raises(DataError, match="contradicts itself"):
        read_mask(tmp_path / "a.png")


def painted(*colours: tuple[int, ...], ground: tuple[int, ...] = BLACK) -> np.ndarray:
    """Stripes of 10 columns, of which the first is the ground."""
    return np.repeat(np.array([[ground, *colours]], np.uint8), 10, 1).repeat(12, 0)


@pytest.mark.parametrize("ground", [BLACK, WHITE, (10, 20, 30, 0)], ids=["black", "white", "nothing"])
def test_one_painted_colour_is_a_mask(tmp_path: Path, ground: tuple[int, ...]) -> None:
    colour = (*RED, 255)[: len(ground)]
    Image.fromarray(painted(colour, ground=ground)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], painted((1,), ground=(0,))[..., 0])


def test_soft_edges_of_a_painted_colour_are_cut_at_one_half(tmp_path: Path) -> None:
    big = Image.new("RGB", (400, 300), WHITE)
    ImageDraw.Draw(big).ellipse((80, 60, 300, 240), fill=RED)
    small = np.asarray(big.resize((100, 75), Image.Resampling.BOX))
    Image.fromarray(small).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], small[..., 1] <= 127)


@pytest.mark.parametrize("second", [GREEN, (0, 0, 255), (128, 0, 0), (200, 200, 0)])
def test_several_painted_colours_are_told_in_words(tmp_path: Path, second: tuple[int, ...]) -> None:
    Image.fromarray(painted(RED, RED, second)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"red 240 pixels|#ff0000 240 pixels") as error:
        read_mask(tmp_path / "a.png")
    assert "=cat" in str(error.value) and "VOC" not in str(error.value) and "120 pixels" in str(error.value)


def test_named_colours_have_their_numbers(tmp_path: Path) -> None:
    Image.fromarray(painted(RED, GREEN, WHITE, ground=BLACK)).save(tmp_path / "a.png")
    named = {text: colour_named(text) for text in ("red", "green", "white")}
    numbers = {colour: n for n, colour in enumerate(named.values(), 1) if colour}
    labels, _ = read_mask(tmp_path / "a.png", colours=numbers)
    np.testing.assert_array_equal(labels[0, ::10], [0, 1, 2, 3])
    with pytest.raises(DataError, match="green 120 pixels"):
        read_mask(tmp_path / "a.png", colours={RED: 1})
    assert [colour_named(text) for text in ("#0a0b0c", "cat")] == [(10, 11, 12), None]


def test_a_mask_without_the_named_colours_is_refused(tmp_path: Path) -> None:
    for saved in (painted(WHITE), painted(GREEN)):
        Image.fromarray(saved).save(tmp_path / "a.png")
        with pytest.raises(DataError, match="120 pixels"):
            read_mask(tmp_path / "a.png", colours={RED: 1})
