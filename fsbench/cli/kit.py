"""`fsbench kit`: the episodes of a test in a folder that any program can read and answer."""

import argparse
from functools import partial
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.progress import track
from fsbench.base.terminal import print_line
from fsbench.cli.options import add_data_options, add_episode_options, given_lists, given_root, given_task
from fsbench.protocols.kit.kit import paths_tell_classes, write_kit
from fsbench.runner.config.datasets import usual_root
from fsbench.runner.config.tests import load_test


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset", nargs="?", help="name of the data set (see: fsbench list; default: the one that --manifest names)"
    )
    add_episode_options(parser)
    parser.add_argument("--manifest", type=Path, help="file of episodes; it replaces all the options above")
    add_data_options(parser)
    parser.add_argument(
        "--copy-images",
        action="store_true",
        help="copy the images into the kit; otherwise it refers to them (classification always copies)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new")
    parser.set_defaults(function=_write)


def _write(options: argparse.Namespace, extra: list[str]) -> int:
    if options.dataset is None and options.manifest is None:
        raise SettingsError("neither a data set nor --manifest is given; expected one, such as: fsbench kit pascal")
    test = load_test(
        options.dataset,
        root=given_root(options),
        lists=given_lists(options),
        protocol=options.protocol,
        manifest=options.manifest,
        **given_task(options),
    )
    given = given_root(options) or usual_root(options.dataset or test.manifest.header.dataset)
    root = None if given is None else Path(given).expanduser()
    kit, images = write_kit(
        test, options.out, root, dataset=options.dataset, copy_images=options.copy_images,
        progress=partial(track, description="Writing episodes", unit="episode"),
    )  # fmt: skip
    print_line(f"{options.out}: {test!r}")
    print_line(f"kit {kit.sha256[:16]} · paths of images start from {images} · the rules are in RULES.md")
    if kit.copied_images and not options.copy_images:
        why = "the paths of this data set name their classes" if test.data.images_are_files else "they are no files"
        print_line(f"the images were copied and named by numbers, because {why}")
    elif not kit.copied_images and paths_tell_classes(test, root):
        print_line("the paths of the queries name their classes, which no answer may use; --copy-images hides them")
    return 0
