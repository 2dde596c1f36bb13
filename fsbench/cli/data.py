"""Subcommand `fsbench data`: prepare or check a data set, write its list, convert pictures, or freeze episodes."""

import argparse
from inspect import signature
from math import inf, nan
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from fsbench.base.download import RetryPolicy
from fsbench.base.errors import FsbenchError, SettingsError, say_left_out
from fsbench.base.files import is_file, is_folder
from fsbench.base.terminal import print_block, print_line
from fsbench.cli.manifest import add_manifest_options
from fsbench.cli.options import add_download_options
from fsbench.data.conversion import PERCENTILES, Shades, convert
from fsbench.datamodules.check.report import Checked, Report
from fsbench.datamodules.lists.image_list import write_list
from fsbench.datamodules.prepare.job import Job, Prepared, read_note
from fsbench.runner.config.limits import check_output_file, existing_folder
from fsbench.runner.config.registry import check_known, dataset_class, names, task_of


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)

    prepare = actions.add_parser("prepare", help="download a data set, check it, and arrange it as fsbench reads it")
    prepare.add_argument("dataset", metavar="DATASET")
    prepare.add_argument("--root", required=True, help="folder of the data set; it is made if it does not exist")
    lists = prepare.add_mutually_exclusive_group()
    lists.add_argument("--lists", metavar="DIR", help="folder with released lists, to use instead of downloading them")
    lists.add_argument("--no-lists", action="store_true", help="use no released lists")
    prepare.add_argument("--render", action="store_true", help="COCO: write label PNGs, too, for other programs")
    prepare.add_argument(
        "--validation-only",
        action="store_true",
        help="COCO: leave out the training images; lvis, paco_part: get only the photos that tests draw from",
    )
    prepare.add_argument(
        "--allow-unverified", action="store_true", help="use archives even if their checksum is not the published one"
    )
    add_download_options(prepare, "URL/<archive>, URL/lists/<file>")
    prepare.set_defaults(function=_prepare)

    check = actions.add_parser(
        "check", help="say what is missing or damaged; compare counts and lists with the official ones"
    )
    check.add_argument("dataset", metavar="DATASET")
    check.add_argument("--root", required=True, help="folder of the data set")
    check.add_argument(
        "--lists", metavar="DIR", help="folder with released lists (photos: a list file); default: <root>/lists"
    )
    check.add_argument(
        "--classes", default="", help="folder: names of masks' numbers or colours, 1=cat,2=dog or red=cat,blue=dog"
    )
    check.set_defaults(function=_check)

    listing = actions.add_parser("lists", help="write the list of a classification data set in its authors' format")
    listing.add_argument("dataset", metavar="DATASET")
    listing.add_argument("--root", required=True, help="folder of the data set")
    listing.add_argument("--out", required=True, metavar="FILE", help="JSON file to write")
    listing.add_argument(
        "--lists", metavar="FILE", help="list file in the authors' format, to use instead of the derived list"
    )
    listing.set_defaults(function=_lists)

    conversion = actions.add_parser("convert", help="make 8-bit PNGs of pictures and scans that fsbench does not read")
    conversion.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    conversion.add_argument(
        "--out", default=Path("converted"), type=Path, metavar="DIR", help="folder of the PNGs; none is replaced"
    )
    values = conversion.add_mutually_exclusive_group()
    values.add_argument(
        "--percentiles", metavar="LOW,HIGH",
        help="percentiles of a file's values that become black and white; default of more than 8 bits: "
        f"{PERCENTILES[0]},{PERCENTILES[1]}",
    )  # fmt: skip
    values.add_argument(
        "--window", metavar="LOW,HIGH", help="values that become black and white, e.g. --window=-125,275 of CT"
    )
    values.add_argument("--labels", action="store_true", help="the files are label maps, whose numbers stay")
    conversion.set_defaults(function=_convert)

    add_manifest_options(actions.add_parser("manifest", help="write, show, verify or compare episode lists"))


def _prepare(options: argparse.Namespace, extra: list[str]) -> int:
    """Bring the data set `options.dataset` into `options.root`; see `fsbench.datamodules.prepare.job.Job`."""
    kind = _class_with(options.dataset, "prepare")
    job = Job(
        root=Path(options.root).expanduser(),
        source=existing_folder(options.source, "--from"),
        lists=existing_folder(options.lists, "--lists"),
        without_lists=options.no_lists,
        url_base=options.url_base,
        allow_unverified=options.allow_unverified,
        render=options.render,
        validation_only=options.validation_only,
        retry=RetryPolicy(options.timeout, options.retries, options.backoff),
    )
    with job.alone():
        for remark in kind.prepare(job):
            print_line(f"note: {remark}")
    print_line(f"{job.root}: ready; see what is in it with: fsbench data check {options.dataset} --root {job.root}")
    return 0


