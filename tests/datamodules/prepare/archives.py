"""Archives in the publishers' layout, and `fsbench data prepare` on them through the real command line."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import scipy.io

from fsbench.cli.main import main


def save_mat(path: Path, labels: np.ndarray) -> None:
    """SBD's structure: GTcls with Boundaries, Segmentation and CategoriesPresent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    present = np.unique(labels[labels > 0])[:, None]
    content = {"Boundaries": np.zeros((20, 1), object), "Segmentation": labels, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": content}, do_compression=True)


def packed(folder: Path, archive: Path) -> Path:
    """All of `folder` as a tar, tgz or zip archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in sorted(folder.rglob("*")):
                zipped.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
    return archive


def prepare(*arguments: str | Path) -> int:
    quick = ["--backoff", "0", "--retries", "2", "--timeout", "60"]
    return main(["data", "prepare", *quick, *map(str, arguments)])


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name not in (".prepare.lock",)}
