"""iNaturalist 2018, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.class_folders import below_folders, class_folders, require_images
from fsbench.datamodules.kinds.labelled_images import LabelledImages


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
        folders = class_folders(self.folder)
        taken = sorted(sorted(folders, key=lambda name: (len(folders[name]), name))[-self.largest :])
        require_images({name: folders[name] for name in taken}, self.folder)
        unknown = [name for name in taken if name not in name_of]
        if unknown:
            raise DataError(f"{source} has no category {unknown[0]}, a folder of {self.folder}; fetch it again")
        return below_folders({name: folders[name] for name in taken}, name_of.__getitem__, self.most)
