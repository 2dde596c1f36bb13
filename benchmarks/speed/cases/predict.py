"""`fsbench predict` beside the method's own forward pass."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageFilter

from benchmarks.speed.harness import Case
from fsbench.predict.folder import predict_folder
from fsbench.predict.images import LoadedImage, QueryImage, find_images
from fsbench.predict.predictor import QUERY, Predictor


def draw_images(folder: Path, count: int, side: int) -> None:
    """Write `count` JPEGs of side x 3/4 side: blurred noise, which compresses about as photos do."""
    rng = np.random.RandomState(0)
    for number in range(count):
        noise = Image.fromarray(rng.randint(0, 256, (side * 3 // 16, side // 4, 3)).astype(np.uint8))
        image = noise.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
        image.save(folder / f"{number:04d}.jpg", quality=90)


def prepare(predictor: Predictor, folder: Path, images: int, side: int) -> tuple[list[QueryImage], list[LoadedImage]]:
    """Draw images, give the first as support of one class; return their files, and them decoded and resized."""
    draw_images(folder, images, side)
    files = find_images([folder])
    mask = np.zeros((side * 3 // 4, side), dtype=np.uint8)
    mask[mask.shape[0] // 4 : mask.shape[0] // 2, side // 4 : side // 2] = 1
    predictor.support("class 1", [(files[0].path, mask)])
    return files, [image for image in predictor.load_images(files, 2) if isinstance(image, LoadedImage)]


def plain(predictor: Predictor, loaded: list[LoadedImage]) -> None:
    """Run the method's own forward pass on decoded and resized images."""
    for image in loaded:
        with torch.inference_mode():
            predictor.method.predict_shots(predictor.episode(image)).label_map.cpu()
        predictor.method.backbone.cache.forget(QUERY)


def cases(
    device: torch.device,
    method: str = "prototype",
    dataset: str = "demo",
    images: int = 24,
    side: int = 1200,
    threads: int = 2,
) -> Iterator[Case]:
    """Compare a folder of JPEG files through `predict`, 1-way 1-shot, with forward passes on images that are ready.

    The plain way holds the images decoded and resized, and calls the method on one after the other: backbone, head, and
    the mask at the image's size. `predict` does the same from files, with decoding, label PNGs, overlays, run lengths
    and the journal. --side is the longer one of the images. Weights are random but for the demo's.
    """
    predictor = Predictor(method, dataset=dataset, weights=None if dataset == "demo" else "random", device=str(device))
    with TemporaryDirectory() as drawn, TemporaryDirectory() as written:
        files, loaded = prepare(predictor, Path(drawn), images, side)
        folders = (Path(written) / str(number) for number in count())
        settings = f"{images} images of {side}x{side * 3 // 4}, {threads} threads, an image"
        yield Case(
            f"{method}, {predictor.image_size} pixels, 1-way 1-shot, {settings}",
            {
                "forward": lambda: plain(predictor, loaded),
                "fsbench predict": lambda: predict_folder(
                    predictor, files, next(folders), threads=threads, report=lambda _: None
                ),
            },
            units=images,
        )
