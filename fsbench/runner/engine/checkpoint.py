"""Check, load and convert checkpoints.

Ours hold the trained weights; the authors' also hold the frozen backbone, under the same names.

Authors' files are Lightning checkpoints whose `state_dict` has `backbone.*` and `learner.*` (EMAT and CST, emat.md §4),
or the bare `state_dict` of a model wrapped for several GPUs (DCAMA, dcama.md §10, and HSNet).
"""

from collections.abc import Mapping
from functools import partial
from inspect import isclass, isroutine
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from fsbench.base.errors import CheckpointError, RecordError
from fsbench.base.files import read_json, replacing, sha256_file
from fsbench.core.method import Method
from fsbench.core.released_format import TRAINED_ON, WRITTEN_BY, ReleasedFormat
from fsbench.core.stated_variant import STATED
from fsbench.datamodules.datamodule import DataModule
from fsbench.networks.backbones.timm_networks import to_timm_names
from fsbench.networks.weights.files import read_checkpoint, read_weights, state_digest
from fsbench.networks.weights.plain import plain_checkpoint
from fsbench.records.run import AUTHORS, ON_TRUST, OTHER_RUN, STATED_VARIANT

TRAINING = "fsbench_training"
"""Key under which our checkpoints hold the facts of their training, see `fsbench.runner.engine.origins`."""

TRAINED_WITH, VARIANT = "trained_with", "variant"
"""Keys of `load_checkpoint`'s result: settings of the training that the method goes without, and whether those that an
authors' checkpoint does not show are stated beside it (STATED_VARIANT, ON_TRUST, or None)."""

TRAINED, ADAPTED = "checkpoints/finished.json", "checkpoints/adapted.json"
"""Files of a run's folder with the outcome of its training and of its adaptation, each beside its checkpoint."""


ARGUMENTS = tuple(
    f"{prefix}{name}" for prefix in ("", "datamodule_") for name in ("hyper_parameters", "hparams_name", "hparams_type")
)
"""Entries that `save_hyperparameters` adds. A run needs none of them: its config.yaml has all settings."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints of plain values to a temporary file, reads them back and renames them.

    Lightning's own implementation goes through the system's temporary folder: if that is on another disk, a killed
    process leaves half a checkpoint. Equal checkpoints have equal bytes, also if a training was resumed. Constructor
    arguments and functions in the state of a learning-rate schedule are left out.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        kept = {name: entry for name, entry in checkpoint.items() if name not in ARGUMENTS}
        if "lr_schedulers" in kept:
            kept["lr_schedulers"] = [
                {name: entry for name, entry in state.items() if not _is_code(entry)} for state in kept["lr_schedulers"]
            ]
        save_checkpoint(plain_checkpoint(kept), Path(path))

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def _is_code(value: Any) -> bool:
    return isroutine(value) or isclass(value) or isinstance(value, partial)


def read_outcome(finished: Path) -> dict[str, Any]:
    """Read the JSON file in which a finished training or adaptation wrote its checkpoint's name, hash and results.

    Raises:
        RecordError: the file is missing or damaged, or the checkpoint does not have the stated hash.
    """
    if not finished.is_file():
        raise RecordError(f"there is no {finished}; expected the checkpoint that the run trained; run it again")
    try:
        outcome = dict(read_json(finished, "record"))
        checkpoint, sha256 = finished.with_name(outcome["checkpoint"]), outcome["checkpoint_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{finished} cannot be read ({type(error).__name__}); expected what a finished training or adaptation "
            "writes; remove it and run again"
        ) from error
    if not checkpoint.is_file() or sha256_file(checkpoint) != sha256:
        raise RecordError(
            f"{checkpoint} is not the checkpoint that {finished} tells of; put that back, or remove the run's folder "
            f"{finished.parents[1]} and run again"
        )
    return outcome


def load_checkpoint(
    method: Method, path: Path, data: DataModule | None = None, image_size: int | None = None
) -> dict[str, Any]:
    """Load trained weights, fsbench's or the authors', into `method`, with the authors' backbone if included.

    Args:
        method: the method.
        path: the checkpoint file.
        data: the data module of the test; None for weights that a run made itself, or without a test.
        image_size: side of the images that the method gets, where there is no data module to tell.

    Returns:
        The file's content, with the entries `TRAINED_WITH` and `VARIANT`.

    Raises:
        CheckpointError: the file belongs to another method or another backbone; the message names the keys.
        SettingsError: the weights were trained on classes of the test, or adapted to a test.
    """
    checkpoint = read_checkpoint(path)
    fitted = method.check_weights(checkpoint, data, path, image_size)
    method.load_state_dict(fitted.learned)
    origin = f"in the checkpoint {path.name} sha256 {sha256_file(path)}" if fitted.backbone else ""
    method.take_weights(checkpoint, fitted, origin)
    variant = None if fitted.is_stated is None else STATED_VARIANT if fitted.is_stated else ON_TRUST
    return checkpoint | {TRAINED_WITH: fitted.without, VARIANT: variant}


def checkpoint_weights_origin(method: Method, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return {entry of the run's record: value} on a loaded checkpoint: its origin, how and on what it was trained.

    How and on which data are None if the checkpoint does not say. A plain state_dict without a backbone has the origin
    "another run", too, since it could be one of fsbench.
    """
    released = method.released_format.split(checkpoint["state_dict"]) is not None
    released = released or "form_of" in checkpoint.get(WRITTEN_BY, {})
    trained_on = checkpoint.get(TRAINED_ON)
    return {
        "origin": AUTHORS if released else OTHER_RUN,
        "training": checkpoint.get(TRAINING),
        "trained_on": trained_on and trained_on | {"classes": len(trained_on["classes"])},
    }


