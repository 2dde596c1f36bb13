"""COCO-20i in tests of base and novel classes at once: the validation images' order and label maps (gfss.md §2)."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fsbench.base.files import read_text
from fsbench.data.dataset import DERIVED
from fsbench.data.list_substitutes import substitute_list
from fsbench.datamodules.datasets.coco.index import IMAGE_FOLDER, Coco
from fsbench.datamodules.lists.official import OFFICIAL, UNVERIFIED, missing_list
from fsbench.protocols.draws.gfss import ValidationImages, list_sha256

ORDER_SHA256 = "9581a9be3eb085285c76f1f83ae95c912405750e1c6580a75f25518171a7fb24"
"""Checksum of the authors' val.txt."""


def line_of(name: str) -> str:
    """Return the line of the authors' list about an image."""
    path = PurePosixPath(name)
    return f"{path} val/{path.stem}.png"


class CocoFirstPolygons(Coco):
    """COCO-20i with label maps as DIaM's, which show the first polygon of an object and no further one."""

    first_polygon_only = True
    label_maps_are = f"{Coco.label_maps_are}. Of an object the first polygon alone is painted"


@ValidationImages.register(Coco)
class CocoValidation(ValidationImages):
    """The 40137 images of DIaM's list where a folder of lists has it as `gfss/coco/val.txt`, else all by name."""

    index: Coco

    def view(self) -> CocoFirstPolygons:
        if isinstance(self.index, CocoFirstPolygons):
            return self.index
        return CocoFirstPolygons(str(self.index.root), self.index.lists, self.index.allow_unverified_lists)

    def images(self) -> tuple[Sequence[str], str]:
        index = self.index
        files = [Path(folder).expanduser() / inner / "coco/val.txt" for folder in index.lists for inner in ("gfss", "")]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            substitute_list(
                index, "val", "gfss/coco/val.txt", "all annotated images by name, which draws other supports"
            )
            return index.candidates("val"), DERIVED
        names = [line.split()[0] for line in read_text(path, "list").splitlines() if line.strip()]
        found = list_sha256([line_of(name) for name in names])
        if found != ORDER_SHA256 and not index.allow_unverified_lists:
            raise missing_list(
                f"list {path} was altered: found sha256 {found}; expected {ORDER_SHA256}; fetch the authors' file "
                "again, or set allow_unverified_lists to use it and have the record say so",
                index.name,
            )
        index.check_images(set(names), IMAGE_FOLDER["val"], f"the list {path}")
        return names, OFFICIAL if found == ORDER_SHA256 else UNVERIFIED
