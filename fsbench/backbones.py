"""Frozen backbones with their weights from a file the user names, and the vision transformers among them.

What every backbone is, `FrozenBackbone` says; pyramids of convolutional and Swin networks are in `fsbench.pyramids`.
timm's own ways to load DINO and DINOv2 at another image size resize the position table differently from the models'
authors (by target size and with antialiasing), which changes the tokens by tens of percent. Here the table is resized
as the authors do and loaded as it is (emat.md §1).
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.demo.vit import DEMO_VIT, TABLE_SIDE, WEIGHTS_SHA256
from fsbench.errors import CheckpointError, SettingsError
from fsbench.feature_cache import FeatureCache
from fsbench.files import sha256_file
from fsbench.paths import REPOSITORY


class Published(Protocol):
    """Where a backbone's official weights are: file in the repository, page and address to fetch it from, its size in
    bytes (0: not known) and its sha256 (or the part of it that is published; empty: none is)."""

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


@dataclass(frozen=True)
class ViT:
    """A transformer that the suite knows: timm's arguments, and the official weight file.

    `table_side` is the side M of the stored position grid. `sha256` may be a prefix where no more is published.
    """

    arguments: dict[str, Any]
    table_side: int
    file: str
    page: str = ""
    url: str = ""
    size: int = 0
    sha256: str = ""


VITS = {
    "dinov2_vits14": ViT(  # without registers
        dict(patch_size=14, embed_dim=384, depth=12, num_heads=6, init_values=1e-5),
        table_side=37,
        file="weights/dinov2_vits14_pretrain.pth",
        page="https://github.com/facebookresearch/dinov2",
        url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        size=88_283_115,
        sha256="b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    ),
    "dino_vits8": ViT(
        dict(patch_size=8, embed_dim=384, depth=12, num_heads=6),
        table_side=28,
        file="weights/dino_deitsmall8_pretrain.pth",
        page="https://github.com/facebookresearch/dino",
        url="https://dl.fbaipublicfiles.com/dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth",
        size=86_728_949,
        sha256="230cd5",
    ),
    "dino_vitb16": ViT(
        dict(patch_size=16, embed_dim=768, depth=12, num_heads=12),
        table_side=14,
        file="weights/dino_vitbase16_pretrain.pth",
        page="https://github.com/facebookresearch/dino",
        url="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
    ),
    "demo": ViT(DEMO_VIT, TABLE_SIDE, file="fsbench/demo/vit.safetensors", sha256=WEIGHTS_SHA256),
}


@dataclass
class BackboneConfig:
    """Which frozen backbone a method stands on.

    Args:
        name: a key of `fsbench.backbones.VITS`, or of `fsbench.pyramids.PYRAMIDS` for methods that take pyramids, or
            of `fsbench.encoders.ENCODERS` for classifiers.
        weights: weight file (.pth or .safetensors); `random` or `random:SEED` for random weights, which exercise the
            path and nothing else; None for the file's usual place, `weights/` in the repository.
        cache_mib: bound on the features kept in memory for images that come again.
    """

    name: str = "dinov2_vits14"
    weights: str | None = None
    cache_mib: int = 6144


def resize_position_table(table: Tensor, height: int, width: int) -> Tensor:
    """Position table (1, 1 + M², C) -> (1, 1 + height·width, C), as DINO and DINOv2 do it (emat.md §1.1).

    Bicubic with the explicit scale factor (height + 0.1) / M, without antialias; the class position stays.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if height == width == side:
        return table
    grid = rearrange(table[:, 1:].float(), "1 (y x) c -> 1 c y x", y=side)
    scale = ((height + 0.1) / side, (width + 0.1) / side)
    resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], rearrange(resized, "1 c y x -> 1 (y x) c").to(table.dtype)], 1)


