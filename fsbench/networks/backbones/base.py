"""Frozen networks: one network, its weights, its precision, its features and a cache of them; none, or two as one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from fsbench.base.errors import CheckpointError, SettingsError, known_names
from fsbench.base.files import sha256_file
from fsbench.base.plugins import GROUPS, plug_in_part
from fsbench.base.precision import CacheDtype, NetworkPrecision
from fsbench.base.tensor_cache import FeatureCache
from fsbench.data.annotations import KnownOrNot
from fsbench.data.file_digests import file_state
from fsbench.networks.backbones.passes import Passes
from fsbench.networks.weights.files import check_keys, describe_weights, fit_unwrapped, read_weights, state_digest
from fsbench.networks.weights.table import WeightFile, how_to_get

NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Types of a frozen network's products in each precision but fp32."""
PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Layers whose weights are kept in the narrow type."""


@dataclass
class BackboneConfig:
    """Name and weights of the frozen network on which a method builds.

    Args:
        name: name of the network: a key of the table `VITS` in `fsbench.networks.backbones.timm_networks`; of
            `PYRAMIDS` there for methods on feature pyramids; also of `ENCODERS` there for classifiers.
        weights: weight file (.pth or .safetensors); `random` or `random:SEED` for random weights, which are only good
            for trying out a command; None for the network's published file in the folder `weights/`.
        cache_mib: largest size in MiB of the features that are kept in memory for images that occur again.
        cache_dtype: type in which features are kept; `bfloat16` and `float16` round every feature, kept or not, so
            results belong to another run.
        precision: `fp32` is the run's own; `bf16` and `fp16` let the network compute its products in that type, under
            torch's autocast, so results belong to another run. Features are returned in float32.
    """

    name: str = "dinov2_vits14"
    weights: str | None = None
    cache_mib: int = 3072
    cache_dtype: CacheDtype = "float32"
    precision: NetworkPrecision = "fp32"


class Architecture(Protocol):
    """Protocol of an entry in a table of networks: anything with an attribute `weights`, its published weight file."""

    @property
    def weights(self) -> WeightFile: ...


PLAIN = bool | int | float | str | tuple | list | dict
"""Types of a frozen network's settings, by which two are told to be equal."""
TRUSTED_WEIGHTS = ("random ", "official ")
"""Starts of a `weights_id` whose weights fit by construction or by their published hash."""
TRUST = ("random", "unverified", "unofficial", "official")
"""First words of the origins of weights; the least trusted one comes first, by which tables tell what figures mean."""


def find_spec(name: str, known: Mapping[str, Any], kind: type | tuple[type, ...], refusal: str) -> Any:
    """Return the description of the network `name`, one of fsbench's own or one from an installed package.

    Args:
        name: name of the network.
        known: descriptions of fsbench's own networks by name.
        kind: type that the description must have if it comes from an installed package.
        refusal: beginning of the error message if the name is unknown.

    Raises:
        SettingsError: there is no network of this name, it has another kind, or its package cannot be imported.
    """
    spec = known.get(name) or plug_in_part(name, kind, GROUPS["backbones"])
    if spec is None:
        here = ", ".join(other for other, network in known.items() if network.weights.path.is_file()) or "none"
        raise SettingsError(f"{refusal}{known_names(name, known, f'; the weights of these are here: {here}')}")
    return spec


