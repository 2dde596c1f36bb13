"""The formats of exports, and one export as a whole folder and as a ZIP archive."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsbench.errors import DataError
from fsbench.files import make_folder, replacing
from fsbench.files.folders import LISTING, check_only_written, replace_folder
from fsbench.labelling.export.coco import write_coco
from fsbench.labelling.export.cvat import write_cvat
from fsbench.labelling.export.files import Classes, Images
from fsbench.labelling.export.label_maps import write_data_set, write_label_pngs
from fsbench.labelling.export.labelme import write_labelme
from fsbench.labelling.export.yolo import write_yolo


@dataclass(frozen=True)
class Format:
    """A format of exports: its name for people, and what writes images and classes to an empty folder."""

    title: str
    write: Callable[[Images, Classes, Path], None]


FORMATS = {
    "folder": Format("data set for fsbench", write_data_set),
    "png": Format("label PNGs", write_label_pngs),
    "coco": Format("COCO", write_coco),
    "yolo": Format("YOLO segmentation", write_yolo),
    "labelme": Format("LabelMe", write_labelme),
    "cvat": Format("CVAT", write_cvat),
}
"""The formats by their names in paths."""


@dataclass(frozen=True)
class Exported:
    """An export on disk.

    Attributes:
        folder: Its folder.
        archive: The same as a ZIP archive.
        images: Number of its images.
        classes: Number of classes that they show.
    """

    folder: Path
    archive: Path
    images: int
    classes: int


def export(kind: str, images: Images, classes: Classes, exports: Path) -> Exported:
    """Write labelled images to `exports/<kind>/` and `exports/<kind>.zip`, which replace what an earlier export wrote.

    Args:
        kind: One of `FORMATS`.
        images: The labelled images, in order.
        classes: Names of the classes.
        exports: Folder of the exports.

    Raises:
        DataError: there is no such format, or nothing is labelled.
        SettingsError: the folder of an earlier export holds a file that is not of it.
    """
    if kind not in FORMATS:
        raise DataError(f"there is no format {kind!a}; expected {', '.join(FORMATS)}")
    if not any(image.numbers for image in images):
        raise DataError("no image is labelled yet; label at least one and press Done")
    folder, unfinished = make_folder(exports) / kind, exports / f".{kind}.unfinished"
    check_only_written(folder, f"the export {folder}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    FORMATS[kind].write(images, classes, unfinished)
    replace_folder(unfinished, folder)
    archive = exports / f"{kind}.zip"
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name != LISTING:
                packed.write(file, Path(kind) / file.relative_to(folder))
    return Exported(folder, archive, len(images), len({number for image in images for number in image.numbers}))
