"""The consequences of a protocol's choices in words, and the table that sets protocols side by side."""

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fsbench.protocols.base import OTHERS, Protocol
from fsbench.tables.formats import markdown_row

LABELS = {
    "sampler": "episodes are drawn",
    "seed": "seed",
    "streams": "random streams",
    "episodes": "episodes a fold",
    "ways": "ways",
    "empty_queries": "empty queries",
    "settings": "settings",
    "resize": "images become S x S",
    "query_size": "metrics at",
    "void": "void pixels (255)",
    "shots": "K shots become one answer",
    "presence": "presence of segmenters",
    "averaging": "mIoU",
    "fb_iou": "FB-IoU",
    "frame": "masks lie over",
}
"""Choice -> its name in the table; `name`, `version` and `summary` stand in the head."""

CONSEQUENCES: dict[tuple[str, Any], str] = {
    (
        "sampler",
        "fscs",
    ): "each by itself: PASCAL's queries go through the list, COCO's are drawn class first; K different "
    "supports. Any episode can be made again without those before it",
    ("sampler", "hsnet"): "one after the other from one stream: PASCAL's queries go through the list, COCO's are drawn "
    "class first; an image may be drawn twice as a support, so 5 shots can be fewer images",
    ("sampler", "pfenet"): "query images go through a list of their own (2048 pixels of a class or more), the class is "
    "drawn among all that the image shows, also tiny ones; K different supports",
    ("sampler", "incontext"): "one after the other from one stream; as hsnet on COCO, PASCAL, FSS-1000 and iSAID. LVIS "
    "and object parts have rules of their own: classes that depend on K, and crops to the object's box",
    ("sampler", "fssdino"): "one after the other from one stream of Python's generator: a class, then K + 1 of its "
    "images in val2014, in the order of CPython's sets. Objects below 2048 pixels and crowds do not exist",
    ("seed", None): "the episode's index",
    ("seed", 0): "0; --data.test_seed repeats a test with other episodes",
    ("seed", 321): "321; HMNet's seed study (Table 6) repeats the test with 0, 1, 2 and 3: --data.test_seed",
    ("ways", "any"): "N classes at once; with N > 1 classes compete for a pixel",
    ("ways", "one"): "one class at a time; foreground against background, easier than N ways",
    ("empty_queries", True): "allowed: a method must also say that a class is absent; a false alarm costs IoU of the "
    "class and the episode's accuracy",
    ("empty_queries", False): "none: the class is always there, so predicting it everywhere is never punished as a "
    "false alarm",
    ("settings", "fscs"): "original, partially and fully augmented supports, and the size-restricted sets 0-5, 5-10, "
    "10-15, 0-15 %",
    ("settings", "original"): "original only",
    ("resize", "pil"): "bilinear with antialiasing (PIL), masks nearest with index floor(i*in/out); S is the method's",
    (
        "resize",
        "cv2",
    ): "linear without antialiasing (OpenCV), masks nearest: details alias when an image shrinks; S is 473 "
    "on PASCAL and 633 on COCO in the official programs",
    ("resize", "frame"): "the longest side to S without antialiasing (OpenCV), the rest is padding",
    (
        "query_size",
        "original",
    ): "the query's own size: thin and small objects count as they are; a low-resolution answer "
    "pays for its coarse edges",
    ("query_size", "input"): "the method's input size S x S: aspect ratio is lost, every image has equal weight, and S "
    "differs between methods (HSNet 400, DCAMA 384)",
    ("void", "background"): "background: predicting the object's border band costs IoU",
    ("void", "ignore"): "left out: the uncertain border band costs nothing, worth points on PASCAL; COCO has no void",
    ("shots", "method"): "by the method (EMAT and CST add probabilities, DCAMA attends to all at once, HSNet votes)",
    ("presence", "any_pixel"): "a way is present where any pixel is predicted as it; said in a note under the table",
    ("averaging", "class_sums"): "intersections and unions of a class are summed over all episodes, then divided, then "
    "averaged over the fold's classes: big objects weigh more than in a mean over images; a class that no episode is "
    "about counts as 0",
    ("fb_iou", "pooled"): "mean of the IoU of all classes taken together and the background's IoU",
    ("fb_iou", "classes"): "mean of mIoU and the background's IoU: the score FB-IoU-classes",
    ("frame", None): "the image",
}
"""(choice, value) -> consequence; other values speak for themselves."""