def build_vit(arguments: dict[str, Any], state: dict[str, Tensor], height: int, width: int) -> nn.Module:
    """timm's VisionTransformer for images of height x width with the authors' weights, frozen, in eval mode.

    `state` holds the authors' names and the stored position table; a mask token is dropped. Raises CheckpointError
    naming the keys that do not fit.
    """
    from timm.models.vision_transformer import VisionTransformer

    patch = arguments["patch_size"]
    check_size(patch, height, width)
    model = VisionTransformer(**arguments, img_size=(height, width), num_classes=0)
    state = {key: value.float() for key, value in state.items() if key != "mask_token"}
    if "pos_embed" in state:
        state["pos_embed"] = resize_position_table(state["pos_embed"], height // patch, width // patch)
    check_keys(model.state_dict(), state, "backbone weights")
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def check_size(patch: int, height: int, width: int) -> None:
    if height % patch or width % patch:
        raise SettingsError(f"image size {height}x{width} is not a multiple of the backbone's patch size {patch}")


def check_keys(own: dict[str, Tensor], state: dict[str, Tensor], what: str) -> None:
    """Raise CheckpointError, naming keys, unless `state` has exactly the keys and shapes of `own`, the model's."""
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and own[k].shape != state[k].shape
    ]
    problems = {"missing": sorted(own.keys() - state), "not known": sorted(state.keys() - own), "other shape": shapes}
    found = "; ".join(
        f"{len(keys)} keys {kind}: {', '.join(keys[:4])}{' …' if len(keys) > 4 else ''}"
        for kind, keys in problems.items()
        if keys
    )
    if found:
        raise CheckpointError(f"{what} cannot be used with this model: {found}")


