"""Draw scenes of the demo: textured shapes of given classes on a cluttered ground, with their label maps."""

from collections.abc import Sequence

import numpy as np

from fsbench.datamodules.datasets.demo.classes import ObjectClass, object_class
from fsbench.datamodules.datasets.demo.clutter import ground, place_distractor, scatter
from fsbench.datamodules.datasets.demo.paint import Colors, Pose, Stencil, hsv, lay, stencil, texture
from fsbench.datamodules.datasets.demo.patterns import PATTERNS
from fsbench.datamodules.datasets.demo.shapes import SHAPES, unit_area

VOID = 255
SIDES = (112, 161)
"""Least height and width of a scene in pixels, and the bound below which they stay."""
AREA = (0.02, 0.35)
"""Smallest and largest share of the image that an object covers; log-uniform in between."""
MIN_VISIBLE = 0.65
"""Least share of an object that stays visible when others cover it or the border cuts it off."""
MIN_RADIUS = 7.0
"""Least radius of an object in pixels."""
_TRIES = 18
"""Attempts to find room for an object, at ever smaller sizes."""


class _Scene:
    """Scene being drawn: canvas, owner of every pixel (0: none, i: the i-th object) and full areas of the objects."""

    def __init__(self, rng: np.random.RandomState):
        height, width = (int(side) for side in rng.randint(*SIDES, size=2))
        self.canvas = ground(rng, height, width)
        self.owner = np.zeros((height, width), np.int64)
        self.areas: list[float] = []
        self.numbers: list[int] = []

    def admits(self, shape: Stencil) -> bool:
        count = len(self.areas) + 1
        region = self.owner[shape.window]
        visible = np.bincount(self.owner.ravel(), minlength=count) - np.bincount(region[shape.covered], minlength=count)
        return bool((visible[1:] >= MIN_VISIBLE * np.array(self.areas)).all())

    def add(self, shape: Stencil, color: np.ndarray, number: int, area: float) -> None:
        # class 0 is a distractor, which takes pixels and owns none
        lay(self.canvas, shape, color)
        if number:
            self.areas.append(area)
            self.numbers.append(number)
        self.owner[shape.window][shape.covered] = len(self.areas) if number else 0

    def labels(self) -> np.ndarray:
        labels = np.array([0, *self.numbers], np.uint8)[self.owner]
        edge = np.zeros(labels.shape, bool)
        for ahead, behind in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
            change = self.owner[ahead] != self.owner[behind]
            edge[ahead] |= change
            edge[behind] |= change
        labels[edge] = VOID
        return labels


def draw_scene(seed: int | Sequence[int], classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene, which depends only on the arguments.

    Args:
        seed: seed of a `RandomState`; equal seeds give equal scenes on every machine.
        classes: class numbers (1..254), one object for each entry, from back to front. An object that finds no room
            is drawn smaller, and left out if even that fails (rare below six objects).

    Returns:
        The image (H, W, 3) uint8 and its labels (H, W) uint8: 0 background, class numbers, 255 on one pixel at either
        side of every object's edge. H and W are 112..160.
    """
    rng = np.random.RandomState(seed)
    scene = _Scene(rng)
    scatter(rng, scene.canvas, rng.randint(1, 5))
    for number in classes:
        _add_object(rng, scene, object_class(number))
    for _ in range(rng.randint(0, 2)):
        shape, color = place_distractor(rng, *scene.owner.shape)
        if scene.admits(shape):
            scene.add(shape, color, 0, 0.0)
    return _develop(rng, scene.canvas), scene.labels()


def _add_object(rng: np.random.RandomState, scene: _Scene, kind: ObjectClass) -> None:
    height, width = scene.owner.shape
    share = float(np.exp(rng.uniform(np.log(AREA[0]), np.log(AREA[1]))))
    for attempt in range(_TRIES):
        pose = _pose(rng, kind.shape, max(share * 0.8 ** (attempt // 2), AREA[0]), height, width)
        shape = stencil(pose, SHAPES[kind.shape], height, width)
        area = unit_area(kind.shape) * pose.radius**2
        if shape.covered.sum() >= MIN_VISIBLE * area and scene.admits(shape):
            scene.add(shape, _appearance(rng, kind, shape, pose), kind.number, area)
            return


def _pose(rng: np.random.RandomState, shape: str, share: float, height: int, width: int) -> Pose:
    radius = max((share * height * width / unit_area(shape)) ** 0.5, MIN_RADIUS)
    stretch = rng.uniform(0.8, 1.25) ** 0.5
    x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(-0.5, 0.5)
    return Pose(x, y, radius * stretch, radius / stretch, angle)


def _appearance(rng: np.random.RandomState, kind: ObjectClass, shape: Stencil, pose: Pose) -> np.ndarray:
    # finer than 4.5 pixels a period would not survive the drawing
    periods = min(kind.periods * rng.uniform(0.85, 1.15), pose.radius / 4.5)
    turn = rng.uniform(-0.3, 0.3)
    return texture(shape, PATTERNS[kind.pattern], periods, turn, _colors(rng, kind), rng.random_sample((16, 16)))


def _colors(rng: np.random.RandomState, kind: ObjectClass) -> Colors:
    hue = kind.hue + rng.uniform(-0.08, 0.08)
    saturations = rng.uniform(0.3, 0.95, 2)
    dark, bright = rng.uniform(0.12, 0.45), rng.uniform(0.65, 1.0)
    values = (dark, bright) if kind.dark_first else (bright, dark)
    other = hue + kind.hue_step + rng.uniform(-0.05, 0.05)
    return hsv(hue, saturations[0], values[0]), hsv(other, saturations[1], values[1])


def _develop(rng: np.random.RandomState, canvas: np.ndarray) -> np.ndarray:
    height, width = canvas.shape[:2]
    direction = rng.uniform(0, 2 * np.pi)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    ramp = np.cos(direction) * columns + np.sin(direction) * rows
    light = rng.uniform(0.7, 1.1) * (1 + rng.uniform(0, 0.3) * ramp)
    tint = rng.uniform(0.92, 1.06, 3)
    grain = np.frombuffer(rng.bytes(canvas.size), np.uint8).reshape(canvas.shape)
    noise = (grain - 127.5) / 127.5 * rng.uniform(0.01, 0.06)
    return np.rint(np.clip(canvas * light[..., None] * tint + noise, 0, 1) * 255).astype(np.uint8)
