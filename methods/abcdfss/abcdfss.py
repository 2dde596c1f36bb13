"""ABCDFSS: adapt before comparison (CVPR 2024), without any training before the test.

Small heads on a frozen ResNet are fitted while it is tested: features of sheared images are to be the sheared features,
of the query and of the supports. Then every query position attends to the supports' positions. The defaults are the
released program's; sections are those of abcdfss.md.

Shapes: K shots, V views, L levels, C channels, (h, w) the plane of a level, (H, W) an image or the answer.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.outputs import Output
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, WayClass
from fsbench.methods.abcdfss.draws import HeadDraws, Shear, class_shears, views
from fsbench.methods.abcdfss.head import PRODUCTS, AdaptedHead, LevelViews, fit, small_masks
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenPyramid, Pyramid

AdaptTo = Literal["first_episode", "every_episode"]
"""Episodes that heads are fitted to: the first of each class, or each by itself."""
Statistics = Literal["batch", "running"]
"""Statistics of the norm in the comparison: of the features at hand, or the means over the fitting's passes."""
KEPT_CLASSES = 64
"""Classes whose heads are kept; those of the ResNet take 4 MB each."""
LEAST_LEVEL = 12
"""Least of 256 grey levels that the threshold is chosen by: 5 %."""


class Image(NamedTuple):
    """A normalised image (3, H, W) and the backbone features (C, h, w) of every block, shallow to deep."""

    pixels: Tensor
    levels: Sequence[Tensor]


class Labelled(NamedTuple):
    """A support image with its features, and its foreground mask (H, W) of 0 and 1."""

    image: Image
    mask: Tensor


