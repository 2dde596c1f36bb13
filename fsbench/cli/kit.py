"""`fsbench kit`: the episodes of a test in a folder that any program can read and answer."""

import argparse
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.progress import track
from fsbench.base.terminal import print_line
from fsbench.protocols.kit.kit import paths_tell_classes, write_kit
from fsbench.protocols.test import Test
from fsbench.runner.config.datasets import usual_root
from fsbench.runner.config.limits import whole
from fsbench.runner.config.tests import load_test


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", help="see: fsbench list; that of the manifest unless given")
    parser.add_argument("--protocol", help="see: fsbench list protocols (default: fscs)")
    parser.add_argument("--fold", type=whole(), default=0)
    parser.add_argument("--way", type=whole(1))
    parser.add_argument("--shot", type=whole(1), default=1)
    parser.add_argument("--setting", default="original", help="of the protocol fscs")
    parser.add_argument("--no-empty", action="store_true", help="every query shows a class of its episode")
    parser.add_argument("--episodes", type=whole(1), help="instead of the protocol's number")
    parser.add_argument("--test-seed", type=whole(), help="instead of the protocol's")
    parser.add_argument("--draws", type=whole(1), default=1, help="draws of the supports for every query")
    parser.add_argument("--drop-small", action="store_true", help="leave out classes with too few images")
    parser.add_argument("--manifest", type=Path, help="file of episodes, in place of all of these")
    add_data_options(parser)
    parser.add_argument(
        "--copy-images",
        action="store_true",
        help="copy the images, as is always done in classification; they are referred to otherwise",
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.set_defaults(function=_write)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data are."""
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--lists", help="folders with official list files, with commas")


def given_lists(options: argparse.Namespace) -> list[str]:
    """Return the folders of --lists."""
    return [word.strip() for word in (options.lists or "").split(",") if word.strip()]


def _write(options: argparse.Namespace, extra: list[str]) -> int:
    if options.dataset is None and options.manifest is None:
        raise SettingsError("neither a data set nor --manifest is given; expected one, such as: fsbench kit pascal")
    test = load_test(
        options.dataset,
        root=options.data_root,
        lists=given_lists(options),
        protocol=options.protocol,
        fold=options.fold,
        way=options.way,
        shot=options.shot,
        setting=options.setting,
        empty=not options.no_empty,
        episodes=options.episodes,
        seed=options.test_seed,
        draws=options.draws,
        drop_small=options.drop_small,
        manifest=options.manifest,
    )
    given = options.data_root or usual_root(options.dataset or test.manifest.header.dataset)
    root = None if given is None else Path(given).expanduser()
    kit, images = write_kit(
        test, options.out, root, dataset=options.dataset, copy_images=options.copy_images, progress=_progress
    )
    print_line(f"{options.out}: {test!r}")
    print_line(f"kit {kit.sha256[:16]} · paths of images start from {images} · the rules are in RULES.md")
    if kit.copied_images and not options.copy_images:
        print_line("the images are copied under numbers, since the paths of this data set name their classes")
    elif not kit.copied_images and paths_tell_classes(test, root):
        print_line("paths of queries name their classes, which no answer may use; --copy-images hides them in numbers")
    return 0


def _progress(test: Test) -> object:
    return track(test, "Writing episodes", "episode")
