"""`fsbench export`: freeze a method and its supports into one file that segments photos without the suite."""

import argparse
from pathlib import Path

from fsbench.base.terminal import print_line, shorten_hashes
from fsbench.cli.predict import add_network_options, check_method, predictor_with_supports, print_checks

EXAMPLES = """\
examples:
  fsbench export prototype --supports marked/ --out thing.onnx
  fsbench export emat --checkpoint best.ckpt --supports marked/ --out thing.onnx --images photos/
  python thing.py photo.jpg mask.png                                   # numpy, Pillow and onnxruntime alone

--supports is a folder with JSON files of LabelMe or COCO, or one with photos/ and masks/, where a photo and its mask
have one name.
The file takes `image` (height, width, 3) uint8, at least 2 x 2 pixels, and gives `labels` (height, width) uint8, and of
each class `present` and `score`. Its answers are compared with the method's own on the supports and on --images."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.description = "Write a method and its supports to one file, and check that the file gives the same answers."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("method", help="name of the method (see: fsbench list)")
    parser.add_argument(
        "--supports", type=Path, required=True, metavar="FOLDER", help="the labelled photos (see below)"
    )
    parser.add_argument(
        "--negative", action="append", default=[], metavar="[NAME=]PHOTO[:MASK]",
        help="photos without the classes, or marked regions that are none of them, as in fsbench predict",
    )  # fmt: skip
    parser.add_argument(
        "--classes",
        default="",
        help="names of the masks' numbers: 1=cat,2=dog; or the classes of JSON files to use: cat,dog",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="file to write, such as thing.onnx; thing.py goes beside it"
    )
    parser.add_argument(
        "--format", choices=["onnx", "torch"], default="onnx", help="onnx (default), or torch: a .pt2 of torch.export"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        default=[],
        help="more photos, or folders of photos, on which to compare the answers",
    )
    parser.add_argument(
        "--checkpoint", "--ckpt", dest="ckpt", type=Path, help="the method's checkpoint, ours or the authors'"
    )
    add_network_options(parser)
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.set_defaults(function=_export, megapixels=16.0, tiles=False)


def _export(options: argparse.Namespace, extra: list[str]) -> int:
    check_method(options)
    # torch: seconds, which help and refused options do without
    from fsbench.predict.images import find_images

    images = [image.path for image in find_images(options.images)] if options.images else []
    predictor = predictor_with_supports(options, [str(options.supports)])
    agreement = predictor.export(options.out, format=options.format, images=images, force=options.force)
    megabytes = options.out.stat().st_size / 1e6
    weights = shorten_hashes(predictor.method.backbone.weights_id)
    print_line(
        f"{options.out}: {megabytes:.1f} MB; {predictor.name} on {weights}, "
        f"{predictor.image_size} pixels; classes: {', '.join(predictor.classes)}"
    )
    print_line(f"compared with {predictor.name} itself: {agreement}")
    print_checks(predictor)
    for name, check in predictor.checks.items():
        print_line(f"  {name}: {check.presence}.")
    if options.format == "onnx":
        script = options.out.with_suffix(".py")
        print_line(f"python {script} PHOTO MASK.png segments a photo, with numpy, Pillow and onnxruntime alone")
    return 0
