"""The demo dataset: textured shapes on cluttered grounds, drawn on first use."""

from pathlib import Path

from datamodules.folder import Folder
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
