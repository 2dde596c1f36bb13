"""Oxford-IIIT Pet, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.datamodules.indexes.class_folders import by_class, rows, spoken
from fsbench.datamodules.indexes.labelled_images import LabelledImages


class Pets(LabelledImages):
    """Oxford-IIIT Pet: all photos of `list.txt`, 37 breeds in the order of their CLASS-ID."""

    name = "pets"
    parts = ("images", "annotations/list.txt")
    inner = ("oxford-iiit-pet",)
    photos = "images"
    official = (37, 7_349)

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        source = self.root / self.parts[1]
        lines = rows(source, 4, "<image> <class> <species> <breed>")
        if not all(line[1].isdigit() for line in lines):
            raise DataError(f"{source} has a class that is no number; expected numbers from 1; fetch it again")
        labels = {f"{image}.jpg": f"{int(number):03d}" for image, number, *_ in lines}
        classes = by_class(labels, self.folder, source)
        return [(spoken(images[0].rpartition("_")[0]), images) for images in classes.values()]
