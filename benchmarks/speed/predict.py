"""Compare the speed of `fsbench predict` with that of the method's own forward pass, in one process.

    python -m benchmarks.speed.predict [--method prototype] [--dataset demo] [--weights random] [--photos 24]
        [--side 1200] [--classes 1] [--shots 1] [--threads 2] [--rounds 3] [--device cpu]

The plain way holds the photos decoded and resized, and calls the method on one after the other: backbone, head, and the
mask at the photo's size. `predict` does the same from JPEG files in a folder, with decoding, label PNGs, overlays, run
lengths and the journal; the two take turns, and each round has its ratio.

Two quiet CPU cores, prototype with ViT-S/14 (random weights) at 700 pixels, one round: 1718 ms a photo for the forward,
1676 ms for `predict`, 0.98 times as long (0.97 of the processor seconds); 270 MiB. With the demo's small network at 128
pixels 1.17 times the processor seconds at 1600 x 1200, 1.22 times at 500 x 375 (while other work shared the cores).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from benchmarks.speed.measure import Recorder, Row, add_json_option
from fsbench.engine.machine.meter import Meter, release_memory, resident_mib
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


def timed(call: Callable[[], object]) -> np.ndarray:
    """Return the seconds of `call` on the clock, and of the processor in all threads."""
    started = time.perf_counter(), time.process_time()
    call()
    return np.array([time.perf_counter() - started[0], time.process_time() - started[1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="prototype")
    parser.add_argument("--dataset", help="settings of the method for this data set, e.g. demo")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--checkpoint")
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--side", type=int, default=1200, help="the longer one of the photos")
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_json_option(parser)
    options = parser.parse_args()
    weights = None if options.dataset == "demo" else options.weights
    predictor = Predictor(
        options.method,
        dataset=options.dataset,
        weights=weights,
        checkpoint=options.checkpoint,
        device=options.device,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        draw_images(folder / "photos", options.photos, options.side)
        images, _ = find_images([folder / "photos"])
        mask = np.zeros((options.side * 3 // 4, options.side), dtype=np.uint8)
        mask[mask.shape[0] // 4 : mask.shape[0] // 2, options.side // 4 : options.side // 2] = 1
        for number in range(options.classes):
            predictor.support(f"class {number + 1}", [(images[number].path, mask)] * options.shots)
        loaded = [image for image in predictor.load_images(images, 2) if isinstance(image, LoadedImage)]
        plain(predictor, loaded[:2])  # builds the backbone, encodes the support
        what = (
            f"{options.method}, {predictor.image_size} pixels, {options.classes}-way {options.shots}-shot, "
            f"{len(images)} images of {options.side}x{options.side * 3 // 4}, {options.threads} threads"
        )
        recorder = Recorder(predictor.device, "the method's own forward on images that are ready", True, what)
        ratios = []
        for round_number in range(options.rounds):
            out = folder / f"out{round_number}"
            own = timed(lambda: plain(predictor, loaded))
            release_memory()
            before, meter = resident_mib(), Meter(torch.device("cpu"))
            ours = timed(partial(predict_folder, predictor, images, out, threads=options.threads, report=len))
            ratios.append(ours / own)
            rows = [("forward", own, None), ("fsbench predict", ours, meter.peak_mib - before)]
            recorder.rows += [Row(what=what, path=name, times=[t[1]], peak_mib=peak) for name, t, peak in rows]
            (clock, processor), (our_clock, our_processor) = 1000 * own / len(images), 1000 * ours / len(images)
            print(
                f"a photo: forward {clock:.1f} ms ({processor:.1f} of the processor), predict {our_clock:.1f} ms "
                f"({our_processor:.1f}): {ratios[-1][0]:.2f}x ({ratios[-1][1]:.2f}x); {meter.peak_mib - before:.0f} MiB"
            )
        clock, processor = np.median(ratios, axis=0)
        print(f"median {clock:.2f}x on the clock, {processor:.2f}x of processor seconds")
        recorder.rows = joined(recorder.rows)
        recorder.write(options.json)


def joined(rows: list[Row]) -> list[Row]:
    """Join the rounds of each path to one row with all times and the largest memory."""
    found = []
    for path in dict.fromkeys(row.path for row in rows):
        own = [row for row in rows if row.path == path]
        peaks = [row.peak_mib for row in own if row.peak_mib is not None]
        times = [seconds for row in own for seconds in row.times]
        found.append(Row(what=own[0].what, path=path, times=times, peak_mib=max(peaks, default=None)))
    return found


if __name__ == "__main__":
    main()
