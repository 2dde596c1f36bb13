"""Words that running a published program proved, against the row of the atlas (atlas-runs.md).

A golden tells of each column what the row said once and what was found, in prose that begins with the word, and of some
the rule behind the word. A row is right if its word is the one found, or a word of its own for the rule that is told.
"""

import re
from collections.abc import Mapping

import numpy as np

from fsbench.protocols.programs import Program
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Same
from tests.goldens.kinds.atlas_meter import program_of_row

RULES: Mapping[str, Mapping[str, str]] = {
    "geometry": {
        "opencv": "squash, OpenCV",
        "letterbox:": "letterbox",
    },
    "compared_at": {
        "square of the longer side": "original, square",
        "height and width": "original, height and width",
        "there and back": "original, label there and back",
        "opencv nearest": "network input, OpenCV nearest",
        "torch nearest": "network input, torch nearest",
        "pil nearest": "network input, PIL nearest",
        "letterboxed": "network input, letterboxed",
    },
    "metric": {
        "present only": "class-pooled mIoU, present only",
        "left out": "class-pooled mIoU, classes seen",
        "classes seen": "class-pooled mIoU, classes seen",
        "counts 0": "class-pooled mIoU",
        "zero for absent": "gfss, base with background, zero for absent",
    },
    "fb_iou": {"with the same rule": "pooled, present only"},
    "episode_draw": {"shuffled in place by the same generator": "list of pairs, shuffled when through"},
    "image_lists": {"data set file identical to that of ssp": "mlc"},
}
"""Column -> phrase of a golden -> word of the atlas for the rule that the phrase tells; the first phrase counts."""
OF_ONE_NAME = {("image_lists", "own"): ("mlc",)}
"""(Column, word found) -> words that the atlas has for parts of it."""
_SEEDS = re.compile(r"(\d+) seeds drawn .*?(\d+)$")


def found_for(text: str, before: str, dataset: str) -> str:
    """Return what was found on a data set, of a text that tells of PASCAL and COCO one after the other.

    >>> found_for("COCO: by the list (class first); PASCAL: as given", "none", "PASCAL-5i")
    'none'
    """
    parts = dict(part.split(": ", 1) for part in text.split("; ") if part.startswith(("COCO: ", "PASCAL: ")))
    own = parts.get(dataset.split("-")[0])
    return text if own is None else before if own == "as given" else own


def agrees(column: str, word: str, found: str) -> bool:
    """Return whether a word is the one found, at the beginning of its text, or one of several words for it."""
    seeds = _SEEDS.match(found) if column == "seeds" else None
    if seeds is not None:
        number, seed = map(int, seeds.groups())
        return word == ", ".join(map(str, np.random.RandomState(seed).randint(0, 1000, number).tolist()))
    if found.startswith(word) or word in OF_ONE_NAME.get((column, found), ()):
        return True
    name, *rule = word.split(", ", 1)
    return bool(rule) and (found.startswith(name) or rule[0] in found)


def told_word(column: str, text: str) -> str | None:
    """Return the word for the rule that a text tells first; None where it tells none of `RULES`."""
    lower = text.lower()
    told = [(lower.index(phrase), word) for phrase, word in RULES.get(column, {}).items() if phrase in lower]
    return min(told)[1] if told else None


def cell(program: Program, column: str) -> str:
    """Return what the tables say of a program: a condition, a setting of its test, or its own column."""
    held = getattr(program.test, column, None) if column not in program.conditions else program.conditions[column]
    return str(getattr(program, column, "n.a.") if held is None else held)


def words(case: Case) -> Parts:
    program: Program = program_of_row(case.data["row"])
    yield {"commit": Same(program.commit[: len(case.data["commit"])], case.data["commit"][: len(program.commit)])}
    for column, told in case.data["words"].items():
        word, found = cell(program, column), found_for(told["found"], told["row"], program.dataset)
        if column == "quirks":
            yield {"quirks": Same(told["row"] in word, False)}
            continue
        yield {f"{column}: '{word}' for '{found}'": Same(agrees(column, word, found), True)}
        rule = told_word(column, f"{told.get('rule', '')} {found}")
        if rule is not None:
            yield {f"rule of {column}": Same(word, rule)}


KINDS = {"atlas_words": Kind(words)}
