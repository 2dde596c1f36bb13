"""Checkpoints: ours hold what was trained, the authors' the frozen backbone as well; names are the same.

Authors' files are Lightning checkpoints whose `state_dict` has `backbone.*` and `learner.*` (EMAT and CST, emat.md §4),
or the bare `state_dict` of a model wrapped for several GPUs (DCAMA, dcama.md §10, and HSNet).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from fsbench.backbones import check_keys, read_weights, state_digest
from fsbench.contracts import Method
from fsbench.errors import CheckpointError
from fsbench.files import replacing, sha256_file
from fsbench.pyramids import under_timms_names

WRITTEN_BY = "fsbench"
"""Key under which our checkpoints say which method, settings and backbone weights they belong to."""


TRAINED_ON = "fsbench_data"
"""Key under which our checkpoints name the data set, the fold and the classes they were trained on."""

TRAINED_WITH = "trained_with"
"""Key of what `load_checkpoint` returns: settings of the training that the method goes without (`select_learned`)."""


@dataclass(frozen=True)
class AuthorsForm:
    """How the authors of a method store it.

    Attributes:
        wrapper: before every name; a file that has one is a bare state_dict, no Lightning checkpoint.
        backbone: before the names of the frozen backbone, after the wrapper.
        complete: what was learned -> the same as the authors store it, with what they store and we compute.
        stored: False for names of theirs that we compute.
    """

    wrapper: str = ""
    backbone: str = "backbone."
    complete: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda learned: learned
    stored: Callable[[str], bool] = lambda key: True

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """What was learned and the backbone under its own names; None when `state` has another form."""
        frozen = self.wrapper + self.backbone
        backbone = {key.removeprefix(frozen): value for key, value in state.items() if key.startswith(frozen)}
        if not backbone or not all(key.startswith(self.wrapper) for key in state):
            return None
        own = {k.removeprefix(self.wrapper): value for k, value in state.items() if not k.startswith(frozen)}
        return {key: value for key, value in own.items() if self.stored(key)}, backbone

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """The authors' file: backbone first."""
        state = {self.backbone + key: value for key, value in backbone.items()} | self.complete(learned)
        wrapped = {self.wrapper + key: value for key, value in state.items()}
        return wrapped if self.wrapper else {"state_dict": wrapped}


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's own goes through the system's temporary folder: where that is another disk, a killed process leaves
    half of a checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


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
    if isinstance(checkpoint, dict) and checkpoint and all(isinstance(v, Tensor) for v in checkpoint.values()):
        return {"state_dict": checkpoint}
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise CheckpointError(f"{path} has no state_dict; expected a Lightning checkpoint")
    return checkpoint


def load_checkpoint(method: Method, path: Path) -> dict[str, Any]:
    """Load trained weights, ours or the authors', into `method`; an authors' backbone replaces the one in use.

    Returns the file's content and `TRAINED_WITH`. Raises CheckpointError naming the keys when the file belongs to
    another method or another backbone.
    """
    checkpoint = read_checkpoint(path)
    learned, backbone = method.authors_form.split(checkpoint["state_dict"]) or (checkpoint["state_dict"], {})
    written_by = checkpoint.get(WRITTEN_BY, {})
    name = written_by.get("method")  # none in a converted one, whose file does not tell
    whose = f"the checkpoint {path}" + (f" (of {name})" if name else "")
    learned, without = method.select_learned(learned, whose)
    check_keys(method.state_dict(), learned, whose)
    mine = describe(method)
    expected = mine["settings"] | without
    if name and (name, written_by.get("settings")) != (mine["method"], expected):
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
    return checkpoint | {TRAINED_WITH: without}


def describe(method: Method) -> dict[str, Any]:
    """What `method` writes into its checkpoints about itself."""
    return {
        "method": f"{type(method).__module__}.{type(method).__qualname__}",
        "settings": method.checkpoint_settings(),
        "backbone": method.backbone.weights_id,
        "backbone_sha256": method.backbone.digest,
    }


def convert(source: Path, target: Path, backbone_weights: Path | None, forms: Sequence[tuple[str, AuthorsForm]]) -> str:
    """Authors' checkpoint -> ours (the backbone is left out), or ours -> authors' (it is put in). Returns which.

    `forms` are the methods (dotted names) and how their authors store them. Raises CheckpointError for a file that is
    neither, and for backbone weights it was not trained on.
    """
    checkpoint = read_checkpoint(source)
    state, written_by = checkpoint["state_dict"], checkpoint.get(WRITTEN_BY, {})
    found = [(name, parts) for name, form in forms if (parts := form.split(state)) and parts[0]]
    if written_by:
        form = _form_of(source, written_by, dict(forms))
        converted, direction = form.join(state, _trained_on(source, written_by, backbone_weights)), "ours to authors'"
    elif found:
        form_of, (learned, backbone) = found[0]
        digest = state_digest(under_timms_names(backbone))
        origin = {"form_of": form_of, "backbone": f"in the checkpoint {source.name}", "backbone_sha256": digest}
        converted, direction = {"state_dict": learned, WRITTEN_BY: origin}, "authors' to ours"
    else:
        raise CheckpointError(
            f"{source} is no checkpoint of the authors (backbone.* and what was trained) and none of ours; it holds "
            f"{', '.join(sorted(state)[:4]) or 'nothing'} …"
        )
    with replacing(target) as temporary:
        torch.save(converted, temporary)
    return direction


def _form_of(source: Path, written_by: dict[str, Any], forms: Mapping[str, AuthorsForm]) -> AuthorsForm:
    """How the authors store what `source` holds: it names its method, or, where it was converted, one of that form."""
    name = str(written_by.get("method") or written_by.get("form_of"))
    if name not in forms:
        raise CheckpointError(
            f"{source} is of the method '{name}', which this version does not know; expected one of {', '.join(forms)}"
        )
    return forms[name]


def _trained_on(source: Path, written_by: dict[str, Any], weights: Path | None) -> dict[str, Tensor]:
    """The backbone's weights of that file, if they are what the checkpoint was trained on."""
    if weights is None:
        raise CheckpointError(
            f"{source} holds no backbone; the authors' form needs it: say where its weights are (--backbone FILE)"
        )
    frozen = read_weights(weights)
    if state_digest(under_timms_names(frozen)) != written_by.get("backbone_sha256"):
        raise CheckpointError(
            f"{source} was trained on the backbone weights '{written_by.get('backbone')}', not on {weights}; give those"
        )
    if "layers.0.blocks.0.attn.qkv.weight" in frozen and "layers.0.downsample.norm.weight" not in frozen:
        raise CheckpointError(
            f"{weights} has Swin's weights under timm's names, which the authors' program would load in wrong places; "
            "give the file of Swin's authors with the same weights"
        )
    return frozen