def _check(options: argparse.Namespace, extra: list[str]) -> int:
    """Print what is missing, damaged or different in `options.root`; 0 when the data set can be used, else 1."""
    kind = _class_with(options.dataset, "check")
    root = Path(options.root).expanduser()
    report = Report()
    lists = None if options.lists is None else [options.lists]
    if options.classes and "classes" not in signature(kind.check).parameters:
        raise SettingsError(f"--classes is '{options.classes}', and {options.dataset} names its classes; leave it out")
    kind.check(report, root, lists, **({"classes": options.classes} if options.classes else {}))
    for archive, entry in read_note(root).items():
        if not entry.get("verified") and not str(entry.get("checksum")).startswith("sha256"):  # none is published
            report.differs("archives", f"{archive} had not the published checksum but {entry.get('checksum')}")
    print_block(report.text())
    print_line(f"{options.dataset} in {root}: {report.verdict}")
    return 0 if report.usable else 1


def _lists(options: argparse.Namespace, extra: list[str]) -> int:
    """Write the list of a classification data set in `options.root` to `options.out`."""
    check_known("data", "data set", options.dataset)
    if task_of("data", options.dataset) != "classification":
        suitable = [name for name in names("data") if task_of("data", name) == "classification"]
        raise SettingsError(f"{options.dataset} is for segmentation; expected one of {', '.join(suitable)}")
    check_output_file(Path(options.out).expanduser(), "--out")
    data = resolve_name(dataset_class(options.dataset))(root=options.root, lists=options.lists)
    write_list(data, Path(options.out).expanduser())
    images = sum(map(len, data.images))
    print_line(f"{options.out}: {len(data.images)} classes, {images} images, {data.origin}, sha256 {data.sha256}")
    return 0


def _convert(options: argparse.Namespace, extra: list[str]) -> int:
    """Write pictures and scans as PNGs; 1 if some could not be converted."""
    window = _two_numbers("--window", options.window)
    percentiles = _two_numbers("--percentiles", options.percentiles)
    if percentiles and not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise SettingsError(f"--percentiles is {options.percentiles}, expected numbers from 0 to 100")
    for path in options.paths:
        if not (is_file(path) or is_folder(path)):
            raise SettingsError(f"{path} does not exist; expected a picture, a scan, or a folder of such")
    refused = []
    for result in convert(options.paths, options.out, Shades(window, percentiles, options.labels)):
        if isinstance(result, FsbenchError):
            refused.append(str(result))
        else:
            print_line(result)
    return say_left_out(refused)


def _two_numbers(name: str, text: str | None) -> tuple[float, float] | None:
    """Return the numbers of an option LOW,HIGH; None where it is not given."""
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = nan
    if not -inf < low < high < inf:
        raise SettingsError(f"{name} is '{text}', expected two numbers, the smaller one first, such as 0.1,99.9")
    return low, high


def _class_with(dataset: str, step: Literal["prepare", "check"]) -> Any:
    """Return the class of the data set `dataset`, which has the step.

    Raises:
        SettingsError: there is no such data set, or nothing to do for it.
    """
    check_known("data", "data set", dataset)
    kind = resolve_name(dataset_class(dataset))
    if not _has_step(kind, step):
        suitable = [name for name in names("data") if _offers(name, step)]
        raise SettingsError(f"there is nothing to {step} of {dataset}; expected one of {', '.join(suitable)}")
    return kind


def _has_step(kind: Any, step: Literal["prepare", "check"]) -> bool:
    """Return whether a data set has the step: what is published is prepared, what is not drawn is checked."""
    if step == "prepare":
        return issubclass(kind, Prepared) and kind.source.kind == "published"
    return issubclass(kind, Checked) and kind.source.kind != "drawn"


def _offers(name: str, step: Literal["prepare", "check"]) -> bool:
    """Return whether the data set `name` has the step; a package that is broken offers nothing."""
    try:
        return _has_step(resolve_name(dataset_class(name)), step)
    except Exception:  # whatever the import of a stranger's module raises
        return False
