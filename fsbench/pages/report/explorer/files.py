"""Files that the explorer's page loads, also where it is opened from disk.

A page from disk may load images and scripts, and nothing else. So data are scripts of one call each, which hands over
JSON as text: `fsbenchFile("masks-0-3", "{…}")`.
"""

import json
from pathlib import Path
from typing import Any

from fsbench.base.files import write_text

FOLDER = "explorer"
"""Folder of the files, beside the page."""


def write_data_file(folder: Path, name: str, content: Any) -> None:
    """Write `content` to explorer/NAME.js in a study's folder, a script from which the explorer page loads it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    write_text(target / f"{name}.js", f"fsbenchFile({json.dumps(name)},{json.dumps(text)})\n")
