"""Prepare COCO 2014: images and instance annotations; label PNGs where requested."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError
from fsbench.base.files import is_file, read_text, sha256_file, write_text
from fsbench.data.source import Archive, read_source
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.label_images import write_label_map
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.datamodules.prepare.making import has_content, making_place, publish, publish_into, remove_leftover
from fsbench.datamodules.prepare.unpack import unpack

_ARCHIVES = read_source("fsbench.datamodules.datasets.coco").archives
IMAGES = {folder: _ARCHIVES[f"{folder}.zip"] for folder in Coco.image_folders}
ANNOTATIONS = _ARCHIVES["annotations_trainval2014.zip"]
RENDERED = "rendered-from.txt"
"""File beside rendered label maps with the sha256 of the annotation file they show."""


def prepare(job: Job) -> list[str]:
    """Make `<root>/{train2014,val2014,annotations}` and the lists; returns remarks for the user."""
    remarks = provide_lists(job, "fsbench.datamodules.datasets.coco")
    provide_parts(job, Coco.image_folders)
    return remarks


def provide_parts(job: Job, parts: Sequence[str]) -> None:
    """Make the folders `parts` of images and their annotations; steps whose result is present are left out."""
    folders = ["val2014"] if job.validation_only else list(parts)
    files = {f"instances_{folder}.json" for folder in folders}
    annotations = job.root / "annotations"
    if not all((annotations / file).is_file() for file in files):
        with making_place(annotations) as making:
            unpack(job.obtain(ANNOTATIONS), making, lambda name: name.name if name.name in files else None)
            _require(ANNOTATIONS, making, sorted(files))
            publish_into(making, annotations, files)
    for folder in folders:
        if not has_content(job.root / folder):
            with making_place(job.root / folder) as making:
                count = unpack(job.obtain(IMAGES[folder]), making, partial(_image, folder))
                if not count:
                    raise DataError(
                        f"archive {IMAGES[folder].name} has no {folder}/*.jpg; expected COCO's photos of 2014"
                    )
                publish(making, job.root / folder)
    for name in ("annotations", *folders):
        remove_leftover(job.root / name)
    if job.render:
        for folder in folders:
            _render(job.root, folder)


def _image(folder: str, name: PurePosixPath) -> str | None:
    """Return the file name of an image directly in `folder`; None for anything else."""
    return name.name if name.parent.name == folder and name.suffix == ".jpg" else None


def _require(archive: Archive, making: Path, files: list[str]) -> None:
    """Raise DataError unless all `files` of `archive` were unpacked to `making`."""
    for file in files:
        if not (making / file).is_file():
            raise DataError(f"archive {archive.name} has no {file}; expected COCO's annotations of 2014")


def _render(root: Path, folder: str) -> None:
    """Write `annotations/<folder>/<image>.png`: class numbers 1 to 80 by the painting rule (fscs-protocol §2.2).

    For other programs, which read such files; the suite paints label maps itself, three times as fast as decoding.
    Rendered files of the same annotations are kept, so that an interrupted call goes on where it stopped.

    Raises:
        DataError: the folder has label maps that were not rendered by this function.
    """
    from tqdm import tqdm  # spares commands that draw no progress its import

    index = Coco(str(root), lists=[])
    target = root / "annotations" / folder
    target.mkdir(exist_ok=True)
    sha256 = sha256_file(root / "annotations" / f"instances_{folder}.json")
    marker = target / RENDERED
    if is_file(marker) and read_text(marker, "list").strip() == sha256:
        return
    part = target / f"{RENDERED}.part"
    if not is_file(part) and not is_file(marker) and any(target.glob("*.png")):
        raise DataError(
            f"{target} has label maps of another program; expected none, or those of an earlier --render; move them "
            "elsewhere, or leave --render out"
        )
    if not is_file(part) or read_text(part, "list").strip() != sha256:
        for path in target.glob("*.png"):  # of another annotation file
            path.unlink()
        write_text(part, f"{sha256}\n")
    present = {path.stem for path in target.glob("*.png")}
    wanted = [path.stem for path in sorted((root / folder).glob("*.jpg")) if path.stem not in present]

    def render(name: str) -> None:
        write_label_map(target / f"{name}.png", index.label_map(f"{folder}/{name}.jpg"))

    for name in wanted[:1]:
        render(name)  # reads the annotations, which the threads then share
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(tqdm(pool.map(render, wanted), total=len(wanted), desc=f"Painting {folder}", unit="image", disable=None))
    part.replace(marker)
