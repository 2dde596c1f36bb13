"""Files of exported methods: ONNX with a script that runs it, or torch's own `ExportedProgram`."""

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from fsbench.base.errors import SettingsError
from fsbench.core.image_graph import OUTPUTS
from fsbench.predict.export.agreement import Answer, Run

Format = Literal["onnx", "torch"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""How the files' names end."""
SCRIPT = Path(__file__).with_name("run_exported.py")
"""The script that is put beside an ONNX file; it finds it by its own name."""
LARGEST_ONNX = 2**31 - 2**20
"""Bytes of weights that one ONNX file can hold, which is a protocol buffer."""
NEEDED: Mapping[Format, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}
"""Packages that a format needs here, by their imports."""


def check_packages(kind: Format) -> None:
    """Raise SettingsError where a package that the format needs is not installed."""
    missing = [name for name in NEEDED[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)} not installed, which --format {kind} needs; install them with pip install "
            "'fsbench[export]', or take --format torch"
        )


def write_program(program: ExportedProgram, kind: Format, path: Path, about: Mapping[str, Any]) -> None:
    """Write a graph to a file.

    Args:
        program: the graph.
        kind: the format.
        path: the file.
        about: what the file says of itself: plain values by name, which become JSON.

    Raises:
        SettingsError: its weights do not fit into one ONNX file.
    """
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    if kind == "torch":
        with path.open("wb") as file:  # by its name torch would ask for .pt2, which a half-written file has not
            torch.export.save(move_to_device_pass(program, "cpu"), file, extra_files={"about.json": json.dumps(texts)})
        return
    weights = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if weights > LARGEST_ONNX:
        raise SettingsError(
            f"the weights have {weights / 1e9:.1f} GB, and an ONNX file holds 2 GB; take --format torch, or a smaller "
            "backbone"
        )
    with _quiet():
        written = torch.onnx.export(
            program, input_names=["image"], output_names=list(OUTPUTS), dynamo=True, verbose=False
        )
    assert written is not None
    written.model.metadata_props.update(texts)
    written.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says about itself; its errors are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def load_program(path: Path, kind: Format, threads: int = 0) -> Run:
    """Return a function that runs an exported file on the CPU; of `threads`, which ONNX alone has, 0 is all cores."""
    return _onnx(path, threads) if kind == "onnx" else _torch(path)


def _onnx(path: Path, threads: int) -> Run:
    import onnxruntime  # optional: only where a file is checked

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> Answer:
        labels, present, score = session.run(list(OUTPUTS), {"image": np.ascontiguousarray(image)})
        return labels, present, score

    return run


def _torch(path: Path) -> Run:
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def run(image: np.ndarray) -> Answer:
        with torch.inference_mode():
            labels, present, score = module(torch.from_numpy(np.ascontiguousarray(image)))
        return labels.numpy(), present.numpy(), score.numpy()

    return run


def write_script(path: Path) -> None:
    """Copy the script that runs an ONNX file to `path`."""
    shutil.copyfile(SCRIPT, path)
