"""Subcommand `fsbench data`: prepare a data set, check one, write its list; write, show, verify, compare manifests."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from fsbench.base.download import RetryPolicy
from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder
from fsbench.base.progress import track
from fsbench.base.terminal import print_block, print_line
from fsbench.cli.options import add_data_options, add_download_options, add_episode_options, given_lists
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.fit import hash_images, mismatches
from fsbench.data.episodes.manifest import description, differences, read_manifest, summary
from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.check.report import Checked, Report
from fsbench.datamodules.lists.image_list import write_list
from fsbench.datamodules.prepare.job import Job, Prepared, read_note
from fsbench.protocols.reading import load_segmentation, read_checked_manifest
from fsbench.runner.config.datasets import choose_dataset, open_dataset
from fsbench.runner.config.limits import check_output_file, check_replaced, existing_folder, whole
from fsbench.runner.config.registry import check_known, dataset_class, names, task_of
from fsbench.runner.config.request import DEFAULT_PROTOCOL

reading_images = partial(track, description="Reading images", unit="image")
"""Shows the progress of reading the images of these names."""


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)

    prepare = actions.add_parser("prepare", help="from the publishers' archives to the folders the suite reads")
    prepare.add_argument("dataset", metavar="DATASET")
    prepare.add_argument("--root", required=True, help="folder of the data set, made when absent")
    lists = prepare.add_mutually_exclusive_group()
    lists.add_argument("--lists", metavar="DIR", help="folder with released lists, taken instead of a download")
    lists.add_argument("--no-lists", action="store_true", help="do without released lists")
    prepare.add_argument("--render", action="store_true", help="COCO: write label PNGs, too, for other programs")
    prepare.add_argument(
        "--validation-only",
        action="store_true",
        help="COCO: leave the training part out; lvis, paco_part: only the photos that tests draw from",
    )
    prepare.add_argument("--allow-unverified", action="store_true", help="use archives of another checksum")
    add_download_options(prepare, "URL/<archive>, URL/lists/<file>")
    prepare.set_defaults(function=_prepare)

    check = actions.add_parser("check", help="what is missing or damaged; counts and lists against the official ones")
    check.add_argument("dataset", metavar="DATASET")
    check.add_argument("--root", required=True, help="folder of the data set")
    check.add_argument(
        "--lists", metavar="DIR", help="folder with released lists (photos: a list file); default: <root>/lists"
    )
    check.set_defaults(function=_check)

    listing = actions.add_parser("lists", help="the list of a classification data set as a file in the authors' form")
    listing.add_argument("dataset", metavar="DATASET")
    listing.add_argument("--root", required=True, help="folder of the data set")
    listing.add_argument("--out", required=True, metavar="FILE", help="JSON file to write")
    listing.add_argument(
        "--lists", metavar="FILE", help="a list file in the authors' form, taken instead of the derived"
    )
    listing.set_defaults(function=_lists)

    _add_manifest_options(actions.add_parser("manifest", help="write, show, verify or compare episode lists"))


def _add_manifest_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `fsbench data manifest`."""
    actions = parser.add_subparsers(dest="list_action", required=True)

    build = actions.add_parser("build", help="draw the episodes of a test and write them to a file")
    _add_dataset(build, required=True)
    add_episode_options(build, "--seed", way=1)
    build.add_argument(
        "--classes", choices=("novel", "base"), default="novel",
        help="of the episodes: those of the fold, or the ones that are trained on, in test images",
    )  # fmt: skip
    build.add_argument("--names-only", action="store_true", help="without hashes of the photos and label maps")
    build.add_argument("--out", type=Path, required=True, help="file, .jsonl or .jsonl.gz")
    build.set_defaults(function=_build_manifest)

    show = actions.add_parser("show", help="describe a manifest and list its episodes")
    show.add_argument("file", type=Path)
    show.add_argument("--episodes", type=whole(0), default=0, help="list so many of them")
    show.set_defaults(function=_show_manifest)

    verify = actions.add_parser("verify", help="check that a manifest is intact and fits the local data")
    verify.add_argument("file", type=Path)
    _add_dataset(verify, required=False)
    verify.set_defaults(function=_verify_manifest)

    diff = actions.add_parser("diff", help="compare two manifests; exit status 1 if they differ")
    diff.add_argument("first", type=Path)
    diff.add_argument("second", type=Path)
    diff.set_defaults(function=_compare_manifests)


