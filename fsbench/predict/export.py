"""Freeze a method and its supports into one file, which takes its name only where it answers as its method does.

Shapes: N classes, (H, W) an image.
"""

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from fsbench.base.errors import NumericsError, SettingsError
from fsbench.base.files import make_folder, replacing
from fsbench.core.export import OUTPUTS, ImageGraph, trace
from fsbench.predict.result import ImageResult

Format = Literal["onnx", "torch"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""How the files' names end."""
NEEDED: Mapping[Format, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}
"""Packages that a format needs here, by their imports."""
SCRIPT = Path(__file__).with_name("run_exported.py")
"""The script that is put beside an ONNX file; it finds it by its own name."""
LARGEST_ONNX = 2**31 - 2**20
"""Bytes of weights that one ONNX file can hold, which is a protocol buffer."""
SAME_PIXELS = 0.999
"""Least share of an image's pixels that must have the same label."""
NEAR = 1e-3
"""Largest margin of a pixel whose label differs, and largest difference of scores of presence."""

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Labels (H, W) uint8, decisions (N,) int8 and scores (N,) float32 of presence, as of `ImageGraph`."""
Run = Callable[[np.ndarray], Answer]
"""Function from an image (H, W, 3) uint8 to an exported file's answer."""


@dataclass(frozen=True)
class Agreement:
    """How well the predictions of an exported file agree with those of the method that was exported.

    Attributes:
        images: Number of compared images.
        pixels: Number of pixels of all compared images.
        other: Number of pixels to which file and method give different labels.
        farthest: Largest distance from the decision threshold among the probabilities of pixels with different labels;
            0 if there are none.
        score: Largest difference between the file's and the method's presence scores; None if no class has them.
    """

    images: int
    pixels: int
    other: int
    farthest: float
    score: float | None

    def __str__(self) -> str:
        photos = "1 photo" if self.images == 1 else f"{self.images} photos"
        said = f"{self.pixels - self.other:,} of the {self.pixels:,} pixels of {photos} have the same label"
        if self.other:
            rest = "other one lies" if self.other == 1 else f"other {self.other:,} lie"
            said += f"; the {rest} on the threshold (within {self.farthest:.0e})"
        return said if self.score is None else f"{said}; scores of presence differ by at most {self.score:.0e}"


def check_target(out: Path, format: Format, force: bool) -> None:
    """Raise SettingsError unless an exported method can be written to `out`.

    Args:
        out: The file to write; its suffix must fit the format, and it must not exist, unless `force` is set.
        format: "onnx" or "torch"; packages that the format needs must be installed.
        force: Whether an existing file may be replaced.
    """
    if out.suffix.lower() != SUFFIXES[format]:
        raise SettingsError(
            f"--out is {out}, expected a name that ends with {SUFFIXES[format]}, as of --format {format}"
        )
    for path in (out, out.with_suffix(".py")) if format == "onnx" else (out,):
        if path.exists() and not force:
            raise SettingsError(f"{path} exists already; choose another --out, or --force to replace it")
    missing = [name for name in NEEDED[format] if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)} not installed, which --format {format} needs; install them with pip install "
            "'fsbench[export]', or take --format torch"
        )


def write_checked(
    graph: ImageGraph,
    out: Path,
    format: Format,
    about: Mapping[str, str],
    own: Callable[[np.ndarray], ImageResult],
    margin: Callable[[np.ndarray], np.ndarray],
    images: Mapping[str, np.ndarray],
) -> Agreement:
    """Write an exported method to a file, and compare the file's answers with the method's.

    Beside an ONNX file, a Python script that runs the file is written.

    Args:
        graph: The method with its supports, from an image to its prediction.
        out: The file to write.
        format: "onnx" or "torch".
        about: {name: text} to store in the file; "method" is the method's name.
        own: Function from an image to the method's own prediction.
        margin: Function from an image to each pixel's distance (H, W) from the decision threshold.
        images: {name: pixels (H, W, 3) uint8} of the images to compare on.

    Raises:
        SettingsError: a step of the method cannot be traced, or the weights do not fit into the file.
        NumericsError: the file's predictions differ from the method's by more than rounding does; nothing is written.
    """
    program = trace(graph)
    make_folder(out.absolute().parent)
    with ExitStack() as written:
        file = written.enter_context(replacing(out))
        write_program(program, format, file, about)
        agreement = compare(about["method"], own, margin, load_program(file, format), images)
        if format == "onnx":
            shutil.copyfile(SCRIPT, written.enter_context(replacing(out.with_suffix(".py"))))
    return agreement


