"""`fsbench data prepare | check | lists`: the arguments; what they do is in `datamodules.commands`."""

import argparse
import importlib

PHOTO_SETS = ("cub", "cars", "places", "plantae", "aircraft", "pets")
"""Data sets for classification that are fetched."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    data = commands.add_parser("data", help="prepare a data set, or check what is there")
    actions = data.add_subparsers(dest="action", required=True)

    prepare = actions.add_parser("prepare", help="from the publishers' archives to the folders the suite reads")
    prepare.add_argument("dataset", choices=("pascal", "coco", "fss1000", *PHOTO_SETS))
    prepare.add_argument("--root", required=True, help="folder of the data set, made when absent")
    prepare.add_argument("--from", dest="source", metavar="DIR", help="folder with archives that are there already")
    lists = prepare.add_mutually_exclusive_group()
    lists.add_argument("--lists", metavar="DIR", help="folder with released lists, taken instead of a download")
    lists.add_argument("--no-lists", action="store_true", help="do without released lists")
    prepare.add_argument("--render", action="store_true", help="COCO: write label PNGs, too, for other programs")
    prepare.add_argument("--validation-only", action="store_true", help="COCO: leave the training part out")
    prepare.add_argument("--url-base", metavar="URL", help="mirror: URL/<archive>, URL/lists/<file>")
    prepare.add_argument("--allow-unverified", action="store_true", help="use archives of another checksum")
    prepare.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for an answer")
    prepare.add_argument("--retries", type=int, default=5, help="fruitless attempts before it gives up")
    prepare.add_argument("--backoff", type=float, default=1.0, help="seconds before the second attempt; doubles")
    prepare.set_defaults(function=_data)

    check = actions.add_parser("check", help="what is missing or damaged; counts and lists against the official ones")
    check.add_argument("dataset", choices=("pascal", "coco", "fss1000", "folder", *PHOTO_SETS, "imagefolder"))
    check.add_argument("--root", required=True, help="folder of the data set")
    check.add_argument(
        "--lists", metavar="DIR", help="folder with released lists (photos: a list file); default: <root>/lists"
    )
    check.set_defaults(function=_data)

    listing = actions.add_parser("lists", help="the list of a classification data set as a file in the authors' form")
    listing.add_argument("dataset", choices=(*PHOTO_SETS, "imagefolder"))
    listing.add_argument("--root", required=True, help="folder of the data set")
    listing.add_argument("--out", required=True, metavar="FILE", help="JSON file to write")
    listing.add_argument(
        "--lists", metavar="FILE", help="a list file in the authors' form, taken instead of the derived"
    )
    listing.set_defaults(function=_data)


def _data(options: argparse.Namespace, extra: list[str]) -> int:
    commands = importlib.import_module("datamodules.commands")  # by name: fsbench does not depend on the data sets
    return int(getattr(commands, options.action)(options))