def random_state(vit: ViT, seed: int) -> dict[str, Tensor]:
    """Seeded random weights under the authors' names, with a stored position table of the usual side."""
    from timm.models.vision_transformer import VisionTransformer

    side = vit.table_side * vit.arguments["patch_size"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionTransformer(**vit.arguments, img_size=side, num_classes=0).state_dict()


def state_digest(state: dict[str, Tensor]) -> str:
    """sha256 over names and values, in the order of the names, floating-point numbers as float32."""
    digest = hashlib.sha256()
    for key in sorted(state.keys() - {"mask_token"}):
        digest.update(key.encode() + state[key].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or .pth file (never unpickling anything but tensors)."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

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


class FrozenBackbone:
    """A frozen network that encodes one image at a time and remembers what it computed.

    Deliberately no `nn.Module`: its weights are in no checkpoint, no optimiser and no DDP bucket. Images are encoded
    singly, so that a feature cannot depend on what else was in the batch. The network is built for the size of the
    first image.

    Subclasses say which weights there are and what a feature is. Raises CheckpointError at once when the weights are
    missing, unreadable or do not fit.
    """

    spec: Published
    trained_on: dict[str, Any] | None = None
    """Data set, fold and classes of one's own training, where that made the weights."""

    def __init__(self, config: BackboneConfig):
        self.name = config.name
        self.cache = FeatureCache(config.cache_mib * 2**20)
        state, self.weights_id = self._load(config.weights)
        self.state = self._fitting(state)
        self._model: nn.Module | None = None
        self._size: tuple[int, int] | None = None

    @property
    def parameters(self) -> int:
        """Number of frozen parameters, position table and all as stored."""
        return sum(tensor.numel() for tensor in self.state.values())

    def check_image_size(self, size: int) -> None:
        """Raise SettingsError unless images of size x size can be encoded."""
        raise NotImplementedError

    def replace_weights(self, state: dict[str, Tensor], weights_id: str) -> None:
        """Use other weights of the same architecture, e.g. those inside an authors' checkpoint."""
        self.state, self.weights_id = self._fitting(state), weights_id
        self._model = None
        self.__dict__.pop("digest", None)
        self.cache.clear()

    @cached_property
    def digest(self) -> str:
        """Of the weights themselves, whatever file they came in."""
        return state_digest(self.state)

    def encode(self, pixels: Tensor) -> Any:
        """Features of a normalised image (3, H, W)."""
        model = self.network(pixels)
        with torch.no_grad():
            return self._features(model, pixels[None])

    def network(self, pixels: Tensor) -> nn.Module:
        """The network for images of the size and device of `pixels` (3, H, W), in eval mode."""
        size = (pixels.shape[1], pixels.shape[2])
        if self._size != size:
            self.cache.clear()
        if self._model is None or self._size != size:
            self._model = self._build(*size).to(pixels.device)
            self._size = size
        return self._model

    def _build(self, height: int, width: int) -> nn.Module:
        """The frozen network with `self.state`."""
        raise NotImplementedError

    def _features(self, model: nn.Module, images: Tensor) -> Any:
        """Features of one image (1, 3, H, W)."""
        raise NotImplementedError

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        """Weights to try the path with."""
        raise NotImplementedError

    def _fitting(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What of `state` the features depend on, under the names used here; CheckpointError if it does not fit."""
        raise NotImplementedError

    def _load(self, weights: str | None) -> tuple[dict[str, Tensor], str]:
        if weights is not None and weights.split(":")[0] == "random":
            number = weights.partition(":")[2] or "0"
            if not number.isdecimal():
                raise SettingsError(f"weights are '{weights}', expected a file, random or random:SEED")
            seed = int(number)
            return self._random_state(seed), f"random (seed {seed})"
        path = Path(weights) if weights else REPOSITORY / self.spec.file
        if not path.is_file():
            raise CheckpointError(self._how_to_get(path))
        digest = sha256_file(path)
        known = self.spec.sha256
        kind = ("official" if digest.startswith(known) else "unofficial") if known else "unverified"
        return read_weights(path), f"{kind} {path.name} sha256 {digest}"

    def _how_to_get(self, path: Path) -> str:
        spec = self.spec
        if not spec.url:
            return f"the weights {path} that come with the repository are missing; restore them with git checkout"
        sha256 = f"{spec.sha256}{'…' if len(spec.sha256) < 64 else ''}" if spec.sha256 else "(none is published)"
        return (
            f"the weights of the backbone {self.name} are not at {path}\n"
            f"  fetch {spec.url}\n"
            f"        (official page: {spec.page})\n"
            f"  put it at {path}, or say where it is: WEIGHTS=<file> (make bench), --weights <file> (fsbench)\n"
            f"  check it with sha256sum: {sha256}{f', {spec.size} bytes' if spec.size else ''}\n"
            "  to try the path without it: WEIGHTS=random (its figures mean nothing)"
        )


class FrozenViT(FrozenBackbone):
    """A frozen ViT; its features are the tokens of all blocks."""

    spec: ViT

    def __init__(self, config: BackboneConfig):
        if config.name not in VITS:
            raise SettingsError(f"unknown backbone '{config.name}'; there are: {', '.join(sorted(VITS))}")
        self.spec = VITS[config.name]
        super().__init__(config)

    @property
    def heads(self) -> int:
        return int(self.spec.arguments["num_heads"])

    @property
    def depth(self) -> int:
        return int(self.spec.arguments["depth"])

    def check_image_size(self, size: int) -> None:
        check_size(self.spec.arguments["patch_size"], size, size)

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised image (3, H, W) -> tokens (L, 1 + T, C) float32 of all blocks, class token first, each with the
        final LayerNorm."""
        tokens: Tensor = super().encode(pixels)
        return tokens

    def _build(self, height: int, width: int) -> nn.Module:
        return build_vit(self.spec.arguments, self.state, height, width)

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        return vit_tokens(model, images)[0]

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        return random_state(self.spec, seed)

    def _fitting(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """`state` without DINOv2's mask token, which is for its training only; its keys and shapes checked."""
        from timm.models.vision_transformer import VisionTransformer

        state = {key: value for key, value in state.items() if key != "mask_token"}
        side = self.spec.table_side * self.spec.arguments["patch_size"]
        with torch.device("meta"):
            model = VisionTransformer(**self.spec.arguments, img_size=side, num_classes=0)
        check_keys(model.state_dict(), state, f"backbone weights for {self.name}")
        return state


def vit_tokens(model: Any, images: Tensor) -> Tensor:
    """Normalised images (M, 3, H, W) -> tokens (M, L, 1 + T, C) of all blocks, final LayerNorm on each."""
    layers = model.get_intermediate_layers(images, n=len(model.blocks), norm=True, return_prefix_tokens=True)
    return torch.stack([torch.cat([prefix, patches], 1) for patches, prefix in layers], 1)
