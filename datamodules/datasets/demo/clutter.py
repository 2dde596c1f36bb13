"""Background of the scenes: the ground, and distractors that share a shape or a texture with the classes, not both."""

import numpy as np

from fsbench.datamodules.datasets.demo import paint
from fsbench.datamodules.datasets.demo.paint import Colors, Pose, Stencil
from fsbench.datamodules.datasets.demo.patterns import PATTERNS
from fsbench.datamodules.datasets.demo.shapes import SHAPES, Outline, blob


def ground(rng: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """Draw a background (height, width, 3) float64: two colors mixed by coarse and fine noise."""
    coarse = paint.smooth_noise(rng, height, width, 3)
    mix = 0.7 * coarse + 0.3 * paint.smooth_noise(rng, height, width, rng.randint(6, 20))
    return paint.two_tone(mix, random_colors(rng, 0.6))


def random_colors(rng: np.random.RandomState, saturation: float = 0.9) -> Colors:
    """Return two random colors (3,) red, green, blue of any hue, with saturations up to `saturation`."""
    hues = rng.uniform(0, 1, 2)
    saturations = rng.uniform(0.05, saturation, 2)
    values = rng.uniform(0.15, 1.0, 2)
    return paint.hsv(hues[0], saturations[0], values[0]), paint.hsv(hues[1], saturations[1], values[1])


def place_distractor(rng: np.random.RandomState, height: int, width: int) -> tuple[Stencil, np.ndarray]:
    """Draw a textured blob, a shaded shape or a stroke anywhere: its stencil, and its colors (h, w, 3) float64."""
    kind = rng.choice(3, p=[0.4, 0.4, 0.2])
    radius = float(np.exp(rng.uniform(np.log(8), np.log(0.3 * min(height, width)))))
    stretch = rng.uniform(0.7, 1.4) if kind != 2 else 4.0
    x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 2 * np.pi)
    pose = Pose(x, y, radius * stretch**0.5, radius / stretch**0.5, angle)
    outline: Outline
    if kind == 1:
        outline = SHAPES[list(SHAPES)[rng.randint(len(SHAPES))]]
    else:
        outline = blob(rng.uniform(0, 0.16, 5) * np.exp(1j * rng.uniform(0, 2 * np.pi, 5)))
    shape = paint.stencil(pose, outline, height, width)
    colors, turn, table = random_colors(rng), rng.uniform(0, 2 * np.pi), rng.random_sample((16, 16))
    pattern = list(PATTERNS)[rng.randint(len(PATTERNS))]
    periods = min(rng.uniform(1.3, 2.6), radius / 4.5)
    if kind == 0:
        return shape, paint.texture(shape, PATTERNS[pattern], periods, turn, colors, table)
    return shape, paint.shading(shape, turn, colors)


def scatter(rng: np.random.RandomState, canvas: np.ndarray, count: int) -> None:
    """Paint `count` random distractors onto the canvas (H, W, 3), in place."""
    for _ in range(count):
        paint.lay(canvas, *place_distractor(rng, canvas.shape[0], canvas.shape[1]))
