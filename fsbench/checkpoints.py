"""Checkpoints: ours hold what was trained, the authors' the frozen backbone as well; names are the same.

Authors' files are Lightning checkpoints whose `state_dict` has `backbone.*` and `learner.*` (emat.md §4).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsbench.backbones import check_keys, read_weights, state_digest
from fsbench.contracts import Method
from fsbench.errors import CheckpointError
from fsbench.files import replacing, sha256_file

BACKBONE = "backbone."
WRITTEN_BY = "fsbench"
"""Key under which our checkpoints say which method, settings and backbone weights they belong to."""


TRAINED_ON = "fsbench_data"
"""Key under which our checkpoints name the data set, the fold and the classes they were trained on."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A Lightning checkpoint, tensors and plain values only. Raises CheckpointError when `path` is none."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; expected a .ckpt file with a state_dict")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path} ({type(error).__name__}); expected a Lightning checkpoint that holds "
            "tensors and plain values only; fetch or train it again"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise CheckpointError(f"{path} has no state_dict; expected a Lightning checkpoint")
    return checkpoint


def load_checkpoint(method: Method, path: Path) -> dict[str, Any]:
    """Load trained weights, ours or the authors', into `method`; an authors' backbone replaces the one in use.

    Returns the file's content. Raises CheckpointError naming the keys when the file belongs to another method or
    another backbone.
    """
    checkpoint = read_checkpoint(path)
    learned, backbone = split_state(checkpoint["state_dict"])
    written_by = checkpoint.get(WRITTEN_BY, {})
    name = written_by.get("method")
    whose = f"the checkpoint {path}" + (f" (of {name})" if name else "")
    check_keys(method.state_dict(), learned, whose)
    mine = describe(method)
    if name and (name, written_by.get("settings")) != (mine["method"], mine["settings"]):
        raise CheckpointError(
            f"{whose} was trained with {written_by.get('settings')}; expected {mine['method']} with "
            f"{mine['settings']}; give the checkpoint of the method that is evaluated"
        )
    if written_by and written_by.get("backbone_sha256") != mine["backbone_sha256"]:
        raise CheckpointError(
            f"{whose} was trained on the backbone weights '{written_by.get('backbone')}', but those in use are "
            f"'{mine['backbone']}'; give the same ones with WEIGHTS=<file>"
        )
    method.load_state_dict(learned)
    if backbone:
        method.backbone.replace_weights(backbone, f"in the checkpoint {path.name} sha256 {sha256_file(path)}")
    return checkpoint


def describe(method: Method) -> dict[str, Any]:
    """What `method` writes into its checkpoints about itself."""
    return {
        "method": f"{type(method).__module__}.{type(method).__qualname__}",
        "settings": method.checkpoint_settings(),
        "backbone": method.backbone.weights_id,
        "backbone_sha256": method.backbone.digest,
    }


def split_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What was trained, and the frozen backbone under its own names (empty in our checkpoints)."""
    learned = {key: value for key, value in state.items() if not key.startswith(BACKBONE)}
    backbone = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    return learned, backbone


def convert(source: Path, target: Path, backbone_weights: Path | None) -> str:
    """Authors' checkpoint -> ours (the backbone is left out), or ours -> authors' (it is put in). Returns which.

    Raises CheckpointError for a file that is neither, and for backbone weights it was not trained on.
    """
    checkpoint = read_checkpoint(source)
    learned, backbone = split_state(checkpoint["state_dict"])
    written_by = checkpoint.get(WRITTEN_BY, {})
    if not learned or not (backbone or written_by):
        raise CheckpointError(
            f"{source} is no checkpoint of the authors (backbone.* and what was trained) and none of ours; it holds "
            f"{', '.join(sorted(checkpoint['state_dict'])[:4]) or 'nothing'} …"
        )
    if backbone:
        origin = {"backbone": f"in the checkpoint {source.name}", "backbone_sha256": state_digest(backbone)}
        converted, direction = {"state_dict": learned, WRITTEN_BY: origin}, "authors' to ours"
    elif backbone_weights is None:
        raise CheckpointError(
            f"{source} holds no backbone; the authors' form needs it: say where its weights are (--backbone FILE)"
        )
    else:
        frozen = read_weights(backbone_weights)
        if state_digest(frozen) != written_by.get("backbone_sha256"):
            raise CheckpointError(
                f"{source} was trained on the backbone weights '{written_by.get('backbone')}', not on "
                f"{backbone_weights}; give those"
            )
        state = {BACKBONE + key: value for key, value in frozen.items()} | learned
        converted, direction = {"state_dict": state}, "ours to authors'"
    with replacing(target) as temporary:
        torch.save(converted, temporary)
    return direction
