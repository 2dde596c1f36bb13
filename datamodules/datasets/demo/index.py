"""The demo datasets: textured shapes on cluttered grounds, drawn on first use."""

from pathlib import Path

from fsbench.data.dataset import Drawn
from fsbench.data.source import Source
from fsbench.datamodules.datasets.demo.dataset import TRAIN, VAL, drawn_dataset, drawn_images
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.imagefolder import ImageFolder


class Demo(Folder, Drawn):
    """The demo dataset in `root`: 20 classes, four folds of five.

    Args:
        root: folder of the dataset; its parent is created. If it holds a demo of other arguments or of another version,
            that demo stays, and a folder beside it is used, such as `data/demo-1-7-500-1000` for seed 7.
        seed: seed of the scenes.
        train: number of training images.
        val: number of validation images.
    """

    folds = 4  # as the description says that is generated
    classes_of_fold = 5
    source = Source(kind="drawn")

    def __init__(self, root: str = "data/demo", seed: int = 0, train: int = TRAIN, val: int = VAL):
        super().__init__(str(drawn_dataset(seed, train, val).ensure(Path(root).expanduser())))

    @classmethod
    def is_drawn(cls, root: str = "data/demo", seed: int = 0, train: int = TRAIN, val: int = VAL) -> bool:
        drawn = drawn_dataset(seed, train, val)
        return drawn.is_in(drawn.place(Path(root).expanduser()))


class DemoImages(ImageFolder, Drawn):
    """The demo's 20 classes for classification: 30 images each, which show one object.

    The images are generated where they are absent, like those of `Demo`. The demo's backbone saw none of the classes in
    its pre-training.
    """

    name = "demo-cls"
    source = Source(kind="drawn")

    def __init__(self, root: str = "data/demo-cls", seed: int = 0, lists: str | list[str] | None = None):
        super().__init__(str(drawn_images(seed).ensure(Path(root).expanduser())), lists)

    @classmethod
    def is_drawn(cls, root: str = "data/demo-cls", seed: int = 0, lists: str | list[str] | None = None) -> bool:
        drawn = drawn_images(seed)
        return drawn.is_in(drawn.place(Path(root).expanduser()))
