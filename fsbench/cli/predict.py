"""`fsbench predict`: segment a user's images by example."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.errors import SettingsError
from fsbench.base.terminal import print_error, print_line, print_note, shorten_hashes
from fsbench.predict.scans import check_no_scans
from fsbench.runner.config.backbone_choice import AUTO
from fsbench.runner.config.limits import real, whole
from fsbench.runner.config.registry import check_known, choose_method

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor

EXAMPLES = """\
examples:
  fsbench predict --support cat=cat1.jpg:cat1.png --support cat=cat2.jpg:cat2.png --query photos/ --out masks/
  fsbench predict --support scene.jpg:labels.png --classes 1=cat,2=dog --query photos/ --out masks/
  fsbench predict --support labelme/cat1.json --support coco.json --query photos/ --out masks/
  fsbench predict --support labelme/ --negative without/ --negative plush.jpg:plush.png --query photos/ --out masks/
  fsbench predict --support labelme/ --query photos/ --out masks/ --save labelme      # to be corrected in LabelMe
  fsbench predict --method emat --ckpt best.ckpt --support cat=cat1.jpg:cat1.png --query photos/ --out masks/

a mask is a PNG as large as its photo: black and white, or with class numbers (grey or palette, 255 is void).
--out gets labels/<photo>.png, overlays/<photo>.jpg, annotations.json (COCO's format) and scores.csv; with
--save labelme, also labelme/<photo>.json. A photo that is labelled keeps your own mask.
The same command goes on where it was stopped. Exit status: 1 when a photo was broken and left out, 2 for bad input."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.description = "Segment photos by example: a few labelled photos show what to look for."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--support", action="append", required=True, metavar="[NAME=]PHOTO:MASK",
        help="a labelled photo, a JSON file of LabelMe or COCO, or a folder of these; may be repeated, for the same "
        "class or others",
    )  # fmt: skip
    parser.add_argument(
        "--negative", action="append", default=[], metavar="[NAME=]PHOTO[:MASK]",
        help="what it is not: a photo or a folder of photos without any of the classes; or a form of --support, where "
        "what is marked becomes background; may be repeated",
    )  # fmt: skip
    parser.add_argument("--query", nargs="+", type=Path, required=True, help="photos to segment, or a folder of them")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder of the results")
    parser.add_argument(
        "--classes",
        default="",
        help="names of the masks' numbers: 1=cat,2=dog; or the classes of JSON files to use: cat,dog",
    )
    parser.add_argument("--support-root", type=Path, help="folder of the photos that the JSON files of --support name")
    add_method_options(parser)
    add_network_options(parser)
    parser.add_argument(
        "--megapixels", type=real(0.001, 1000), default=16.0,
        help="compute the masks of larger photos at this size, then enlarge them (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--tiles", action="store_true",
        help="predict photos of more than twice the image size in overlapping parts, which finds small objects but "
        "takes longer",
    )  # fmt: skip
    parser.add_argument(
        "--save", choices=["labelme"],
        help="also write LabelMe files, as labelme/<photo>.json; files there that fsbench did not write stay",
    )  # fmt: skip
    parser.add_argument(
        "--threads",
        type=whole(1, 256),
        default=2,
        help="threads that read photos; as many more write results (default: 2)",
    )
    parser.add_argument(
        "--steps", action="store_true",
        help="also draw how the method made each mask, as steps/<photo>.png: its points, boxes, masks, graph or the "
        "network's input, if it has them",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true", help="remove results in --out that were made with other settings"
    )
    parser.add_argument(
        "--no-check", action="store_true",
        help="do not predict each labelled photo from the others: faster, but nothing is said of how good masks are, "
        "nor of whether a photo shows a class at all",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="show no line for every photo, no notes and no progress")
    parser.set_defaults(function=_predict)


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the method; `fsbench demo` has them, too."""
    parser.add_argument(
        "--method",
        default="prototype",
        help="name of the method (see: fsbench list; default: prototype, which needs no training)",
    )
    parser.add_argument(
        "--ckpt",
        type=Path,
        help="the method's checkpoint, of a run or of its authors; that of a run brings the run's settings",
    )


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a method's network and device; `fsbench export` has them, too."""
    add_weights_options(parser)
    parser.add_argument("--dataset", help="use the method's settings for this data set, e.g. coco or demo")
    parser.add_argument(
        "--image-size", type=whole(1, 16384), help="side that photos are resized to (default: the method's)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)")
    parser.add_argument(
        "--only-present", action="store_true", help="label no pixels of a class that the method says is absent"
    )


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a method's frozen network; `fsbench demo` has them, too."""
    parser.add_argument("--weights", help="file of the backbone's weights")
    parser.add_argument(
        "--backbone",
        help="backbone to use instead of the method's. demo comes with fsbench and takes 128 pixels; "
        "efficientnet_lite0 comes with fsbench[photos]; auto uses efficientnet_lite0 if the method's own weights are "
        "missing, as the prototype always does",
    )


def check_method(options: argparse.Namespace) -> None:
    """Raise SettingsError for an unknown method, backbone or data set, before torch is imported."""
    choose_method(options.method, None if options.backbone == AUTO else options.backbone)
    if options.dataset is not None:
        check_known("data", "data set", options.dataset)


