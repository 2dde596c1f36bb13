"""Drawings of the steps of a method's prediction over the query, see `fsbench.core.query_maps`."""

from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from fsbench.core.query_maps import HasQueryMaps, Sketch
from fsbench.data.batch import EpisodeBatch
from fsbench.results.pictures.masks import SCALE, gray, heat_map, line_width, paint_slots
from fsbench.results.pictures.palette import DARK_LINE, LIGHT_TEXT, Color
from fsbench.results.pictures.regions import COLORS, paint_regions
from fsbench.results.pictures.sheet import KeyEntry, Panel

EDGES = 100
"""Edges that are drawn at most, the shortest: more of them hide the image."""
OFF_OBJECT: Color = (60, 120, 255)
"""Points and boxes that say where the object is not."""


def draw_sketch(sketch: Sketch, image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 in gray with a method's sketch (values, regions, points, boxes) over it."""
    drawn = gray(image) if sketch.values is None else heat_map(sketch.values, image)
    if sketch.regions is not None:
        slots = np.where(sketch.regions > 0, (sketch.regions - 1) % len(COLORS) + 1, 0)
        drawn = paint_slots(drawn, slots, COLORS, 0.5)
    drawn, width = np.ascontiguousarray(drawn), line_width(image.shape)
    places = [_pixel(point, image) for point in sketch.points]
    for start, end in sketch.edges[:EDGES].tolist():
        cv2.arrowedLine(drawn, places[start], places[end], LIGHT_TEXT, max(1, width // 2), cv2.LINE_AA, tipLength=0.1)
    for box, group in zip(sketch.boxes, _groups(sketch.box_groups, len(sketch.boxes)), strict=True):
        corners = _pixel(box[:2], image), _pixel(box[2:], image)
        for thickness, color in ((3 * width, DARK_LINE), (width, group_color(group))):
            cv2.rectangle(drawn, *corners, color, thickness)
    for place, group in zip(places, _groups(sketch.groups, len(places)), strict=True):
        for radius, color in ((3 * width, DARK_LINE), (2 * width, group_color(group))):
            cv2.circle(drawn, place, radius, color, -1, cv2.LINE_AA)
    return drawn


def _pixel(place: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    x, y = (np.clip(place, 0, 1) * (width - 1, height - 1)).round().astype(int).tolist()
    return x, y


def _groups(given: np.ndarray, count: int) -> list[int]:
    return given.tolist() if len(given) else [1] * count


def group_color(group: int) -> Color:
    """Return the color of a group of points or boxes in a sketch; 0 and below mean off the object."""
    if group <= 0:
        return OFF_OBJECT
    red, green, blue = COLORS[(group - 1) % len(COLORS)].tolist()
    return red, green, blue


STEP_KEYS = {
    "clusters": "clusters: groups of the query's patches with like features, a color each",
    "similarity": f"similarity: of each patch to the supports' object, {SCALE}",
    "similarity to the background": f"similarity to the background: to what is beside that object, {SCALE} of this map",
    "candidates": "candidates: patches that are like the object and whose closest support patch is on it",
    "cluster scores": f"cluster scores: how well each cluster goes with the object, {SCALE}",
    "prototypes": "prototypes: which of the class's prototypes a patch is closest to, a color each",
    "cosine": f"cosine: with that prototype, {SCALE}",
    "Gram map": f"Gram map: how well a patch goes with the class's directions, {SCALE}",
    "foreground map": f"foreground map: similarity to the supports' object, {SCALE}",
    "background map": f"background map: similarity to what is beside that object, {SCALE}",
    "points": "points: where SAM is prompted, over the weights of the places as points",
    "graph": f"graph: arrows from a point to those that its mask covers ({EDGES} at most, the shortest); points and "
    "masks of a component have a color",
    "kept masks": "kept masks: those that passed both gates and are merged, by component",
    "matched points": "matched points: cells that match the supports' object both ways, and the box around them",
    "sampled points": "sampled points: of which subsets prompt SAM",
    "candidate masks": f"candidate masks: how many of SAM's masks hold a pixel, {SCALE}",
    "chosen masks": "chosen masks: those that are merged; such as overlap have a color",
    "mask scores": f"mask scores: of the best chosen mask at a pixel, {SCALE}",
    "similarity and points": f"similarity and points: to the supports' object, {SCALE}; on it, and (blue) off it",
    "first mask": "first mask: SAM's answer to the points alone",
    "mask and box": "mask and box: the second answer, and its box that prompts for the third",
    "canvas": "canvas: the picture that the network sees; yellow boxes are examples, blue ones are not to be found",
    "detections": "detections: what is found inside the query's part, and boxes around it, a color each",
    "detection scores": f"detection scores: of the best detection at a pixel, {SCALE}",
}
"""Part of a caption of a step -> what its panel shows, in words."""


def explain_captions(panels: Iterable[Panel], keys: Mapping[str, str] = STEP_KEYS) -> list[KeyEntry]:
    """Return the legend lines, values of `keys`, for the captions in `panels`; of several keys the longest."""
    names = {max((part for part in keys if part in caption), key=len, default="") for caption, _ in panels}
    return [words for part, words in keys.items() if part in names]


def step_panels(method: HasQueryMaps, episode: EpisodeBatch, query: np.ndarray, colors: np.ndarray) -> list[Panel]:
    """Draw the intermediate maps of a method's prediction, each as (name, image (H, W, 3) uint8).

    Args:
        method: the method, whose `query_maps` returns the maps.
        episode: a batch of one episode, without its truth.
        query: (H, W, 3) uint8, the query's image at any size.
        colors: (n, 3) uint8, colors of masks.
    """
    panels = []
    for name, step in method.query_maps(episode).items():
        if isinstance(step, Sketch):
            drawn = draw_sketch(step, query)
        else:
            numbers = step.cpu().numpy()
            if numbers.dtype == np.uint8:
                drawn = numbers
            elif numbers.dtype == np.bool_:
                drawn = paint_slots(query, numbers.astype(np.uint8), colors)
            else:
                drawn = heat_map(numbers, query) if step.is_floating_point() else paint_regions(query, numbers)
        panels.append((name, drawn))
    return panels