def forget_statistics(network: nn.Module) -> None:
    """Let batch normalisation take the statistics of what it gets, in eval mode too."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = part.running_var = None


class ABCDFSS(Segmenter):
    """ABCDFSS, a training-free method whose feature heads are fitted within an episode; without the refinement step.

    Args:
        backbone: frozen network with a feature pyramid: `resnet50_v2` in the paper (§1).
        adapt_to: `first_episode` fits the heads of a class to its first episode in the manifest's order, and uses them
            in all others; `every_episode` fits them anew in each (§2). For a user's own images, where there is no first
            episode, both do the same.
        epochs: number of gradient steps in which the heads are fitted (§4).
        learning_rate: learning rate of these steps.
        temperature: temperature of the contrastive loss.
        width: number of channels of the features that the heads return.
        views: V, number of sheared copies of each image that the heads are fitted to (§3).
        statistics: BatchNorm statistics of the heads when query and supports are compared: "batch" takes them from the
            query alone, and from all supports together, because the authors' program never leaves training mode;
            "running" takes the running means of the fitting (§5).
        draw_seed: random seed of the shears and of the heads' first weights (§7).

    Attributes:
        turn: number of ways, in all episodes, that the authors' program segments before the present way.
        way_class: class of the present way: its position in the class list, and the class's first episode, which is
            None unless `adapt_to` is "first_episode".
    """

    backbone: FrozenPyramid
    backbone_type = FrozenPyramid
    learns = False
    decides_by_order = True  # a threshold
    depends_on_way_order = True  # each way's heads are drawn behind those of the ways before it
    attention_meaning = "share of a place's attention that falls on the supports' foreground, mean over all levels"
    turn = 0
    way_class = WayClass(0)

    def __init__(
        self,
        backbone: BackboneConfig,
        adapt_to: AdaptTo = "first_episode",
        epochs: int = 25,
        learning_rate: float = 1e-2,
        temperature: float = 0.5,
        width: int = 64,
        views: int = 2,
        statistics: Statistics = "batch",
        draw_seed: int = 2,
    ):
        super().__init__(backbone)
        self.backbone.fine = False  # the first three blocks are dropped, §1
        for name, count in {"epochs": epochs, "width": width, "views": views}.items():
            if count < 1:
                raise SettingsError(f"{name} is {count}, expected 1 or more; set --model.{name}")
        for name, number in {"learning_rate": learning_rate, "temperature": temperature}.items():
            if not 0 < number < float("inf"):
                raise SettingsError(f"{name} is {number}, expected a number above 0; set --model.{name}")
        if draw_seed < 0:
            raise SettingsError(f"draw_seed is {draw_seed}, expected 0 or more; set --model.draw_seed")
        self.adapt_to, self.epochs, self.learning_rate, self.temperature = adapt_to, epochs, learning_rate, temperature
        self.views, self.statistics, self.draw_seed = views, statistics, draw_seed
        blocks, channels = self.backbone.blocks[1:], self.backbone.channels[1:]
        levels = [c for count, c in zip(blocks, channels, strict=True) for _ in range(count)]
        self.draws = HeadDraws(levels, width, views, draw_seed)
        self._of_class: OrderedDict[tuple[Any, ...], list[AdaptedHead]] = OrderedDict()

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the method must know of each way's class in a test.

        It is the class's first episode if `adapt_to` is "first_episode", otherwise its position in the class list.
        """
        return Needs(classes="first episodes" if self.adapt_to == "first_episode" else "places")

    def num_trainable_parameters(self, ways: int) -> int:
        """Return the number of values that are fitted in an episode: a set of feature heads for each way."""
        return ways * self.draws.learned

    def begin_test(self, data: Any) -> None:
        super().begin_test(data)
        self._of_class.clear()

    def end_test(self) -> None:
        super().end_test()
        self._of_class.clear()

    def record_notes(self, data: Any) -> list[str]:
        if self.adapt_to == "every_episode":
            fitted = "each episode"
        else:
            fitted = (
                "the first episode of each class and used in all episodes of the class (so the result depends on the "
                "order of the manifest)"
            )
        return [
            f"heads are fitted during the test to query and supports of {fitted}, without the query's truth",
            "masks are not refined by a dense CRF, as they are in the published rows",
        ]

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the image itself, normalised (3, H, W), followed by the maps of its feature pyramid.

        The pixels are kept because sheared copies of the image are encoded later.
        """
        return pixels, *self.pyramid(pixels)

    def pyramid(self, pixels: Tensor) -> Pyramid:
        """Return the frozen features of a normalised image (3, H, W)."""
        return self.backbone.encode(pixels)

    def as_features(self, tensors: Sequence[Tensor]) -> Image:  # type: ignore[override]
        pixels, *pyramid = (part[0] for part in tensors)
        return Image(pixels, [level for scale in pyramid for level in scale])

    def answer(self, episode: EpisodeBatch) -> Prediction:
        """Segment the query of an episode, with feature heads fitted separately for each way (class of the episode).

        Overridden because the authors' program draws the first weights of all heads from one stream of random numbers:
        those of a way depend on its position among all ways of all episodes. The shears of its images depend on the
        position of its class (§7).
        """
        height, width = episode.query_sizes[0].tolist()
        query, ways = self.ask(episode)
        number = episode.support.shape[1]
        classes = [WayClass(0)] * number if episode.way_classes is None else episode.way_classes[0]

        def outputs() -> Iterator[Iterator[Output]]:
            self.turn = int(episode.episodes[0]) * number
            for supports, self.way_class in zip(ways, classes, strict=True):
                yield self.outputs(query, supports)
                self.turn += 1

        return self.decide(outputs(), (height, width))

    def support(self, image: Image, mask: Tensor) -> Labelled:
        return Labelled(image, mask[0].float())

    def join(self, supports: Iterator[Labelled]) -> list[Labelled]:
        return list(supports)

    def segment(self, query: Image, support: Sequence[Labelled]) -> Output:
        """Segment one class in a query: average the support masks by attention on each feature level (§6).

        The mean of these maps over levels, at the size (h, w) of the first level, is the foreground logit; the
        background logit is 0.
        """
        masks = torch.stack([one.mask for one in support])
        levels = zip(self.heads(query, support), query.levels, *(one.image.levels for one in support), strict=True)
        with torch.no_grad():
            found = [attended_mask(head(q[None])[0], head(torch.stack(s)), masks) for head, q, *s in levels]
            attended = enlarged(found).mean(0, keepdim=True)
        return Output(torch.stack([torch.zeros_like(attended), attended], 1), attention=attended.clamp(0, 1))

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge logits to `size` (H, W) and subtract the threshold between background and foreground.

        Returns:
            (1, 2, H, W): 0 for the background, the enlarged map minus its threshold for the foreground.
        """
        full = resized(logits[0, 1], size)
        above = full - threshold(full)
        return torch.stack([torch.zeros_like(above), above])[None]

    def heads(self, query: Image, supports: Sequence[Labelled]) -> list[AdaptedHead]:
        """Return one fitted head per feature level.

        With `adapt_to="first_episode"` the heads are fitted to the first episode of the class and then kept; otherwise
        they are fitted to this query and these supports (§2).
        """
        opening = self.way_class.opening
        if self.adapt_to == "every_episode" or opening is None:
            return self.fitted(query, supports, self.turn, self.turn)
        first, number = opening.episode, int(opening.episode.episodes[0])
        key = number, opening.way, *(self.feature_key(first, row) for row in range(len(first.images)))
        if key not in self._of_class:
            asked = self.context
            query, (own,) = self.ask(first)
            self._of_class[key] = self.fitted(query, list(own), opening.ways * number + opening.way, opening.order)
            self.context = asked
        self._of_class.move_to_end(key)
        if len(self._of_class) > KEPT_CLASSES:
            self._of_class.popitem(last=False)
        return self._of_class[key]

    def fitted(self, query: Image, supports: Sequence[Labelled], turns: int, sets: int) -> list[AdaptedHead]:
        """Draw the first weights of one head per feature level, fit the heads, and return them (§4).

        Args:
            query, supports: images that the heads are fitted to.
            turns: number of ways, in all episodes, whose random numbers the authors' program draws before (§7).
            sets: number of these earlier ways for which a set of heads was drawn.
        """
        with torch.inference_mode(False), torch.enable_grad():
            heads = self.first_heads(turns, sets, len(supports))
            for head, level in zip(heads, self.level_views(query, supports), strict=True):
                head.to(level.masks.device)
                fit(head, level, self.epochs, self.learning_rate, self.temperature)
                head.requires_grad_(False)
                head.eval()
                if self.statistics == "batch":
                    forget_statistics(head)
        return heads

    def first_heads(self, turns: int, sets: int, shots: int) -> list[AdaptedHead]:
        """Return randomly initialised heads, one per feature level, on the CPU.

        Args:
            turns: number of ways, in all episodes, whose random numbers the authors' program draws before.
            sets: number of these earlier ways for which a set of heads was drawn.
            shots: K, supports of each way.
        """
        return self.draws.heads(turns, sets, shots)

    def shears(self) -> Sequence[Shear]:
        """Return the V shears (angles) that make the sheared copies for the present way's class (§7)."""
        place = self.way_class.place
        return class_shears(place + 1, self.views, self.draw_seed)[place]

    def level_views(self, query: Image, supports: Sequence[Labelled]) -> Iterator[LevelViews]:
        """Yield, for each feature level from shallow to deep, the sheared features that its head is fitted to (§3)."""
        shears = self.shears()
        seen, *of_supports = (self.view_levels(one, shears) for one in (query, *(own.image for own in supports)))
        masks = views(torch.stack([one.mask for one in supports]), shears).transpose(0, 1).flatten(0, 1)
        for i, level in enumerate(query.levels):
            yield LevelViews(
                (views(level, shears), seen[i]),
                (
                    torch.cat([views(one.image.levels[i], shears) for one in supports]),
                    torch.cat([levels[i] for levels in of_supports]),
                ),
                small_masks(masks.to(level.dtype), level.shape[-2:]),
            )

    def view_levels(self, image: Image, shears: Sequence[Shear]) -> list[Tensor]:
        """Encode the V sheared copies of an image; return their features (V, C, h, w) for each level."""
        pyramids = (self.pyramid(view) for view in views(image.pixels, shears))
        levels = ([level for scale in pyramid for level in scale] for pyramid in pyramids)
        return [torch.stack(level) for level in zip(*levels, strict=True)]


