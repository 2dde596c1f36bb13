"""The data sets of FORT's published figures, derived from what their publishers hand out (fort.md §2).

All lists are in sorted order. The authors shuffled within a class, which changes nothing that episodes could tell.
"""

from collections.abc import Sequence

from datamodules import instructions as fetch
from datamodules.datasets.class_folders import below_folders, by_class, class_folders, require_images, rows, spoken
from datamodules.datasets.image_folder import ImageFolder
from datamodules.datasets.labelled_images import LabelledImages
from fsbench.errors import DataError
from fsbench.files import read_json
from fsbench.files.arrays import read_matlab

Classes = list[tuple[str, Sequence[str]]]


class Cub(LabelledImages):
    """CUB-200-2011: all photos, the 200 folders of `images` as classes."""

    name = "cub"
    parts = ("images",)
    inner = ("CUB_200_2011",)
    photos = "images"
    official = (200, 11_788)
    guide = fetch.CUB

    def derive(self) -> Classes:
        folders = class_folders(self.folder)
        require_images(folders, self.folder)
        return below_folders(folders, lambda name: spoken(name.rpartition(".")[2]))


class Cars(LabelledImages):
    """Stanford Cars: the training part, 196 classes in the order of `cars_meta.mat`."""

    name = "cars"
    parts = ("cars_train", "devkit")
    inner = ("stanford_cars",)
    photos = "cars_train"
    official = (196, 8_144)
    guide = fetch.CARS

    def derive(self) -> Classes:
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


class Places(LabelledImages):
    """Places365-Standard: the first 200 training photos of each of the 365 folders."""

    name = "places"
    parts = ("train",)
    inner = ("places365_standard",)
    photos = "train"
    official = (365, 73_000)
    guide = fetch.PLACES
    most = 200

    def derive(self) -> Classes:
        folders = class_folders(self.folder)
        require_images(folders, self.folder)
        return below_folders(folders, spoken, self.most)


class Plantae(LabelledImages):
    """iNaturalist 2018: of the plants, the 200 folders with most photos, the first 600 of each.

    The authors drew 600 at random without a seed. Of folders with equally many photos, those whose names come last are
    taken.
    """

    name = "plantae"
    parts = ("Plantae", "categories.json")
    inner = ("train_val2018",)
    photos = "Plantae"
    official = (200, None)
    guide = fetch.PLANTAE
    largest, most = 200, 600

    def derive(self) -> Classes:
        source = self.root / "categories.json"
        try:
            name_of = {str(entry["id"]): str(entry["name"]).lower() for entry in read_json(source, "annotations")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{source} cannot be read ({error}); expected a list of categories with id and name; fetch "
                "categories.json.tar.gz again"
            ) from error
        folders = class_folders(self.folder)
        taken = sorted(sorted(folders, key=lambda name: (len(folders[name]), name))[-self.largest :])
        require_images({name: folders[name] for name in taken}, self.folder)
        unknown = [name for name in taken if name not in name_of]
        if unknown:
            raise DataError(f"{source} has no category {unknown[0]}, a folder of {self.folder}; fetch it again")
        return below_folders({name: folders[name] for name in taken}, name_of.__getitem__, self.most)


class Aircraft(LabelledImages):
    """FGVC-Aircraft: training and validation photos, 70 families."""

    name = "aircraft"
    parts = ("images", "images_family_trainval.txt")
    inner = ("data", "fgvc-aircraft-2013b/data")
    photos = "images"
    official = (70, 6_667)
    guide = fetch.AIRCRAFT

    def derive(self) -> Classes:
        source = self.root / self.parts[1]
        lines = rows(source, 2, "<image> <family>")
        classes = by_class({f"{image}.jpg": family.strip() for image, family in lines}, self.folder, source)
        return [(spoken(family), images) for family, images in classes.items()]


class Pets(LabelledImages):
    """Oxford-IIIT Pet: all photos of `list.txt`, 37 breeds in the order of their CLASS-ID."""

    name = "pets"
    parts = ("images", "annotations/list.txt")
    inner = ("oxford-iiit-pet",)
    photos = "images"
    official = (37, 7_349)
    guide = fetch.PETS

    def derive(self) -> Classes:
        source = self.root / self.parts[1]
        lines = rows(source, 4, "<image> <class> <species> <breed>")
        if not all(line[1].isdigit() for line in lines):
            raise DataError(f"{source} has a class that is no number; expected numbers from 1; fetch it again")
        labels = {f"{image}.jpg": f"{int(number):03d}" for image, number, *_ in lines}
        classes = by_class(labels, self.folder, source)
        return [(spoken(images[0].rpartition("_")[0]), images) for images in classes.values()]


IMAGE_DATASETS: dict[str, type[LabelledImages]] = {
    kind.name: kind for kind in (Cub, Cars, Places, Plantae, Aircraft, Pets, ImageFolder)
}
"""By their names in configs/data."""