class FrozenBackbone:
    """Frozen network that encodes images, and caches the features of images that come again.

    Deliberately no `nn.Module`: its weights are in no checkpoint, no optimizer and no DDP bucket. Images are encoded
    singly, so that a feature cannot depend on the rest of a batch. The network is built for the size of the first
    image. Official weights are read when they are first needed; until then only their file is hashed. Subclasses set
    `spec` before `__init__`, and define the network (`new_network`, `_build`), its features (`_features`) and the names
    of its authors' weights (`own_names`).

    Attributes:
        known: {name: description} of backbones of the same kind; the official weight file of one of them is refused for
            another.
        name: the backbone's name in the configuration.
        cache: features kept in memory for images that occur again.
        cache_dtype: type in which they are kept.
        precision: the precision in which the network computes.
        weights_id: text on the weights, stored with results: "official", "unofficial", "unverified" or "random", file
            name and sha256.
        passes: recent encodings that this network shares with other methods tested at the same time; None if nothing is
            shared.
        builds_apart: whether building the network leaves torch's random generator unchanged. It does but in the first
            step of a training, whose draws have always followed those of the network's first weights.
        trained_on: {name: value} of data set, fold and classes of the user's own training that made the weights; None
            for other weights.

    Raises:
        CheckpointError: the weights are missing, unreadable or do not fit.
        SettingsError: the name of the backbone or of its weights is unknown.
    """

    known: ClassVar[Mapping[str, Architecture]] = {}
    spec: Architecture
    trained_on: dict[str, Any] | None = None
    precision: NetworkPrecision = "fp32"
    passes: Passes | None = None
    builds_apart: bool = True

    def __init__(self, config: BackboneConfig):
        self.name = config.name
        self.cache = FeatureCache(config.cache_mib * 2**20, config.cache_dtype)
        self.cache_dtype = config.cache_dtype
        self.precision = config.precision
        self._read_weights, self.weights_id = self._load(config.weights)
        self._model: nn.Module | None = None
        self._size: tuple[int, int] | None = None
        if not self.weights_id.startswith(TRUSTED_WEIGHTS):
            self.state  # noqa: B018  (an unknown file is read and checked at once)

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """Weights of the network by fsbench's parameter names, on the CPU."""
        return self.convert_state_dict(self._read_weights())

    @property
    def identity_settings(self) -> dict[str, str]:
        """Settings of the network, besides name and weights, that change results, as {setting: value}.

        They are stored with results, so that runs with other settings are told apart. Empty unless a network has such
        settings.
        """
        return {}

    @property
    def num_parameters(self) -> int:
        """Number of frozen parameters in the weight file, including the position table."""
        return sum(tensor.numel() for tensor in self.state.values())

    @property
    def token_side(self) -> int:
        """Side in pixels of the image square that one token or map position stands for.

        It is 16 unless a subclass overrides it.
        """
        return 16

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return whether the network was trained with labels of this data set's test classes: "yes", "no" or "unknown".

        Published weights of other tasks, such as ImageNet classification, count as "no", as is usual in the field.
        """
        return "no"

    def check_image_size(self, size: int) -> None:
        """Raise SettingsError unless images of size x size can be encoded."""
        raise NotImplementedError

    def replace_weights(self, state: dict[str, Tensor], weights_id: str) -> None:
        """Replace the weights by others of the same architecture, such as those inside an authors' checkpoint.

        Args:
            state: weights by name, in any naming that `convert_state_dict` knows.
            weights_id: origin of the weights, as stored with results.
        """
        self.state, self.weights_id, self.trained_on = self.convert_state_dict(state), weights_id, None
        self._model = None
        self.__dict__.pop("digest", None)
        self.cache.clear()

    @cached_property
    def digest(self) -> str:
        """sha256 of names and values of the weights, independent of the file format."""
        return state_digest(self.state)

    def encode(self, pixels: Tensor) -> Any:
        """Return the features of one normalised image (3, H, W): a tensor or a (named) tuple of tensors.

        If another method that is tested at the same time has encoded the image by an equal network, its result is used.
        """
        model = self.network(pixels)

        def features() -> Any:
            with self.computing(pixels.device):
                found = self._features(model, pixels[None])
            return found if self.precision == "fp32" else in_float32(found)

        return self.passed("features", pixels, features)

    def passed(self, kind: str, pixels: Tensor, encode: Callable[[], Any]) -> Any:
        """Encode an image, or return the encoding that another method tested at the same time has computed.

        Args:
            kind: name of what `encode` computes; only encodings of equal name are shared.
            pixels: the image (3, H, W).
            encode: function that computes the encoding, in the precision of the calling context.
        """
        if self.passes is None:
            return encode()
        return self.passes.get((kind, autocast_dtype(pixels.device)), pixels, encode)

    @property
    def networks(self) -> "list[FrozenBackbone]":
        """List of this network and, if it was built together with a second network (such as SAM), that network."""
        return [self]

    @property
    def spared_seconds(self) -> float:
        """Seconds of computation saved by encodings of images that another method tested with this one had computed."""
        return sum(network.passes.spared for network in self.networks if network.passes is not None)

    def forget_passes(self) -> None:
        """Drop the encodings of images that are shared with other methods tested at the same time."""
        for network in self.networks:
            if network.passes is not None:
                network.passes.forget()

    def network(self, pixels: Tensor) -> nn.Module:
        """Return the network for images of the size and device of `pixels` (3, H, W), in eval mode."""
        size = (pixels.shape[1], pixels.shape[2])
        if self._model is None or self._size != size:
            with torch.random.fork_rng(devices=[], enabled=self.builds_apart):
                self._model = self.in_its_precision(self._build(*size).to(pixels.device))
            self._size = size
        return self._model

    def build_anew(self) -> None:
        """Drop the built network, which is built again with the next image."""
        self._model = None

    def check_unnarrowed(self) -> None:
        """Raise SettingsError if a reduced precision is set, which a method that tunes the network does not allow."""
        if self.precision != "fp32":
            raise SettingsError(
                f"backbone_precision is {self.precision}, which is for frozen networks, but the method tunes copies of "
                "its own; leave --backbone-precision at fp32"
            )

    def in_its_precision(self, model: nn.Module) -> nn.Module:
        """Convert the layers of a new network to the configured precision, and return the network."""
        if self.precision != "fp32":
            for module in model.modules():
                if isinstance(module, PRODUCTS):
                    module.to(NARROW[self.precision])
        return model

    @contextmanager
    def computing(self, device: torch.device) -> Iterator[None]:
        """Context in which the network computes on `device` in the configured precision, without gradients."""
        narrow = NARROW.get(self.precision)
        with torch.no_grad(), torch.autocast(device.type, narrow) if narrow else nullcontext():
            yield

    def _build(self, height: int, width: int) -> nn.Module:
        """Build the frozen network with the weights `self.state` for images of height x width."""
        raise NotImplementedError

    def encode_together(self, pixels: Tensor) -> list[Any]:
        """Encode normalised images (M, 3, H, W) in one pass, for training; return the features of each image.

        These features may differ in the last digits from features of single images, because kernels depend on the batch
        size.
        """
        model = self.network(pixels[0])
        with self.computing(pixels.device):
            features = self._features_of_batch(model, pixels)
        return features if self.precision == "fp32" else [in_float32(one) for one in features]

    def _features(self, model: nn.Module, images: Tensor) -> Any:
        """Return the features of one normalised image (1, 3, H, W). Subclasses define this or `_features_of_batch`."""
        return self._features_of_batch(model, images)[0]

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Any]:
        """Return the features of each normalised image of (M, 3, H, W)."""
        return [self._features(model, image[None]) for image in images]

    def new_network(self) -> nn.Module:
        """Build the network with random weights of the shapes in the weight file."""
        raise NotImplementedError

    def new_copy(self, pixels: Tensor) -> nn.Module:
        """Build a copy of the network for images of the size of `pixels` (3, H, W), in eval mode, that may be tuned."""
        return self._build(pixels.shape[1], pixels.shape[2]).to(pixels.device)

    def draw_weights(self, model: nn.Module) -> None:
        """Draw random weights of a new network from torch's generator, where its default ones are unsuitable."""

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights that features depend on, without a classifier's head, under this module's parameter names.

        Args:
            state: the weights under the names of a published checkpoint; it is not changed.
        """
        return state

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        """Return a few words on which network the weights `state` belong to; "" if the network is not recognised."""
        return ""

    def expected_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {name: tensor on the meta device} with the names and shapes that the network's weights must have.

        Args:
            state: weights to be loaded, by fsbench's names.
        """
        with torch.device("meta"):
            return self.own_names(self.new_network().state_dict())

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        """Return seeded random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = self.new_network()
            self.draw_weights(model)
        return model.state_dict()

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return those weights of `state` that features depend on, by fsbench's names, after checking them.

        Raises:
            CheckpointError: the weights are of another network, or names or shapes do not fit.
        """
        return fit_unwrapped(state, self._fit, f"backbone weights for {self.name}")

    def _fit(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = self.own_names(state)
        own = self.expected_state(state)
        expected, found = self.describe_state(own), self.describe_state(state)
        if expected and found != expected and (found or own.keys().isdisjoint(state)):
            raise CheckpointError(
                f"backbone weights for {self.name} are of {found or 'another network'}; expected {expected}; name the "
                "backbone of these weights (--backbone, see: fsbench list), or give this one's (--weights)"
            )
        check_keys(own, state, f"backbone weights for {self.name}")
        return state

    def _load(self, weights: str | None) -> tuple[Callable[[], dict[str, Tensor]], str]:
        """Return a function that reads the weights named by the configuration, and their origin for records."""
        if weights is not None and weights.split(":")[0] == "random":
            number = weights.partition(":")[2] or "0"
            if not number.isdecimal():
                raise SettingsError(f"weights are '{weights}', expected a file, random or random:SEED")
            return partial(self._random_state, int(number)), f"random (seed {int(number)})"
        path = Path(weights) if weights else self.spec.weights.path
        if not path.is_file():
            raise CheckpointError(how_to_get(self.spec.weights, self.name, path))
        state = file_state(path)
        others = {name: network.weights for name, network in self.known.items()}
        origin = describe_weights(self.spec.weights, path, others)
        return partial(_read_described, path, state, origin), origin


def share_passes(backbones: Sequence[FrozenBackbone]) -> None:
    """Let methods that are tested together share one encoding of each image, where their networks are equal.

    Networks are equal if class, weights and all settings agree. Each backbone's bound on cached features is divided by
    the number of backbones.
    """
    shared: dict[tuple[Any, ...], Passes] = {}
    for backbone in backbones:
        bound = backbone.cache.max_bytes
        for network in backbone.networks:
            settings = {name: value for name, value in vars(network).items() if isinstance(value, PLAIN)}
            settings.pop("digest", None)  # follows from the others, where it was asked for
            identity = network.identity_settings
            key = (type(network), repr(sorted(settings.items())), repr(sorted(identity.items())))
            network.passes = shared.setdefault(key, Passes(bound))
        backbone.cache.max_bytes = bound // len(backbones)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type in which autocast computes on a device at the moment; None if it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def in_float32(features: Any) -> Any:
    """Convert a tensor, or every tensor in a (named) tuple, to float32."""
    if features is None or isinstance(features, Tensor):
        return features if features is None else features.float()
    widened = [in_float32(one) for one in features]
    return type(features)(*widened) if hasattr(features, "_fields") else tuple(widened)


def _read_described(path: Path, state: tuple[int, ...], origin: str) -> dict[str, Tensor]:
    """Read the weights that `origin` describes, maybe long after; CheckpointError where others took their place.

    Args:
        path: the file.
        state: its state when it was described.
        origin: what `describe_weights` returned.
    """
    weights = read_weights(path)
    if file_state(path) != state and not origin.endswith(sha256_file(path)):
        raise CheckpointError(
            f"{path} is another file than a moment ago, when the run was begun with {origin}; start the run again"
        )
    return weights


class NoBackbone(FrozenBackbone):
    """Placeholder for the network in methods that have none.

    Args:
        config: ignored, so that configurations of data sets may name a backbone.
    """

    def __init__(self, config: BackboneConfig):
        self.name = self.weights_id = "none"
        self.cache = FeatureCache(0)
        self.cache_dtype = "float32"
        self.state = {}

    def check_image_size(self, size: int) -> None:
        if size < 1:
            raise SettingsError(f"image_size is {size}, expected 1 or more")

    def encode(self, pixels: Tensor) -> Any:
        raise SettingsError("the method has no backbone; expected one that encodes images")


class WithSecondNetwork(FrozenBackbone):
    """Two frozen networks handled as one, with one configuration, cache and identity.

    A mixin: a subclass lists it before the class of the first network, and builds the second network in `build_second`.
    If the configuration asks for random weights, both networks get them, unless its `<key>_weights` names other weights
    for the second.

    Attributes:
        second_key: prefix of the second network's settings in configurations (`<key>`, `<key>_weights`).
        second: the second frozen network.
    """

    second_key: ClassVar[str]
    second: FrozenBackbone

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        weights = getattr(config, f"{self.second_key}_weights", None)
        if weights is None and self.weights_id.startswith("random "):
            weights = config.weights
        self.second = self.build_second(config, weights)
        self.second.cache = self.cache
        self.weights_id = joint_origin({self.name: self.weights_id, self.second.name: self.second.weights_id})

    def build_second(self, config: BackboneConfig, weights: str | None) -> FrozenBackbone:
        """Build the second frozen network and return it.

        Args:
            config: configuration of both networks; fields for the second network may be absent, and then have their
                defaults.
            weights: weights of the second network: a file, `random` or `random:SEED`; None for the usual file.
        """
        raise NotImplementedError

    @property
    def identity_settings(self) -> dict[str, str]:
        settings = {f"{self.second_key}_{key}": value for key, value in self.second.identity_settings.items()}
        return {**super().identity_settings, self.second_key: self.second.name, **settings}

    @property
    def networks(self) -> list[FrozenBackbone]:
        return [self, *self.second.networks]

    @property
    def num_parameters(self) -> int:
        return super().num_parameters + self.second.num_parameters

    def replace_weights(self, state: dict[str, Tensor], weights_id: str) -> None:
        super().replace_weights(state, f"{weights_id}, {self.second.weights_id} of {self.second.name}")


def joint_origin(origins: Mapping[str, str]) -> str:
    """Return one line on the origin of several networks' weights, as stored with results.

    Weights of the least trusted origin (random, unverified, unofficial, official) come first.

    Args:
        origins: {network's name: origin of its weights}, texts that begin with one of these words.
    """
    ranked = sorted(origins.items(), key=lambda origin: TRUST.index(origin[1].split()[0]))
    return ", ".join(f"{weights} of {name}" for name, weights in ranked)
