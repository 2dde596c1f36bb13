"""Data sets for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.base.files.arrays import read_matlab
from fsbench.data.picture_file import one_line
from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.class_folders import below_folders, by_class, class_folders, require_images
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Aircraft(LabelledImages):
    """FGVC-Aircraft: training and validation photos of 70 aircraft families (the classes)."""

    name = "aircraft"
    parts = ("images", "images_family_trainval.txt")
    inner = ("data", "fgvc-aircraft-2013b/data")
    official = (70, 6_667)
    listing = ("images_family_trainval.txt", "<image> <family>")
    source = Source(
        archives=(
            Archive(
                "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "d4acdd33327262359767eeaa97a4f732",
                ("images/*.jpg", "images_family_trainval.txt"),
            ),
        ),
        page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    )


class Cub(LabelledImages):
    """CUB-200-2011: all photos of birds; the 200 folders in `images` are the classes."""

    name = "cub"
    parts = ("images",)
    inner = ("CUB_200_2011",)
    official = (200, 11_788)
    number_in_folder = r"^.*\."
    source = Source(
        archives=(
            Archive(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "97eceeb196236b17998738112f37df78",
                ("images/*/*.jpg",),
            ),
        ),
        page="https://data.caltech.edu/records/65de6-vp158",
    )


class Pets(LabelledImages):
    """Oxford-IIIT Pet: the photos of its file `list.txt`, with 37 breeds in the order of the file's CLASS-ID."""

    name = "pets"
    parts = ("images", "annotations/list.txt")
    inner = ("oxford-iiit-pet",)
    official = (37, 7_349)
    listing = ("annotations/list.txt", "<image> <class> <species> <breed>")
    numbered = True
    source = Source(
        archives=(
            Archive(
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                "95a8c909bbe2e81eed6a22bccdf3f68f",
                ("annotations/list.txt",),
            ),
            Archive(
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                "5c4f3ee8e5d25df40f4fd59a7f44e54c",
                ("images/*.jpg",),
            ),
        ),
        page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    )


class Places(LabelledImages):
    """Places365-Standard: 365 classes of scenes, with the first 200 training photos of each class folder."""

    name = "places"
    parts = ("train",)
    inner = ("places365_standard",)
    official = (365, 73_000)
    most = 200
    source = Source(
        archives=(
            Archive(
                "http://data.csail.mit.edu/places/places365/places365standard_easyformat.tar",
                None,  # none is published
                ("train/*/*.jpg",),
                most=200,  # of each folder, by name; there are 1.8 million
            ),
        ),
        page="http://places2.csail.mit.edu/download-private.html",
        terms="more than 20 GB, of which 73,000 photos are kept",
    )


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


class Plantae(LabelledImages):
    """iNaturalist 2018, plants: the 200 class folders with most photos, and of each the first 600 photos.

    The authors drew 600 at random without a seed. If folders have equally many photos, those whose names come last are
    taken.
    """

    name = "plantae"
    parts = ("Plantae", "categories.json")
    inner = ("train_val2018",)
    official = (200, None)
    largest, most = 200, 600
    source = Source(
        archives=(
            Archive(
                "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/categories.json.tar.gz",
                None,  # none is published
                ("categories.json",),
            ),
            Archive(
                "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/train_val2018.tar.gz",
                "b1c6952ce38f31868cc50ea72d066cc3",
                ("Plantae/*/*.jpg",),
            ),
        ),
        page="https://github.com/visipedia/inat_comp/tree/master/2018",
        terms="120 GB",
    )

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        source = self.root / "categories.json"
        try:
            name_of = {str(entry["id"]): str(entry["name"]).lower() for entry in read_json(source, "annotations")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{source} cannot be read ({error}); expected a list of categories with id and name; fetch "
                "categories.json.tar.gz again"
            ) from error
        every = class_folders(self.folder)
        taken = sorted(every, key=lambda name: (len(every[name]), name))[-self.largest :]
        folders = {name: every[name] for name in sorted(taken)}
        require_images(folders, self.folder)
        if unknown := folders.keys() - name_of:
            raise DataError(f"{source} has no category {min(unknown)}, a folder of {self.folder}; fetch it again")
        return below_folders(folders, name_of.__getitem__, self.most)
