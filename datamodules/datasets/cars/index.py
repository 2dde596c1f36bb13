"""Stanford Cars, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.base.files.arrays import read_matlab
from fsbench.datamodules.indexes.class_folders import by_class
from fsbench.datamodules.indexes.labelled_images import LabelledImages


class Cars(LabelledImages):
    """Stanford Cars: the training part, 196 classes in the order of `cars_meta.mat`."""

    name = "cars"
    parts = ("cars_train", "devkit")
    inner = ("stanford_cars",)
    photos = "cars_train"
    official = (196, 8_144)

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        notes, meta = (self.root / "devkit" / file for file in ("cars_train_annos.mat", "cars_meta.mat"))
        try:
            entries = read_matlab(notes, squeeze_me=True)["annotations"]
            names = [str(name) for name in read_matlab(meta, squeeze_me=True)["class_names"]]
            number_of = {str(entry["fname"]): int(entry["class"]) for entry in entries.reshape(-1)}
            labels = {file: f"{number:03d}" for file, number in number_of.items()}
            classes = by_class(labels, self.folder, notes)
            return [(names[int(number) - 1].lower(), images) for number, images in classes.items()]
        except DataError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything
            raise DataError(
                f"{notes} or {meta} cannot be read ({error}); expected those of the publisher's car_devkit.tgz; fetch "
                "it again"
            ) from error
