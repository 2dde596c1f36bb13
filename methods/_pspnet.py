"""PSPNet with a dilated ResNet-50 or VGG16-bn: HMNet's frozen features and its base learner (hmnet.md §2).

Module names are those of HMNet's checkpoints: `layer0..4`, `ppm`, `cls`, `base_learner`.

Shapes: b images, c channels of layer4, n base classes.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.backbones import BackboneConfig, FrozenBackbone, check_keys, state_digest
from fsbench.checkpoints import TRAINED_ON, read_checkpoint
from fsbench.errors import CheckpointError, SettingsError
from fsbench.files import sha256_file
from fsbench.pyramids import under_timms_names

FROZEN = ("layer0.", "layer1.", "layer2.", "layer3.", "layer4.", "ppm.", "cls.", "base_learner.")
"""What names of weights begin with that HMNet does not train."""
WIDTH = 512  # channels of `cls`
ANY_CLASSES = 60  # base classes of random weights: enough for every data set of the field
CUTS = (0, 7, 14, 24, 34, 43)  # VGG16-bn's features by module index, §2.2


class Bottleneck(nn.Module):
    """Residual block; stride and dilation are those of the 3x3 convolution."""

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, downsample: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if downsample:
            shortcut = nn.Conv2d(channels, 4 * planes, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * planes))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def resnet50_layers() -> list[nn.Sequential]:
    """Deep stem and four stages, the last two dilated instead of strided (§2.1)."""
    stem: list[nn.Module] = []
    for channels, out, stride in ((3, 64, 2), (64, 64, 1), (64, 128, 1)):
        stem += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    layers = [nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))]
    channels = 128
    for planes, blocks, stride, dilation in ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4)):
        first = Bottleneck(channels, planes, stride, dilation, downsample=True)
        channels = 4 * planes
        rest = (Bottleneck(channels, planes, 1, dilation, downsample=False) for _ in range(blocks - 1))
        layers.append(nn.Sequential(first, *rest))
    return layers


def vgg16_layers() -> list[nn.Sequential]:
    """VGG16-bn without its fifth pool; pools round up (§2.2)."""
    modules: list[nn.Module] = []
    channels = 3
    for out in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if out:
            modules += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        else:
            modules.append(nn.MaxPool2d(2, 2, ceil_mode=True))
    return [nn.Sequential(*modules[start:end]) for start, end in itertools.pairwise(CUTS)]


class PyramidPooling(nn.Module):
    """Averages over grids of several sizes beside the features themselves (§2.3): (b, c, h, w) -> (b, 2c, h, w)."""

    def __init__(self, channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)):
        super().__init__()
        out = channels // len(bins)
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(n), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
            )
            for n in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = [F.interpolate(f(x), x.shape[-2:], mode="bilinear", align_corners=True) for f in self.features]
        return torch.cat([x, *pooled], 1)


class Features(NamedTuple):
    """Of images: outputs of layer2, layer3, layer4, and f4 = cls(ppm(layer4)) or None without a base learner (§2.3)."""

    f1: Tensor
    f2: Tensor
    f3: Tensor
    f4: Tensor | None


class PSPNet(nn.Module):
    """Segmentation of base classes: class 0 is background."""

    def __init__(self, kind: Literal["resnet50", "vgg16"], classes: int):
        super().__init__()
        layers = resnet50_layers() if kind == "resnet50" else vgg16_layers()
        channels = 2048 if kind == "resnet50" else 512
        self.layer0, self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.ppm = PyramidPooling(channels)
        self.cls = nn.Sequential(nn.Conv2d(2 * channels, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH))
        self.base_learner = base_head(WIDTH, classes)

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f1, f2, f3."""
        f1 = self.layer2(self.layer1(self.layer0(images)))
        f2 = self.layer3(f1)
        return f1, f2, self.layer4(f2)

    def forward(self, images: Tensor) -> Features:
        f1, f2, f3 = self.trunk(images)
        return Features(f1, f2, f3, self.cls(self.ppm(f3)))

    def segment(self, images: Tensor) -> Tensor:
        """(b, 3, H, W) -> logits (b, n + 1, h, w)."""
        logits: Tensor = self.base_learner(self(images).f4)
        return logits


def base_head(channels: int, classes: int) -> nn.Sequential:
    """The last layers of PSPNet, on f4 -> logits of background and `classes`."""
    return nn.Sequential(nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(channels, classes + 1, 1))


@dataclass(frozen=True)
class PSPNetSpec:
    """A network, and where a file with its weights is looked for. Nobody publishes one address for all folds."""

    kind: Literal["resnet50", "vgg16"]
    channels: tuple[int, int, int, int]
    file: str
    page: str = "https://github.com/chunbolang/BAM"
    url: str = ""
    size: int = 0
    sha256: str = ""


