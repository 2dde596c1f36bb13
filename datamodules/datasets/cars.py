"""Stanford Cars, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.base.files.arrays import read_matlab
from fsbench.data.picture_file import one_line
from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.class_folders import by_class
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Cars(LabelledImages):
    """Stanford Cars: the training photos, with 196 car models as classes in the order of `cars_meta.mat`."""

    name = "cars"
    parts = ("cars_train", "devkit")
    inner = ("stanford_cars",)
    official = (196, 8_144)
    source = Source(
        archives=(
            Archive(
                "https://ai.stanford.edu/~jkrause/cars/car_devkit.tgz",
                "c3b158d763b6e2245038c8ad08e45376",
                ("devkit/*.mat",),
            ),
            Archive(
                "https://ai.stanford.edu/~jkrause/car196/cars_train.tgz",
                "065e5b463ae28d29e77c1b4b166cfe61",
                ("cars_train/*.jpg",),
            ),
        ),
        page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        terms="gone: get copies and give them with --from DIR",
    )

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
                f"{notes} or {meta} cannot be read ({one_line(error)}); expected those of the publisher's "
                "car_devkit.tgz; fetch it again"
            ) from error
