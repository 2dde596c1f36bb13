"""The demo datasets: textured shapes on cluttered grounds, drawn on first use."""

from pathlib import Path

from datamodules.folder import Folder
from datamodules.labelled_photos import ImageFolder
from fsbench.demo import photos
from fsbench.demo.dataset import generate, is_current


class Demo(Folder):
    """The demo dataset in `root`: 20 classes, four folds of five.

    The files are generated when the folder is absent or holds those of another version or seed (some seconds).

    Args:
        root: folder of the dataset; its parent is created.
        seed: of the scenes.
    """

    def __init__(self, root: str = "data/demo", seed: int = 0):
        folder = Path(root).expanduser()
        if not is_current(folder, seed):
            generate(folder, seed)
        super().__init__(root)


class DemoPhotos(ImageFolder):
    """The same 20 classes for classification: 30 photos each, which show one object.

    They are drawn as `Demo` is. The demo's backbone saw none of the classes in its pre-training.
    """

    name = "demo-cls"

    def __init__(self, root: str = "data/demo-cls", seed: int = 0, lists: str | list[str] | None = None):
        folder = Path(root).expanduser()
        if not photos.is_current(folder, seed):
            photos.generate(folder, seed)
        super().__init__(root, lists)
