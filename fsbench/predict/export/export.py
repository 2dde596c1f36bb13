"""Write a graph to a file, which takes its place only where it answers as its method does."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder, replacing
from fsbench.core.image_graph import ImageGraph, trace
from fsbench.predict.export.agreement import Agreement, Original, compare
from fsbench.predict.export.files import SUFFIXES, Format, check_packages, load_program, write_program, write_script


@dataclass(frozen=True)
class Exported:
    """An exported method.

    Attributes:
        path: the file.
        script: the script beside it that runs it; None beside torch's format.
        size: bytes of the file.
        agreement: how far its answers are the method's own.
    """

    path: Path
    script: Path | None
    size: int
    agreement: Agreement


@dataclass(frozen=True)
class Target:
    """The file that is to be written.

    Attributes:
        path: its name.
        kind: its format.
        force: replace files that are there.
    """

    path: Path
    kind: Format
    force: bool

    @property
    def script(self) -> Path | None:
        """The script beside an ONNX file."""
        return self.path.with_suffix(".py") if self.kind == "onnx" else None

    def check(self) -> None:
        """Raise SettingsError where the name does not fit the format, something would be replaced, or a package is
        missing."""
        suffix = SUFFIXES[self.kind]
        if self.path.suffix.lower() != suffix:
            raise SettingsError(
                f"--out is {self.path}, expected a name that ends with {suffix}, as of --format {self.kind}"
            )
        for path in (self.path, self.script):
            if path is not None and path.exists() and not self.force:
                raise SettingsError(f"{path} exists already; choose another --out, or --force to replace it")
        check_packages(self.kind)


def write_checked(
    graph: ImageGraph,
    target: Target,
    about: Mapping[str, Any],
    original: Original,
    images: Sequence[tuple[str, np.ndarray]],
) -> Exported:
    """Write a graph to a file, with a script that runs it, and compare its answers with the method's.

    Args:
        graph: the method with its supports.
        target: the file.
        about: what the file says of itself, see `write_program`.
        original: the method, to compare with.
        images: names and pixels (H, W, 3) uint8 of images to compare on.

    Raises:
        SettingsError: a step cannot be traced, or the weights do not fit into the file.
        NumericsError: the file answers otherwise than the method; nothing is written.
    """
    program = trace(graph)
    make_folder(target.path.absolute().parent)
    with ExitStack() as written:
        file = written.enter_context(replacing(target.path))
        write_program(program, target.kind, file, about)
        agreement = compare(original, load_program(file, target.kind), images)
        size = file.stat().st_size
        if target.script is not None:
            write_script(written.enter_context(replacing(target.script)))
    return Exported(target.path, target.script, size, agreement)