def _add_dataset(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--dataset", required=required, help="see: fsbench list")
    add_data_options(parser)


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
    kind.check(report, root, lists)
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
    index = resolve_name(dataset_class(options.dataset))(root=options.root, lists=options.lists)
    write_list(index, Path(options.out).expanduser())
    images = sum(map(len, index.images))
    print_line(f"{options.out}: {len(index.images)} classes, {images} images, {index.origin}, sha256 {index.sha256}")
    return 0


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


def _index(dataset: str, options: argparse.Namespace) -> SegmentationIndex:
    check_known("data", "data set", dataset)
    if task_of("data", dataset) != "segmentation":
        raise SettingsError(f"{dataset} is a data set for classification without label maps; expected one with masks")
    index: SegmentationIndex = open_dataset(dataset, options.data_root, given_lists(options))
    return index


def _build_manifest(options: argparse.Namespace, extra: list[str]) -> int:
    if not options.out.name.endswith((".jsonl", ".jsonl.gz")):
        raise SettingsError(f"--out is {options.out}, expected a name that ends in .jsonl or .jsonl.gz")
    check_replaced(options.out, "--out", "manifest", read_manifest)
    protocol = load_segmentation(options.protocol or DEFAULT_PROTOCOL)
    index = protocol.draw.data(_index(options.dataset, options))
    task = EpisodeTask(
        options.fold,
        options.way,
        options.shot,
        options.setting,
        not options.no_empty,
        options.classes,
        episodes=options.episodes,
        skip_small_classes=options.drop_small,
        seed=options.seed,
        draws=options.draws,
    )
    manifest = protocol.manifest(index, task)
    if not options.names_only:
        manifest = replace(manifest, images=hash_images(manifest, index, reading_images))
    make_folder(options.out.absolute().parent)
    manifest.write(options.out)
    print_line(f"{options.out}: {summary(manifest)}")
    return 0


def _show_manifest(options: argparse.Namespace, extra: list[str]) -> int:
    for line in description(read_checked_manifest(options.file), options.episodes):
        print_line(line)
    return 0


def _verify_manifest(options: argparse.Namespace, extra: list[str]) -> int:
    manifest = read_checked_manifest(options.file)
    header = manifest.header
    print_line(f"intact: {summary(manifest)}")
    protocol = load_segmentation(header.protocol)
    index = protocol.draw.data(
        _index(choose_dataset(options.dataset, header.dataset, f"the manifest {options.file}"), options)
    )
    problems = mismatches(manifest, index, reading_images)
    for problem in problems:
        print_line(f"does not fit the data: {problem}")
    if problems:
        return 1
    hashed = "photos and label maps are those it was made with"
    named = "every image is there and shows its class"
    print_line(f"fits the data: {hashed if manifest.images else named}")
    drawn = protocol.manifest(index, EpisodeTask.from_header(header, protocol.draw.official_seed(header.dataset)))
    same = drawn.episodes == manifest.episodes
    print_line(f"the local lists draw {'the same' if same else 'other'} episodes")
    claimed = [] if not same else [key for key in drawn.entries if manifest.entries.get(key) != drawn.entries[key]]
    for key in claimed:
        print_line(f"the header's {key} is {manifest.entries.get(key)}, by the local data {drawn.entries[key]}")
    return int(any("lists" not in key for key in claimed))  # equal lists may have another origin


def _compare_manifests(options: argparse.Namespace, extra: list[str]) -> int:
    lines = differences(read_manifest(options.first), read_manifest(options.second))
    for line in lines or ["equal"]:
        print_line(line)
    return int(bool(lines))
