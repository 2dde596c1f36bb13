"""The colors of every image and page, kept apart also by people who do not see red, green or blue as others do.

All are RGB. The least distance of two colors of a set, in CIELAB, is above 25 under normal sight and under simulated
protanopia, deuteranopia and tritanopia (Machado et al., 2009).
"""

import numpy as np

Color = tuple[int, int, int]

WAY_COLORS = np.array(
    [[240, 128, 255], [255, 255, 0], [0, 255, 224], [255, 128, 0], [160, 224, 128]], dtype=np.uint8
)  # fmt: skip
"""Colors of an episode's ways, in turn: orchid, yellow, turquoise, orange, light green. All are light: beside
`DARK_LINE` the outline of a mask is seen on an image of any color."""

DARK_LINE: Color = (16, 16, 16)
"""The outer line of a mask's outline, and the ground of words on an image."""
LIGHT_TEXT: Color = (255, 255, 255)
"""Words on `DARK_LINE`."""

FILL = 0.32
"""Opacity of a way's color over the image."""
ERROR_FILL = 0.72
"""Opacity of an error's color over the gray image."""

HATCH_LIGHT = 255, 0.6
HATCH_DARK = 0, 0.35
"""Gray level and opacity of the lines over void, which leave most of the image as it is."""

ERROR_COLORS = np.array([[244, 244, 244], [255, 176, 0], [63, 127, 255], [200, 50, 155]], dtype=np.uint8)
"""Colors of right foreground, false alarms (false positives), missed foreground (false negatives) and foreground of
another way, in the order of `error_map`'s kinds: white, amber, blue, purple."""
ERROR_NAMES = ("right", "false alarm", "missed", "another way")
"""Words for the kinds, in the same order."""

HEAT_COLORS = np.array(
    [[0, 34, 78], [26, 56, 111], [67, 78, 108], [97, 101, 111], [125, 124, 120], [154, 147, 118], [187, 173, 109],
     [221, 200, 88], [254, 232, 56]], dtype=np.uint8
)  # fmt: skip
"""Nine colors of cividis in equal steps, from least (dark blue) over gray to most (yellow): `heat_map` has all 256."""


def way_color(way: int) -> Color:
    """Return the (red, green, blue) color of a way, counted from 1; colors repeat."""
    red, green, blue = WAY_COLORS[(way - 1) % len(WAY_COLORS)].tolist()
    return red, green, blue


def hex_color(color: Color | np.ndarray) -> str:
    """Return a color in the form "#f080ff"."""
    return "#" + "".join(f"{int(part):02x}" for part in color)
