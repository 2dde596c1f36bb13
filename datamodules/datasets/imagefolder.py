"""Anybody's images for classification: a folder for each class."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.base.files.names import two_alike
from fsbench.data.source import Source
from fsbench.datamodules.kinds.class_folders import below_folders, class_folders, require_images
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class ImageFolder(LabelledImages):
    """A user's photos for classification: one folder per class, sorted by name.

    Args:
        root: folder of the class folders.
        lists: path of a file that lists classes and images, used instead of all photos in the folders; or a list with
            one such path.
        classes: names of the only class folders to take; None takes all.
        max_images: number of images taken of each class, the first by name; None takes all.
    """

    name = "imagefolder"
    turns_images = True
    source = Source(
        kind="own",
        holds=("<class>/<image>, as .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif, .tiff or .ppm",),
    )

    def __init__(
        self,
        root: str,
        lists: str | list[str] | None = None,
        classes: list[str] | None = None,
        max_images: int | None = None,
    ):
        self.classes = classes
        self.max_images = max_images
        super().__init__(root, lists)

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        folders = class_folders(self.folder)
        if alike := two_alike(folders):
            raise DataError(
                f"{self.folder} has the class folders {alike[0]} and {alike[1]}, whose names differ by case, spaces or "
                "accents' form alone; expected one folder for a class; put their images together or rename one"
            )
        if self.classes is not None:
            absent = [name for name in self.classes if name not in folders]
            if absent:
                raise DataError(f"{self.folder} has no class folder {absent[0]}, which classes asks for; correct it")
            folders = {name: folders[name] for name in sorted(set(self.classes))}
        require_images(folders, self.folder)
        return below_folders(folders, lambda name: name, self.max_images)
