"""Small folders of labelled photos: colour tells the class, more or less."""

from pathlib import Path

import numpy as np
from PIL import Image

from fsbench.runner.config.run_config import RunConfig
from tests.config_words import settings_file

CLASSES = 6
DATA = "demo-cls"
"""A data set whose settings are taken, with other photos."""
INDEX = "fsbench.datamodules.datasets.imagefolder.ImageFolder"
"""Their class."""


def draw_photos(root: Path, sizes: list[int] | None = None, side: int = 40, noise: float = 15) -> Path:
    """JPEGs in a folder for each class; `sizes` are the numbers of images."""
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes or [12] * CLASSES):
        folder = root / f"class_{number}"
        folder.mkdir(parents=True)
        colour = rng.uniform(60, 200, 3)
        pattern = rng.normal(0, 40, (5, 5, 1)).repeat(side // 5, 0).repeat(side // 5, 1)
        for i in range(size):
            pixels = colour + pattern + rng.normal(0, noise, 3) + rng.normal(0, 20, (side, side, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02d}.jpg", quality=95)
    return root


def arguments(method: str, root: Path, runs: Path, *more: str) -> list[str]:
    """Return arguments of `fsbench bench`: 5-way 1-shot episodes of the photos in `root`, with the ViT of the demo."""
    given = {
        "data.dataset": INDEX,
        "data.dataset.root": root,
        "data.test.way": 5,
        "data.test.queries": 4,
        "data.test.episodes": 6,
        "data.loading.workers": 0,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
    }
    extra = [f"--{name}={value}" for name, value in given.items()]
    run = RunConfig(method, DATA, fold=0, runs=str(runs), extra=[*extra, *more])
    return [settings_file(run.values, root.parent)]
