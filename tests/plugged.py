"""Small distributions with entry points for fsbench, as pip would install them."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """Put a folder of distributions on `sys.path`; what was read of packages is forgotten before and after."""

    def forget() -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("fsbench."):
                for value in list(vars(module).values()):
                    if hasattr(value, "cache_clear"):
                        value.cache_clear()

    before = set(sys.modules)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    forget()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        forget()
        packages = {path.name for path in site.iterdir()}
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in packages:
                del sys.modules[name]