COLUMN = 24
"""Least width of a protocol's column."""


def choices(protocol: Protocol) -> dict[str, str]:
    """Explain every choice of a protocol: choice -> its value and what follows, in words."""
    values = {f.name: getattr(protocol, f.name) for f in fields(Protocol)}
    return {
        key: _by_dataset(value) if isinstance(value, dict) else _explained(key, value) for key, value in values.items()
    }


def _explained(key: str, value: Any) -> str:
    if key == "query_size" and isinstance(value, int):
        return (
            f"{value} x {value} whatever the method's input: aspect ratio is lost, every image has equal weight, and "
            "the truth is the same for all methods"
        )
    if key == "frame" and value is not None:
        return (
            f"a padded square of {value}, stretched to the query's size: padding counts as background, the aspect "
            "ratio is lost"
        )
    return CONSEQUENCES.get((key, value), str(value))


def _by_dataset(value: dict[str, Any]) -> str:
    others = [f"{count} on {name}" for name, count in value.items() if name != OTHERS]
    words = [str(value[OTHERS]), *(word.replace("all on", "every image of") for word in others)]
    return ", ".join(words)


def side_by_side(protocols: Sequence[Protocol], width: int = 120) -> str:
    """A text table `width` characters wide or a little less: a row for each choice, a column for each protocol; below
    it the choices in which they agree. Protocols that do not fit beside the others stand in a further table."""
    explained = [choices(protocol) for protocol in protocols]
    agreed = {key for key in LABELS if len(protocols) > 1 and len({words[key] for words in explained}) == 1}
    first = max(map(len, LABELS.values()))
    fitting = max(1, (width - first) // (COLUMN + 3))
    tables = -(-len(protocols) // fitting)
    beside = -(-len(protocols) // tables)  # evenly over the tables
    column = max(COLUMN, (width - first) // beside - 3)
    lines = []
    for start in range(0, len(protocols), beside):
        own = slice(start, start + beside)
        rows = [("protocol", [f"{p.name} (version {p.version})" for p in protocols[own]])]
        rows += [("", [p.summary for p in protocols[own]])]
        rows += [
            (label, [words[key] for words in explained[own]]) for key, label in LABELS.items() if key not in agreed
        ]
        lines += [line for label, cells in rows for line in _row(label, cells, first, column)]
    if agreed:
        lines += ["The same in all of them", ""]
        same = [(LABELS[key], explained[0][key]) for key in LABELS if key in agreed]
        lines += [line for label, cell in same for line in _row(label, [cell], first, width - first - 3)]
    return "\n".join(lines[:-1])


def _row(label: str, cells: Sequence[str], first: int, column: int) -> list[str]:
    """Lines of a table row, an empty one last."""
    wrapped = [textwrap.wrap(cell, column) for cell in cells]
    lines = []
    for i in range(max(map(len, wrapped))):
        parts = [(label if i == 0 else "").ljust(first)]
        parts += [(cell[i] if i < len(cell) else "").ljust(column) for cell in wrapped]
        lines.append("   ".join(parts).rstrip())
    return [*lines, ""]


def as_markdown(protocols: Sequence[Protocol]) -> str:
    """Write protocols side by side as a Markdown table."""
    explained = [choices(protocol) for protocol in protocols]
    head = [f"{p.name} (version {p.version})" for p in protocols]
    rows = [["", *head], ["---"] * (len(protocols) + 1), ["", *(p.summary for p in protocols)]]
    rows += [[label, *(words[key] for words in explained)] for key, label in LABELS.items()]
    return "\n".join(map(markdown_row, rows))