PSPNETS = {
    "pspnet_resnet50": PSPNetSpec("resnet50", (512, 1024, 2048, WIDTH), "weights/pspnet_resnet50.pth"),
    "pspnet_vgg16": PSPNetSpec("vgg16", (256, 512, 512, WIDTH), "weights/pspnet_vgg16.pth"),
}


def under_hmnets_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a file belongs to the PSPNet, under HMNet's names: of a PSPNet alone, whose last layers are `cls.{0..4}`
    and whose layers come twice (`encoder.*`), of HMNet or of our base learner's checkpoint."""
    plain = {}
    alone = any(key.removeprefix("module.").startswith("cls.4.") for key in state)
    for key, value in state.items():
        key = key.removeprefix("module.").removeprefix("model.")
        if alone and key.startswith("cls.4."):
            key = "base_learner.2." + key.removeprefix("cls.4.")
        if key.startswith(FROZEN):
            plain[key] = value
    return plain


class FrozenPSPNet(FrozenBackbone):
    """PSPNet trained on the base classes of a fold; its features are `Features` of one image, without gradient."""

    spec: PSPNetSpec

    def __init__(self, config: BackboneConfig):
        if config.name not in PSPNETS:
            raise SettingsError(f"'{config.name}' is no PSPNet; there are: {', '.join(PSPNETS)}")
        self.spec = PSPNETS[config.name]
        super().__init__(config)

    @property
    def channels(self) -> tuple[int, int, int, int]:
        return self.spec.channels

    @property
    def classes(self) -> int:
        """Base classes that the base learner tells apart."""
        return len(self.state["base_learner.2.bias"]) - 1

    def base_logits(self, f4: Tensor, training: bool) -> Tensor:
        """(b, c, h, w) -> logits of background and base classes (b, n + 1, h, w). The authors' dropout stays active in
        training although nothing here is trained (§2.3)."""
        weight, bias = (self.state[f"base_learner.2.{name}"].to(f4) for name in ("weight", "bias"))
        return F.conv2d(F.dropout2d(F.relu(f4), 0.1, training), weight, bias)

    @property
    def parameters(self) -> int:
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        return sum(tensor.numel() for key, tensor in self.state.items() if not key.endswith(buffers))

    @cached_property
    def digest(self) -> str:
        return state_digest(under_timms_names(self.state))

    def check_image_size(self, size: int) -> None:
        if size % 8 != 1 or size < 9:
            raise SettingsError(f"image size {size} does not fit {self.name}; expected 8 n + 1, such as 473 or 633")

    def encode(self, pixels: Tensor) -> Features:
        """Normalised image (3, H, W) -> its features, without a batch dimension."""
        found: Features = super().encode(pixels)
        return found

    def _build(self, height: int, width: int) -> nn.Module:
        model = PSPNet(self.spec.kind, self.classes)
        model.load_state_dict(self.state)
        return model.eval().requires_grad_(False)

    def _features(self, model: nn.Module, images: Tensor) -> Features:
        return Features(*(f[0] for f in model(images)))

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return PSPNet(self.spec.kind, ANY_CLASSES).state_dict()

    def _fitting(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = under_hmnets_names(state)
        bias = state.get("base_learner.2.bias")
        if bias is None or bias.dim() != 1 or len(bias) < 2:
            raise CheckpointError(
                f"the weights for {self.name} hold no base learner (cls.4.* or base_learner.2.*); expected a PSPNet "
                "trained on base classes: train one with METHOD=pspnet, or give an authors' file"
            )
        with torch.device("meta"):
            own = PSPNet(self.spec.kind, len(bias) - 1).state_dict()
        counts = {k: torch.zeros((), dtype=torch.int64) for k in own if k.endswith("num_batches_tracked")}
        state = counts | state
        check_keys(own, state, f"backbone weights for {self.name}")
        return {key: state[key] for key in own}

    def _load(self, weights: str | None) -> tuple[dict[str, Tensor], str]:
        path = Path(weights or "")
        if weights is None or weights.startswith("random") or path.suffix == ".safetensors" or not path.is_file():
            return super()._load(weights)
        checkpoint = read_checkpoint(path)  # authors' files and ours hold more than a plain state_dict
        self.trained_on = checkpoint.get(TRAINED_ON)
        return checkpoint["state_dict"], f"{path.name} sha256 {sha256_file(path)}"

    def _how_to_get(self, path: Path) -> str:
        return (
            f"the weights of {self.name} are not at {path}\n"
            "  they must come from the base classes of the fold that is tested: train them with METHOD=pspnet and\n"
            "  say where the checkpoint is with WEIGHTS=<file>; {fold} in it stands for the fold's number\n"
            f"  the authors of BAM and HMNet offer theirs at {self.spec.page}\n"
            "  to try the path without it: WEIGHTS=random (its figures mean nothing)"
        )


TRUNKS = {
    "dilated_resnet50": PSPNetSpec("resnet50", (512, 1024, 2048, 0), "weights/resnet50_v2.pth"),
    "dilated_vgg16": PSPNetSpec("vgg16", (256, 512, 512, 0), "weights/vgg16_bn-6c64b313.pth"),
}


class FrozenTrunk(FrozenBackbone):
    """`layer0..4` of a PSPNet with ImageNet weights: where the base learner's training starts, and HMNet's features
    without it (§7, `bam: off`)."""

    spec: PSPNetSpec

    def __init__(self, config: BackboneConfig):
        if config.name not in TRUNKS:
            raise SettingsError(
                f"'{config.name}' is no dilated network; give --model.backbone.name {' or '.join(TRUNKS)}, "
                "and images of 8 n + 1 pixels a side (--data.image_size 129)"
            )
        self.spec = TRUNKS[config.name]
        super().__init__(config)

    @property
    def channels(self) -> tuple[int, int, int, int]:
        return self.spec.channels

    def check_image_size(self, size: int) -> None:
        if size % 8 != 1 or size < 9:
            raise SettingsError(f"image size {size} does not fit {self.name}; expected 8 n + 1, such as 473 or 633")

    def encode(self, pixels: Tensor) -> Features:
        """Normalised image (3, H, W) -> its features, without a batch dimension and f4."""
        found: Features = super().encode(pixels)
        return found

    def _build(self, height: int, width: int) -> nn.Module:
        model = PSPNet(self.spec.kind, 1)
        model.load_state_dict(self.state, strict=False)  # checked before; the rest is unused
        return model.eval().requires_grad_(False)

    def _features(self, model: nn.Module, images: Tensor) -> Features:
        assert isinstance(model, PSPNet)
        f1, f2, f3 = model.trunk(images)
        return Features(f1[0], f2[0], f3[0], None)

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return PSPNet(self.spec.kind, 1).state_dict()

    def _fitting(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return from_imagenet(self.spec.kind, state, f"ImageNet weights for {self.name}")

    def _how_to_get(self, path: Path) -> str:
        nets = {
            "resnet50": "a ResNet-50 with a deep stem of 64, 64 and 128 channels: resnet50_v2 of the semseg project or "
            "timm's resnet50s.gluon_in1k",
            "vgg16": "torchvision's or timm's vgg16_bn, https://download.pytorch.org/models/vgg16_bn-6c64b313.pth",
        }
        return (
            f"the ImageNet weights of {self.name} are not at {path}\n  expected {nets[self.spec.kind]}\n"
            "  say where they are with WEIGHTS=<file>; to try the path without them: WEIGHTS=random"
        )


def from_imagenet(kind: Literal["resnet50", "vgg16"], state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """ImageNet weights -> `layer0..4` of a PSPNet: of the ResNet-50 with a deep stem (semseg's names conv1..3, bn1..3,
    or those of timm's resnet50s, conv1.N, bn1), torchvision's or timm's VGG16-bn (features.N), or already renamed."""
    own_names, timms = "layer0.0.weight" in state, "conv1.0.weight" in state
    renamed = {}
    for key, value in state.items():
        head, _, rest = key.partition(".")
        if head.startswith("layer") and (kind == "resnet50" or own_names):
            renamed[key] = value
        elif kind == "resnet50" and timms and head in ("conv1", "bn1"):
            renamed[f"layer0.{rest}" if head == "conv1" else f"layer0.7.{rest}"] = value
        elif kind == "resnet50" and head in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"):
            renamed[f"layer0.{3 * (int(head[-1]) - 1) + head.startswith('bn')}.{rest}"] = value
        elif kind == "vgg16" and head == "features":
            index, _, name = rest.partition(".")
            layer = sum(int(index) >= cut for cut in CUTS[1:])
            if layer < len(CUTS) - 1:
                renamed[f"layer{layer}.{int(index) - CUTS[layer]}.{name}"] = value
    with torch.device("meta"):
        own = {k: v for k, v in PSPNet(kind, 1).state_dict().items() if k.startswith("layer")}
    counts = {k: torch.zeros((), dtype=torch.int64) for k in own if k.endswith("num_batches_tracked")}
    check_keys(own, counts | renamed, what)
    return {key: (counts | renamed)[key] for key in own}
