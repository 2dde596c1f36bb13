"""`fsbench predict`: masks of one's own photos, by example."""

import argparse
import functools
import importlib
import sys
from pathlib import Path

from fsbench.errors import SettingsError

EXAMPLES = """\
examples:
  fsbench predict --support cat=cat1.jpg:cat1.png --support cat=cat2.jpg:cat2.png --query photos/ --out masks/
  fsbench predict --support scene.jpg:labels.png --classes 1=cat,2=dog --query photos/ --out masks/
  fsbench predict --support labelme/cat1.json --support coco.json --query photos/ --out masks/
  fsbench predict --method emat --ckpt best.ckpt --support cat=cat1.jpg:cat1.png --query photos/ --out masks/

a mask is a PNG as large as its photo: black and white, or with class numbers (grey or palette, 255 is void).
--out gets labels/<photo>.png, overlays/<photo>.jpg, annotations.json (COCO's format) and scores.csv.
The same command goes on where it was stopped. Exit status: 1 when a photo was broken and left out, 2 for bad input."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "predict",
        allow_abbrev=False,
        help="masks of your own photos from a few labelled ones",
        description="Segments photos by example: a few labelled photos say what is looked for.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--support", action="append", required=True, metavar="[NAME=]PHOTO:MASK",
        help="a labelled photo; or a JSON file of LabelMe or COCO, by itself; may be repeated, also for more classes",
    )  # fmt: skip
    parser.add_argument("--query", nargs="+", type=Path, required=True, help="folder of photos, or photos")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder of the results")
    parser.add_argument(
        "--classes", default="", help="names of a mask's numbers, 1=cat,2=dog; or which to take, cat,dog"
    )
    parser.add_argument("--support-root", type=Path, help="folder of the photos of --support's JSON files")
    add_method_options(parser)
    parser.add_argument(
        "--only-present", action="store_true", help="no pixels of classes that the method says are not present"
    )
    parser.add_argument(
        "--megapixels", type=float, default=16.0,
        help="masks of larger photos are computed at this size and enlarged (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=2, help="that decode photos, and as many that write (default: 2)"
    )
    parser.add_argument("--force", action="store_true", help="remove results in --out that were made otherwise")
    parser.add_argument("--quiet", action="store_true", help="no line for every photo")
    parser.set_defaults(function=_predict)


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Which method predicts; `fsbench demo` has them, too."""
    parser.add_argument(
        "--method", default="prototype", help="see: fsbench list (default: prototype, which is not trained)"
    )
    parser.add_argument(
        "--ckpt", type=Path, help="its checkpoint, ours or the authors'; a run's brings its settings along"
    )
    parser.add_argument("--weights", help="file of the backbone's weights")
    parser.add_argument("--backbone", help="another backbone than the method's; demo comes along, to try it out")
    parser.add_argument("--dataset", help="settings that the method has for this data set, e.g. coco or demo")
    parser.add_argument("--image-size", type=int, help="side that photos are resized to (default: the method's)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")


def _predict(options: argparse.Namespace, extra: list[str]) -> int:
    import warnings

    from PIL import Image

    from fsbench.predict.job import predict_folder
    from fsbench.predict.predictor import Predictor

    if options.threads < 1:
        raise SettingsError(f"--threads is {options.threads}, expected 1 or more")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # larger ones than we take are refused
    unsearched: list[str] = []
    found, others = importlib.import_module("datamodules.photos").find_photos(options.query, options.out, unsearched)
    supports, notes = importlib.import_module("datamodules.supports").read_supports(
        options.support, options.classes, options.support_root
    )
    predictor = Predictor(
        options.method,
        checkpoint=options.ckpt,
        weights=options.weights,
        backbone=options.backbone,
        dataset=options.dataset,
        image_size=options.image_size,
        device=options.device,
        only_present=options.only_present,
        megapixels=options.megapixels,
    ).add(supports)
    if others:
        notes.append(f"{len(others)} files that are no photos are passed over, e.g. {others[0]}")
    for note in [*notes, predictor.support_set.note]:
        if note:
            print(f"fsbench: note: {note}", file=sys.stderr)
    shots = ", ".join(f"{n} of {name}" for name, n in zip(predictor.classes, predictor.support_set.shots, strict=True))
    print(
        f"{predictor.recipe.name} on {predictor.method.backbone.weights_id}, {predictor.image_size} pixels, "
        f"{predictor.device}; support: {shots}; scores: {predictor.score_means}"
    )
    report = _silent if options.quiet else functools.partial(print, flush=True)
    done = predict_folder(predictor, found, options.out, force=options.force, threads=options.threads, report=report)
    total = done.predicted + done.found
    before = f" ({done.found} of them before)" if done.found else ""
    print(f"{total} of {len(found)} photos predicted{before}")
    for name in predictor.classes:
        print(f"  {name}: present in {done.present[name]}, not present in {total - done.present[name]}")
    print(f"{options.out}: labels/, overlays/, annotations.json, scores.csv")
    for message in (refused := [*unsearched, *done.broken]):
        print(f"fsbench: error: left out: {message}", file=sys.stderr)
    return 1 if refused else 0


def _silent(line: str) -> None:
    """With --quiet."""