def convert(source: Path, target: Path, backbone_weights: Path | None, forms: Mapping[str, ReleasedFormat]) -> str:
    """Convert an authors' checkpoint to fsbench's form (without backbone), or one of fsbench to the authors' form.

    Args:
        source: the checkpoint, fsbench's or the authors'.
        target: file to write.
        backbone_weights: weight file of the backbone; needed for the authors' form.
        forms: {registry name of a method: how its authors store checkpoints}.

    Returns:
        The direction in words, "ours to authors'" or "authors' to ours", with the variant stated beside an authors'
        checkpoint if there is one.

    Raises:
        CheckpointError: `source` is neither form, or was not trained with these backbone weights.
    """
    checkpoint = read_checkpoint(source)
    state, written_by = checkpoint["state_dict"], checkpoint.get(WRITTEN_BY, {})
    matching = [(name, parts) for name, form in forms.items() if (parts := form.split(state)) and parts[0]]
    if written_by:
        name = str(written_by.get("method") or written_by.get("form_of"))  # a converted file's, whose form is the same
        if name not in forms:
            raise CheckpointError(
                f"{source} is of the method '{name}', which this version does not know; expected one of "
                f"{', '.join(forms)}"
            )
        frozen = _trained_on(source, written_by, backbone_weights) if forms[name].has_backbone else {}
        converted, direction = forms[name].join(state, frozen), "ours to authors'"
    elif matching:
        form_of, (learned, backbone) = matching[0]
        origin: dict[str, Any] = {"form_of": form_of}
        if backbone:
            digest = state_digest(to_timm_names(backbone))
            origin |= {"backbone": f"in the checkpoint {source.name}", "backbone_sha256": digest}
        direction = "authors' to ours"
        stated_beside = forms[form_of].stated
        if stated_beside is not None:
            origin[STATED] = stated_beside(source)
            direction += f"; its variant: {_describe_stated(origin[STATED])}"
        converted = {"state_dict": learned, WRITTEN_BY: origin}
    else:
        raise CheckpointError(
            f"{source} is no checkpoint of the authors (backbone.* and what was trained) and none of ours; it holds "
            f"{', '.join(sorted(state)[:4]) or 'nothing'} …"
        )
    if "state_dict" in converted:  # Lightning reads no file that does not say which version wrote it
        converted = {"pytorch-lightning_version": L.__version__} | converted
    save_checkpoint(converted, target)
    return direction


def _describe_stated(stated: Mapping[str, Any]) -> str:
    words = ", ".join(f"{key} {value}" for key, value in stated.items())
    return f"{words} ({STATED_VARIANT})" if stated else f"{ON_TRUST}, as no config.yaml is beside it"


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint to a temporary file, read it back and rename it.

    The bytes are written through a Python file, since torch's own files do not report a full disk.

    Raises:
        CheckpointError: the file cannot be read back; an existing file at `path` is kept.
    """
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
        try:
            read_checkpoint(temporary)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is not written, as nobody could read it: {error}") from error


def _trained_on(source: Path, written_by: dict[str, Any], weights: Path | None) -> dict[str, Tensor]:
    """Return the backbone's weights in the file `weights`; CheckpointError if `source` was trained on others."""
    if weights is None:
        raise CheckpointError(
            f"{source} holds no backbone; the authors' form needs it: say where its weights are (--backbone FILE)"
        )
    frozen = read_weights(weights)
    if state_digest(to_timm_names(frozen)) != written_by.get("backbone_sha256"):
        raise CheckpointError(
            f"{source} was trained on the backbone weights '{written_by.get('backbone')}', not on {weights}; give those"
        )
    if "layers.0.blocks.0.attn.qkv.weight" in frozen and "layers.0.downsample.norm.weight" not in frozen:
        raise CheckpointError(
            f"{weights} has Swin's weights under timm's names, which the authors' program would load in wrong places; "
            "give the file of Swin's authors with the same weights"
        )
    return frozen


def trained_steps(folder: Path) -> int:
    """Return the number of training steps in the last checkpoint of a run's folder; 0 if there is no checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    last = folder / "checkpoints" / "last.ckpt"
    return int(read_checkpoint(last)["global_step"]) if last.is_file() else 0