def attended_mask(query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
    """Average the supports' masks by each query position's attention, (h, w) in [0, 1].

    The supports of all shots are attended to at once, a block of query positions at a time.

    Args:
        query: features (C, h, w) of the query.
        support: features (K, C, h, w) of the K supports.
        masks: foreground masks (K, H, W) of the supports.
    """
    keys = support.transpose(0, 1).flatten(1)
    values = small_masks(masks.to(query.dtype), support.shape[-2:]).flatten()
    rows = max(1, PRODUCTS // keys.shape[1])
    queries = query.flatten(1).mT
    blocks = [(block @ keys / len(keys) ** 0.5).softmax(1) @ values for block in queries.split(rows)]
    return torch.cat(blocks).view(query.shape[-2:])


def enlarged(maps: Iterable[Tensor]) -> Tensor:
    """Resize the maps (·, ·) of L levels to the size (h, w) of the first level's map, and stack them to (L, h, w)."""
    first, *others = maps
    size = (first.shape[-2], first.shape[-1])
    return torch.stack([first, *(resized(x, size) for x in others)])


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map (h, w), bilinear with corners not aligned."""
    return F.interpolate(x[None, None], tuple(size), mode="bilinear", align_corners=False)[0, 0]


def otsu_threshold(values: Tensor) -> float:
    """Return Otsu's threshold of a map (H, W), in the map's own units.

    OpenCV computes it on 256 grey levels, from the pixels above the lowest 12 levels. A constant map returns its value.
    """
    low, high = values.min(), values.max()
    if not bool(high > low):
        return float(high)
    levels = (255 * (values - low) / (high - low)).to(torch.uint8).flatten().cpu()
    kept = levels[levels >= LEAST_LEVEL]
    level, _ = cv2.threshold(kept.numpy(), 0, 255, cv2.THRESH_OTSU)
    return float(level / 255 * (high - low) + low)


def threshold(values: Tensor) -> Tensor:
    """Return the value above which a map (H, W) is foreground: Otsu's or the mean, whichever is larger."""
    return torch.maximum(values.new_tensor(otsu_threshold(values)), values.mean())
