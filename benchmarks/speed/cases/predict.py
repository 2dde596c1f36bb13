"""`fsbench predict` beside the method's own forward pass."""

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from benchmarks.speed.harness import Case
from fsbench.predict.folder import predict_folder
from fsbench.predict.load_images import LoadedImage
from fsbench.predict.predictor import QUERY, Predictor
from fsbench.predict.query_images import find_images


def draw_images(folder: Path, count: int, side: int) -> None:
    """Write `count` JPEGs of side x 3/4 side: blurred noise, which compresses about as photos do."""
    rng = np.random.RandomState(0)
    for number in range(count):
        noise = Image.fromarray(rng.randint(0, 256, (side * 3 // 16, side // 4, 3)).astype(np.uint8))
        image = noise.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
        image.save(folder / f"{number:04d}.jpg", quality=90)


def plain(predictor: Predictor, loaded: list[LoadedImage]) -> None:
    """Run the method's own forward pass on decoded and resized images."""
    for image in loaded:
        with torch.inference_mode():
            predictor.method.predict_shots(predictor.episode(image)).label_map.cpu()
        predictor.method.backbone.cache.forget(QUERY)


def cases(
    device: torch.device,
    method: str = "prototype",
    dataset: str | None = None,
    images: int = 24,
    side: int = 1200,
    classes: int = 1,
    shots: int = 1,
    threads: int = 2,
) -> Iterator[Case]:
    """Compare a folder of JPEG files through `predict` with forward passes on images that are ready.

    The plain way holds the images decoded and resized, and calls the method on one after the other: backbone, head, and
    the mask at the image's size. `predict` does the same from files, with decoding, label PNGs, overlays, run lengths
    and the journal. --side is the longer one of the images.
    """
    weights = None if dataset == "demo" else "random"
    predictor = Predictor(method, dataset=dataset, weights=weights, device=str(device))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        draw_images(folder / "images", images, side)
        found, _ = find_images([folder / "images"])
        mask = np.zeros((side * 3 // 4, side), dtype=np.uint8)
        mask[mask.shape[0] // 4 : mask.shape[0] // 2, side // 4 : side // 2] = 1
        for number in range(classes):
            predictor.support(f"class {number + 1}", [(found[number].path, mask)] * shots)
        loaded = [image for image in predictor.load_images(found, 2) if isinstance(image, LoadedImage)]
        numbers = count()

        def predict() -> None:
            predict_folder(predictor, found, folder / f"out{next(numbers)}", threads=threads, report=lambda _: None)

        yield Case(
            f"{method}, {predictor.image_size} pixels, {classes}-way {shots}-shot, {images} images of "
            f"{side}x{side * 3 // 4}, {threads} threads, an image",
            {"forward": lambda: plain(predictor, loaded), "fsbench predict": predict},
            units=images,
        )
