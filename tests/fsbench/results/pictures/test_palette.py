"""The colors of a set are told apart, with normal sight and without red, green or blue cones, and seen on any image."""

import cv2
import numpy as np
import pytest

from fsbench.results.pictures.palette import (
    DARK_LINE,
    ERROR_COLORS,
    ERROR_NAMES,
    HEAT_COLORS,
    LIGHT_TEXT,
    WAY_COLORS,
    hex_color,
    way_color,
)

SIGHT = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
"""Matrices over linear RGB, of severity 1 (Machado, Oliveira and Fernandes, 2009)."""

XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colors) -> np.ndarray:
    values = np.asarray(colors) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colors, sight: str) -> np.ndarray:
    """sRGB (n, 3) as someone with that sight has it -> CIELAB (n, 3), white point D65."""
    seen = np.clip(linear(colors) @ np.array(SIGHT[sight]).T, 0, 1)
    t = seen @ XYZ.T / [0.95047, 1, 1.08883]
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def luminance(colors) -> np.ndarray:
    return linear(colors) @ XYZ[1]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colors", [WAY_COLORS, ERROR_COLORS], ids=["ways", "errors"])
def test_colors_are_told_apart(colors, sight):
    places = lab(colors, sight)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distances[np.triu_indices(len(colors), 1)].min() > 25
    if colors is ERROR_COLORS:
        assert distances[1, 2] > 70, "false alarms and missed pixels"


def test_the_simulation_confuses_what_people_confuse():
    red_and_green = [[160, 60, 30], [90, 110, 30]]
    (normal,), (confused,) = (np.linalg.norm(np.diff(lab(red_and_green, s), axis=0), axis=1) for s in list(SIGHT)[::2])
    assert normal > 50 and confused < 15


def test_one_line_of_an_outline_is_seen_on_every_color():
    """WCAG asks a contrast of 3 of what is to be seen and is no text; a gray stands for all colors as bright."""
    grounds = np.linspace(0, 1, 256)
    for color in WAY_COLORS:
        contrasts = []
        for line in (color, DARK_LINE):
            brightness = luminance(line)
            lighter, darker = np.maximum(grounds, brightness), np.minimum(grounds, brightness)
            contrasts.append((lighter + 0.05) / (darker + 0.05))
        assert np.maximum(*contrasts).min() > 2.75
    text, ground = luminance(LIGHT_TEXT), luminance(DARK_LINE)
    assert (text + 0.05) / (ground + 0.05) > 15


def test_names():
    assert hex_color(WAY_COLORS[0]) == "#f080ff" and way_color(6) == way_color(1) == (240, 128, 255)
    assert len(ERROR_NAMES) == len(ERROR_COLORS)


def test_the_colors_of_heat_are_those_of_heat_maps():
    levels = np.rint(np.linspace(0, 255, len(HEAT_COLORS))).astype(np.uint8)
    drawn = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_CIVIDIS)[:, 0, ::-1]
    np.testing.assert_array_equal(HEAT_COLORS, drawn)
