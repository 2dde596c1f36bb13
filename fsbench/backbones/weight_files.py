"""Weight files of backbones: where they are published, how they are read and checked."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fsbench.errors import CheckpointError
from fsbench.files import sha256_file


class ReleasedWeights(Protocol):
    """Published weight file of a backbone.

    Attributes:
        file: usual place, relative to the repository.
        page: web page of the release.
        url: address of the file; empty for weights that come with the repository.
        size: bytes, 0 where unknown.
        sha256: checksum or the published beginning of it; empty where none is published.
    """

    @property
    def file(self) -> str: ...
    @property
    def page(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


def check_keys(own: dict[str, Tensor], state: dict[str, Tensor], what: str) -> None:
    """Raise CheckpointError, naming keys, unless `state` has exactly the keys and shapes of `own`.

    Args:
        own: the model's own state dict.
        state: the weights to load.
        what: what the weights are called in the message.
    """
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and own[k].shape != state[k].shape
    ]
    problems = {"missing": sorted(own.keys() - state), "not known": sorted(state.keys() - own), "other shape": shapes}
    report = "; ".join(
        f"{len(keys)} keys {kind}: {', '.join(keys[:4])}{' …' if len(keys) > 4 else ''}"
        for kind, keys in problems.items()
        if keys
    )
    if report:
        raise CheckpointError(f"{what} cannot be used with this model: {report}")


def state_digest(state: dict[str, Tensor]) -> str:
    """Return the sha256 over names and float32 values, in the order of the names; DINOv2's mask token is left out."""
    digest = hashlib.sha256()
    for key in sorted(state.keys() - {"mask_token"}):
        digest.update(key.encode() + state[key].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or .pth file; nothing but tensors is ever unpickled.

    Raises:
        CheckpointError: the file cannot be read or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # needed for this kind of file only

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"cannot read {path}: {type(error).__name__}; expected a .pth or .safetensors file with tensors only; "
            "fetch it again or convert it"
        ) from error
    for inside in ("model", "state_dict"):  # how Swin's and iBOT's authors store it
        if isinstance(loaded, dict) and isinstance(loaded.get(inside), dict):
            loaded = loaded[inside]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{path} holds no plain state_dict of tensors; expected the official backbone file")
    return loaded


def describe_weights(spec: ReleasedWeights, path: Path, known: Mapping[str, ReleasedWeights] | None = None) -> str:
    """Return "official", "unofficial" or "unverified", the name and the sha256 of the weight file `path`.

    Args:
        spec: the file that is expected.
        path: the file that is used.
        known: backbones by their names, whose official files are not to be taken for one another: files of two
            trainings of one network have the same keys.

    Raises:
        CheckpointError: `path` is the official file of another backbone.
    """
    digest = sha256_file(path)
    if spec.sha256 and digest.startswith(spec.sha256):
        return f"official {path.name} sha256 {digest}"
    for name, other in (known or {}).items():
        if other.sha256 and digest.startswith(other.sha256):
            raise CheckpointError(
                f"{path} is the official file {Path(other.file).name} of the backbone {name}; expected "
                f"{Path(spec.file).name}; give that file with WEIGHTS=<file>, or take BACKBONE={name}"
            )
    return f"{'unofficial' if spec.sha256 else 'unverified'} {path.name} sha256 {digest}"


def how_to_get(spec: ReleasedWeights, name: str, path: Path) -> str:
    """Return the message for the user when the weights of backbone `name` are not at `path`."""
    if not spec.url:
        return f"the weights {path} that come with the repository are missing; restore them with git checkout"
    sha256 = f"{spec.sha256}{'…' if len(spec.sha256) < 64 else ''}" if spec.sha256 else "(none is published)"
    return (
        f"the weights of the backbone {name} are not at {path}\n"
        f"  fetch {spec.url}\n"
        f"        (official page: {spec.page})\n"
        f"  put it at {path}, or say where it is: WEIGHTS=<file> (make bench), --weights <file> (fsbench)\n"
        f"  check it with sha256sum: {sha256}{f', {spec.size} bytes' if spec.size else ''}\n"
        "  to try the path without it: WEIGHTS=random (its figures mean nothing)"
    )
