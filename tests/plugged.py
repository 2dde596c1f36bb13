"""Small distributions with entry points for fsbench, as pip would install them."""

from collections.abc import Mapping
from pathlib import Path

METHOD = '''"""A method of another package: everything is background, or everything the first way."""

import torch

from fsbench.networks.backbones.base import BackboneConfig
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch


class Constant(Segmenter):
    """Predict one value everywhere."""

    learns = False

    def __init__(self, backbone: BackboneConfig, value: int = 1):
        super().__init__(backbone)
        self.value = value

    def answer(self, episode: EpisodeBatch) -> Prediction:
        height, width = episode.query_sizes[0].tolist()
        return Prediction(torch.full((height, width), self.value))
'''


def install(
    folder: Path,
    name: str,
    groups: Mapping[str, Mapping[str, str]],
    files: Mapping[str, str],
    version: str = "1.2",
    direct_url: str = "",
) -> Path:
    """Write a distribution as it lies in site-packages.

    Args:
        folder: stands for site-packages; to be put on PYTHONPATH.
        name: of the distribution.
        groups: entry points, name to value, by group.
        files: texts of its files by their places.
        version: its version.
        direct_url: content of pip's direct_url.json.

    Returns:
        `folder`.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line for group, names in groups.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
    if direct_url:
        (info / "direct_url.json").write_text(direct_url)
    for place, text in files.items():
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