def compare(
    name: str,
    own: Callable[[np.ndarray], ImageResult],
    margin: Callable[[np.ndarray], np.ndarray],
    file: Run,
    images: Mapping[str, np.ndarray],
) -> Agreement:
    """Compare an exported file's predictions with the method's own.

    Args:
        name: The method's name, for messages.
        own: Function from an image to the method's own prediction, at the image's size.
        margin: Function from an image to each pixel's distance (H, W) from the decision threshold
            (`fsbench.core.export.Decision`).
        file: Function that runs the exported file on an image, and returns labels (H, W), presence (N,) and scores
            (N,).
        images: {name: pixels (H, W, 3) uint8}.

    Raises:
        NumericsError: a prediction differs by more than rounding does.
    """
    pixels = other = 0
    farthest, largest = 0.0, None
    for image_name, image in images.items():
        result = own(image)
        labels, present, score = file(image)
        differs = labels != result.label_map
        distance = float(margin(image)[differs].max()) if differs.any() else 0.0
        tells = np.array([one.tells for one in result.classes])
        gaps = np.abs(np.array([one.score for one in result.classes]) - score)[tells]
        gap = float(gaps.max()) if tells.any() else 0.0
        decided = [int(one.present) if one.tells else -1 for one in result.classes] == present.tolist()
        if differs.mean() > 1 - SAME_PIXELS or distance > NEAR or gap > NEAR or not decided:
            raise NumericsError(
                f"the exported file answers otherwise than {name} on {image_name}: {100 * differs.mean():.3g} % of "
                f"the labels, up to {distance:.2g} from the threshold, scores of presence by up to {gap:.2g}"
                f"{'' if decided else ', its decisions, too'}; expected at most {100 * (1 - SAME_PIXELS):.1g} %, "
                f"{NEAR:g} and {NEAR:g}; nothing was written"
            )
        pixels, other = pixels + differs.size, other + int(differs.sum())
        farthest, largest = max(farthest, distance), max(largest or 0.0, gap) if tells.any() else largest
    return Agreement(len(images), pixels, other, farthest, largest)


def write_program(program: ExportedProgram, format: Format, path: Path, about: Mapping[str, str]) -> None:
    """Write a traced program to a file, with texts that describe it.

    Raises:
        SettingsError: the weights are too large for one ONNX file (2 GB).

    Args:
        program: The traced program.
        format: "onnx" or "torch".
        path: The file to write.
        about: {name: text} to store in the file.
    """
    if format == "torch":
        with path.open("wb") as file:  # by its name torch would ask for .pt2, which a half-written file has not
            torch.export.save(move_to_device_pass(program, "cpu"), file, extra_files={"about.json": json.dumps(about)})
        return
    weights = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if weights > LARGEST_ONNX:
        raise SettingsError(
            f"the weights have {weights / 1e9:.1f} GB, and an ONNX file holds 2 GB; take --format torch, or a smaller "
            "backbone"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # what the exporter says about itself; its errors are exceptions
        try:
            written = torch.onnx.export(
                program, input_names=["image"], output_names=list(OUTPUTS), dynamo=True, verbose=False
            )
        finally:
            logging.disable(logging.NOTSET)
    assert written is not None
    written.model.metadata_props.update(about)
    written.save(path, external_data=False)


def load_program(path: Path, format: Format, threads: int = 0) -> Run:
    """Return a function that runs an exported file on the CPU.

    Args:
        path: The exported file.
        format: "onnx" or "torch".
        threads: Number of cores to use with ONNX; 0 for all.

    Returns:
        A function from an image (H, W, 3) uint8 to labels (H, W) uint8, presence (N,) int8 and scores (N,) float32.
    """
    if format == "torch":
        with path.open("rb") as file:
            module = torch.export.load(file).module()

        def run_torch(image: np.ndarray) -> Answer:
            with torch.inference_mode():
                labels, present, score = module(torch.from_numpy(np.ascontiguousarray(image)))
            return labels.numpy(), present.numpy(), score.numpy()

        return run_torch
    import onnxruntime  # optional: only where a file is checked

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def run_onnx(image: np.ndarray) -> Answer:
        labels, present, score = session.run(list(OUTPUTS), {"image": np.ascontiguousarray(image)})
        return labels, present, score

    return run_onnx
