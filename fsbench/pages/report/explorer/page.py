"""The explorer's page: its scripts joined, its style, and the colors of its layers."""

import json
from pathlib import Path

from markupsafe import Markup

from fsbench.pages.look.theme import Inlined, content_hash
from fsbench.results.pictures.palette import DARK_LINE, ERROR_COLORS, HEAT_COLORS, hex_color

EXPLORER_PAGE = Path(__file__).with_name("page")
SCRIPTS = (
    "rle.js", "episodes.js", "filters.js", "state.js", "drawing.js", "scatter.js", "histograms.js", "layers.js",
    "viewer.js", "strip.js", "manifest.js", "tags.js", "main.js",
)  # fmt: skip
"""Files of the page's script, in the order in which they build on each other."""

TRUTH, PREDICTED = ERROR_COLORS[2], ERROR_COLORS[1]
"""Colors of truth and prediction: those of pixels that only one of them has, missed ones and false alarms."""


def explorer_styles(of_every_page: Inlined) -> Inlined:
    """Return the styles of the explorer page (single episodes): those of all pages, its own, and colors of layers."""
    named = {"truth": TRUTH, "predicted": PREDICTED}
    named |= {"heat-least": HEAT_COLORS[0], "heat-most": HEAT_COLORS[-1]}
    named |= {f"error-{kind}": color for kind, color in enumerate(ERROR_COLORS, 1)}
    variables = ";".join(f"--{name}:{hex_color(color)}" for name, color in named.items())
    style = f":root{{{variables}}}\n" + (EXPLORER_PAGE / "explorer.css").read_text(encoding="utf-8")
    return _with(of_every_page, style)


def explorer_scripts(of_every_page: Inlined) -> Inlined:
    """Return the scripts of the explorer page (single episodes): those of all pages, then its own.

    The page may also load data files, which are scripts, too.
    """
    colors = {"truth": TRUTH.tolist(), "predicted": PREDICTED.tolist(), "errors": ERROR_COLORS.tolist()}
    colors |= {"heat": HEAT_COLORS.tolist()}
    script = explorer_script() + f"startExplorer({json.dumps(colors | {'dark': DARK_LINE})});\n"
    inlined = _with(of_every_page, script)
    return Inlined(inlined.texts, inlined.hashes + Markup(" 'strict-dynamic'"))


def explorer_script() -> str:
    """Return the explorer page's own script without the statement that starts it: it only declares functions."""
    parts = [(EXPLORER_PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return '"use strict";\n' + "".join(parts)


def _with(inlined: Inlined, text: str) -> Inlined:
    return Inlined([*inlined.texts, Markup(text)], inlined.hashes + Markup(f" '{content_hash(text)}'"))