def make_predictor(options: argparse.Namespace) -> "Predictor":
    """Build the predictor that the options of `add_method_options` describe.

    The method "prototype" uses the backbone of the package extra `fsbench[photos]` if no backbone was chosen and its
    own weights are missing.
    """
    from fsbench.predict.predictor import Predictor  # imports torch

    chosen = (options.ckpt, options.weights, options.backbone, options.dataset)
    return Predictor(
        options.method,
        checkpoint=options.ckpt,
        weights=options.weights,
        backbone=AUTO if options.method == "prototype" and not any(chosen) else options.backbone,
        dataset=options.dataset,
        image_size=options.image_size,
        device=options.device,
        only_present=options.only_present,
        megapixels=options.megapixels,
        tiles=options.tiles,
    )


def predictor_with_supports(options: argparse.Namespace, named: Sequence[str], root: Path | None = None) -> "Predictor":
    """Build a predictor with the labelled photos (supports) of the options, and print remarks about these photos.

    Args:
        options: parsed options of `add_network_options`, with `--negative` (photos without the class) and `--classes`.
        named: the labelled photos, as `--support` names them.
        root: folder of the photos that annotation files (JSON) name.
    """
    from fsbench.predict.labelme_files import kind_as_written
    from fsbench.predict.supports import read_negatives, read_supports

    supports, notes = read_supports(named, options.classes, root)
    negatives, more = read_negatives(options.negative, root)
    for note in (*notes, *more):  # which tell why there may be no support
        print_note(note)
    if guessed := sum(kind_as_written(file) == "predicted" for file in _annotation_files(named)):
        print_note(
            f"{guessed} of the LabelMe files of --support are predictions that nobody changed, and count as your own "
            "masks here; name the files that you checked instead"
        )
    predictor = make_predictor(options).add(supports, negatives)
    if predictor.support_set.note:
        print_note(predictor.support_set.note)
    return predictor


def _annotation_files(named: Sequence[str]) -> Iterator[Path]:
    """Yield the JSON files among labelled photos, as `--support` names them."""
    for path in map(Path, named):
        yield from sorted(path.rglob("*.json")) if path.is_dir() else [path] if path.suffix.lower() == ".json" else []


def print_checks(predictor: "Predictor") -> None:
    """Predict each labelled photo from the others, and print how good masks and presence scores are."""
    checks = predictor.checks or predictor.leave_one_out()
    print_line(f"on your labelled photos, each left out once: {', '.join(check.masks for check in checks.values())}")
    share = predictor.share_in_negatives()
    if share is not None:
        use = "; the other negatives help little" if share > 0.5 else ""
        print_line(
            f"marked as not it, each photo left out once: {predictor.name} gives {100 * share:.0f} % of these pixels a "
            f"class{use}"
        )


def _predict(options: argparse.Namespace, extra: list[str]) -> int:
    check_method(options)
    check_no_scans(options.query, (*options.support, *options.negative))
    # torch: seconds, which help and refused options do without
    from fsbench.predict.folder import predict_folder
    from fsbench.predict.images import find_images
    from fsbench.predict.leave_one_out import ClassCheck

    refused: list[str] = []
    images = find_images(options.query, options.out, refused)
    predictor = predictor_with_supports(options, options.support, options.support_root)
    if options.steps and not predictor.shows_steps:
        raise SettingsError(f"--steps was given, but {predictor.name} has no steps to show; leave --steps out")
    if options.steps and options.tiles:
        raise SettingsError("--steps draws how a whole photo is predicted, and --tiles looks at parts; leave one out")
    shots = ", ".join(f"{n} for {name}" for name, n in zip(predictor.classes, predictor.support_set.shots, strict=True))
    weights = shorten_hashes(predictor.method.backbone.weights_id)
    print_line(f"{predictor.name} on {weights}, {predictor.image_size} pixels, {predictor.device}")
    print_line(f"labelled photos: {shots}; score of a class: {predictor.score_meaning}")
    if not options.no_check:
        print_checks(predictor)
    summary = predict_folder(
        predictor,
        images,
        options.out,
        force=options.force,
        threads=options.threads,
        steps=options.steps,
        labelme=options.save == "labelme",
        report=(lambda line: None) if options.quiet else print_line,
    )
    total = summary.predicted + summary.resumed
    resumed = f" ({summary.resumed} of them by an earlier call)" if summary.resumed else ""
    keep = "1 photo keeps your own mask" if summary.labelled == 1 else f"{summary.labelled} photos keep your own masks"
    print_line(f"{total} of {len(images)} photos predicted{resumed}{f'; {keep}' if summary.labelled else ''}")
    if total:
        print_line("what the method found (nobody has checked it):")
    unchecked = {name: ClassCheck(name, problem="--no-check") for name in predictor.classes}
    for name, check in (predictor.checks or unchecked).items() if total else ():
        found, number = ("present", summary.present) if check.tells else ("a mask", summary.marked)
        share = f"all {total}" if number[name] == total > 1 else f"{number[name]} of {total}"
        print_line(f"  {name}: {found} in {share} photos. {check.presence}.")
    if summary.kept:
        print_note(
            f"LabelMe files that are not as fsbench wrote them stay as they are: {summary.kept[0]}"
            + (f" and {len(summary.kept) - 1} more" if len(summary.kept) > 1 else "")
        )
    folders = "labels/, overlays/, steps/" if options.steps else "labels/, overlays/"
    folders += ", labelme/" if options.save else ""
    print_line(f"{options.out}: {folders}, annotations.json, scores.csv")
    refused += summary.broken
    for message in refused:
        print_error(f"left out: {message}")
    return 1 if refused else 0
