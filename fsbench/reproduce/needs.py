"""Files that a paper's runs need: which are absent, and the command that brings each. Nothing is built or fetched."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fsbench.config.request import Request
from fsbench.config.settings import file_settings, setting
from fsbench.paths import REPOSITORY


@dataclass(frozen=True, order=True)
class Missing:
    """Something absent: "data", "weights" or "checkpoint", its name, where it should be, and how to get it."""

    kind: str
    name: str
    place: str
    command: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} not in {self.place}: {self.command}"


def missing_data(request: Request) -> list[Missing]:
    """Return the request's data set where its folder is absent or empty. Data sets that are drawn are never absent."""
    name = request.dataset
    root = request.data_root or setting(file_settings(request), "data.dataset.root")
    if name.startswith("demo") or root is None:
        return []
    folder = Path(root).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        return []
    own = f"give its folder with --data-root {name}=DIR"
    command = own if name in ("folder", "imagefolder") else f"fsbench data prepare {name} --root {folder}"
    return [Missing("data", name, str(folder), command)]


def missing_weights(request: Request, trained: bool) -> list[Missing]:
    """Return the backbone's weights where their file is absent; `trained`: a training here makes them."""
    name = setting(file_settings(request), "model.backbone.name")
    if trained or name is None:
        return []
    file = backbone_files().get(name)
    if file is None or (REPOSITORY / file).is_file():
        return []
    return [Missing("weights", name, file, f"fsbench weights fetch {name}")]


def missing_checkpoint(path: str) -> list[Missing]:
    """Return the authors' checkpoint where there is no file of it."""
    if not path or Path(path).expanduser().is_file():
        return []
    return [Missing("checkpoint", Path(path).parent.as_posix(), path, "get it from the authors' page, put it there")]


@cache
def backbone_files() -> dict[str, str]:
    """Return the usual place of every backbone's weights, relative to the repository."""
    # torch, which is needed anyway once data and weights are there
    from fsbench.backbones.encoder import ENCODERS
    from fsbench.backbones.pyramid_networks import PYRAMIDS
    from fsbench.backbones.vit import VITS

    return {name: spec.file for table in (VITS, PYRAMIDS, ENCODERS) for name, spec in table.items()}


def distinct(missing: Iterable[Missing]) -> list[Missing]:
    """Sort what is missing, each thing once."""
    return sorted(set(missing))
