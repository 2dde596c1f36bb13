"""`fsbench data manifest build | show | verify | diff`: episode lists as files."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder
from fsbench.base.progress import track
from fsbench.base.terminal import print_line
from fsbench.cli.options import add_data_options, add_episode_options, given_lists, given_root, given_task
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.fit import hash_images, mismatches
from fsbench.data.episodes.manifest import description, differences, read_manifest, summary
from fsbench.data.episodes.task import Task
from fsbench.protocols.own_lists import marked_if_own
from fsbench.protocols.reading import load_segmentation, read_test, segmentation_of
from fsbench.runner.config.datasets import choose_dataset, open_dataset, usual_protocol
from fsbench.runner.config.limits import check_replaced, whole
from fsbench.runner.config.registry import check_known, task_of
from fsbench.runner.config.run_config import DEFAULT_PROTOCOL

_PROGRESS = partial(track, description="Reading images", unit="image")


def add_manifest_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions on episode lists to `fsbench data manifest`."""
    actions = parser.add_subparsers(dest="list_action", required=True)

    build = actions.add_parser("build", help="draw the episodes of a test and write them to a file")
    _add_dataset(build, required=True)
    add_episode_options(build)
    build.add_argument(
        "--classes", choices=("novel", "base"), default="novel",
        help="classes of the episodes, all from test images: the novel classes of the fold, or its base classes",
    )  # fmt: skip
    build.add_argument("--names-only", action="store_true", help="leave out the hashes of the photos and label maps")
    build.add_argument("--out", type=Path, required=True, help="file to write: .jsonl or .jsonl.gz")
    build.set_defaults(function=_build)

    show = actions.add_parser("show", help="describe a manifest and list its episodes")
    show.add_argument("file", type=Path)
    show.add_argument("--episodes", type=whole(0), default=0, help="number of episodes to list (default: 0)")
    show.set_defaults(function=_show)

    verify = actions.add_parser("verify", help="check that a manifest is intact and fits the local data")
    verify.add_argument("file", type=Path)
    _add_dataset(verify, required=False)
    verify.set_defaults(function=_verify)

    diff = actions.add_parser("diff", help="compare two manifests; exit status 1 if they differ")
    diff.add_argument("first", type=Path)
    diff.add_argument("second", type=Path)
    diff.set_defaults(function=_diff)


def _add_dataset(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--dataset", required=required, help="see: fsbench list")
    add_data_options(parser)


def _open(dataset: str, options: argparse.Namespace) -> SegmentationData:
    check_known("data", "data set", dataset)
    if task_of("data", dataset) != "segmentation":
        raise SettingsError(f"{dataset} is a data set for classification without label maps; expected one with masks")
    data: SegmentationData = open_dataset(dataset, given_root(options), given_lists(options))
    return data


def _build(options: argparse.Namespace, extra: list[str]) -> int:
    if not options.out.name.endswith((".jsonl", ".jsonl.gz")):
        raise SettingsError(f"--out is {options.out}, expected a name that ends in .jsonl or .jsonl.gz")
    check_replaced(options.out, "--out", "manifest", read_manifest)
    usual = usual_protocol(options.dataset, given_root(options)) or DEFAULT_PROTOCOL
    protocol = load_segmentation(options.protocol or usual)
    task = Task(**given_task(options)).about(options.classes)
    data = protocol.draw.data(_open(options.dataset, options), task.fold, task.shot)
    manifest = protocol.manifest(data, protocol.draw.with_own_ways(data, task))
    if not options.names_only:
        manifest = replace(manifest, images=hash_images(manifest, data, _PROGRESS))
    make_folder(options.out.absolute().parent)
    manifest.write(options.out)
    print_line(f"{options.out}: {summary(manifest, drawn=True)}")
    return 0


def _show(options: argparse.Namespace, extra: list[str]) -> int:
    for line in description(read_test(options.file), options.episodes):
        print_line(line)
    return 0


def _verify(options: argparse.Namespace, extra: list[str]) -> int:
    manifest = read_test(options.file)
    header = manifest.header
    print_line(f"intact: {summary(manifest)}")
    protocol = segmentation_of(header)
    data = protocol.draw.data(
        _open(choose_dataset(options.dataset, header.dataset, f"the manifest {options.file}"), options),
        header.fold,
        header.shot,
    )
    problems = mismatches(manifest, data, _PROGRESS)
    for problem in problems:
        print_line(f"does not fit the data: {problem}")
    if problems:
        return 1
    hashed = "photos and label maps are those it was made with"
    named = "every image is there and shows its class"
    print_line(f"fits the data: {hashed if manifest.images else named}")
    listed = marked_if_own(manifest, protocol, data, options.file).header
    if listed.is_official:
        print_line("the local lists draw the same episodes")
    else:
        print_line(f"no test of the protocol: {listed.rules}")
    return int(listed.own_list)


def _diff(options: argparse.Namespace, extra: list[str]) -> int:
    lines = differences(read_manifest(options.first), read_manifest(options.second))
    for line in lines or ["equal"]:
        print_line(line)
    return int(bool(lines))
