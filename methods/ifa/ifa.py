"""IFA: iterative few-shot adaptor (CVPR 2024), for segmentation across domains.

A network is trained so that query and supports segment each other back and forth. Before a test it is adapted to
labelled images of the test's own pool, in which a changed support is the query. Sections are those of ifa.md.

Shapes: B items, K shots, C channels, (h, w) a map of features, S image side.
"""

import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.adaptation import Adaptation
from fsbench.core.needs import Needs
from fsbench.core.outputs import Target
from fsbench.core.query_changes import QueryChanges
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.methods.ifa.matching import (
    Prototypes,
    ShotOrder,
    by_own_mask,
    in_turn,
    masked_prototypes,
    mean_prototypes,
    one_round,
)
from fsbench.methods.ifa.network import IFAReleasedFormat, backbone_weights, learned_network, learned_parameters
from fsbench.methods.modules.maps import resize, resize_twice
from fsbench.methods.modules.stage_segmenter import check_rates
from fsbench.networks.backbones.base import BackboneConfig

ROUNDS = 3  # of the loop in the adaptation, §4

Program = Literal["base", "adaptation"]
"""The two programs of the authors, whose losses differ (§5)."""


class Outputs(NamedTuple):
    """Logits of a training step on B episodes, at the images' size (§4).

    Attributes:
        refined: logits of the queries by refined prototypes in the first round (B, 2, S, S); None if nothing is
            refined.
        queries: for each round, logits of the queries (B, 2, S, S).
        itself: logits of the queries by prototypes of the queries' own true masks (B, 2, S, S).
        supports: logits of the supports by prototypes of their own masks (K·B, 2, S, S), all first shots first.
        support_rounds: for each round, logits of the supports (K·B, 2, S, S).
    """

    refined: Tensor | None
    queries: list[Tensor]
    itself: Tensor
    supports: Tensor
    support_rounds: list[Tensor]

    @classmethod
    def gathered(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Concatenate the logits of several parts of a batch, which the authors compute on one GPU each."""
        if len(parts) == 1:
            return parts[0]
        refined, queries, itself, supports, support_rounds = zip(*parts, strict=True)
        each, other = ([torch.cat(x) for x in zip(*of, strict=True)] for of in (queries, support_rounds))
        first = None if refined[0] is None else torch.cat(refined)
        return cls(first, each, torch.cat(itself), torch.cat(supports), other)

    def losses(self, query: Tensor, support: Tensor, program: Program) -> Tensor:
        """Return the loss (scalar) of one of the authors' two programs, a weighted sum of cross-entropies (§5).

        Without refined logits, the authors' base training compares the queries' second round with the supports' masks,
        a mistake that only works with one shot.

        Args:
            query: true masks of the queries (B, S, S).
            support: true masks of the supports (K·B, S, S), all first shots first.
            program: "base" for base training, "adaptation" for the adaptation to supports.
        """

        def entropy(logits: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(logits, labels.long())

        loss = entropy(self.queries[0], query) + entropy(self.itself, query)
        if self.refined is None:
            if program == "adaptation":
                return loss + 0.4 * entropy(self.supports, support)
            return loss + 0.2 * entropy(self.supports, support) + 0.4 * entropy(self.queries[1], support)
        loss = loss + entropy(self.refined, query)
        loss = loss + 0.2 * entropy(self.supports, support) + 0.4 * entropy(self.support_rounds[0], support)
        if program == "base":
            return loss
        later = zip(self.queries[1:], self.support_rounds[1:], strict=True)
        return loss + 0.1 * torch.stack([entropy(q, query) + entropy(s, support) for q, s in later]).sum()


def step_outputs(
    query: Tensor,
    support: Tensor,
    query_masks: Tensor,
    support_masks: Tensor,
    refine: bool = True,
    order: ShotOrder = "program",
    rounds: int = ROUNDS,
) -> Outputs:
    """Segment queries and supports of B episodes in several rounds, and return the logits for training (§4).

    Args:
        query: features of the queries (B, C, h, w).
        support: features of the supports (K·B, C, h, w), all first shots first.
        query_masks, support_masks: true masks (B, S, S) and (K·B, S, S).
        refine: whether the queries' prototypes are computed a second time in the first round.
        order: "matched" segments each episode's shots by the episode's own prototypes; "program" uses prototypes of
            other episodes for some shots, like the authors' code.
        rounds: number of rounds.
    """
    side = query_masks.shape[-1]
    shots = list(zip(support.split(len(query)), support_masks.split(len(query)), strict=True))
    start = mean_prototypes(in_turn(masked_prototypes, shots))
    refined, queries, supports = None, [], []
    for number in range(rounds):
        found = one_round(start, query, support, refine and number == 0, order)
        assert found.support is not None and found.prototypes is not None
        refined = resize(found.refined, side) if found.refined is not None else refined
        queries.append(resize(found.query, side))
        supports.append(resize(found.support, side))
        start = found.prototypes
    itself, own = by_own_mask(query, query_masks), torch.cat(in_turn(by_own_mask, shots))
    return Outputs(refined, queries, resize(itself, side), resize(own, side), supports)


def rate_factor(done: int, steps: int) -> float:
    """Return the learning rate's factor after `done` steps: times 0.1 after a third and two thirds of `steps` (§5).

    >>> [round(rate_factor(done, 6), 2) for done in (0, 1, 2, 3, 4, 5)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    return 0.1 ** sum(0 < decay <= done for decay in (steps // 3, 2 * steps // 3))


class LabelledSupport(NamedTuple):
    """A support image (1, 3, S, S) uint8 with its mask (1, S, S), on which a network is trained."""

    image: Tensor
    mask: Tensor


class Adapted(NamedTuple):
    """A network adapted to a way's supports, with the supports' prototypes in this network's features."""

    network: nn.Module
    start: Prototypes


class IFA(Segmenter):
    """IFA: iterative few-shot adaptation, in which queries are segmented by prototypes of their own features.

    fsbench can also adapt the network to the supports of an episode. Each way then has a network of its own; query and
    supports are kept as images until `join` has trained it.

    Args:
        backbone: `dilated_resnet50` or `dilated_resnet101`, whose layers 2 and 3 are learned; or the demo's ViT.
        refine: whether the query's prototypes are computed a second time, in training and test, as in all scripts of
            the authors.
        shot_order: order in which training with several shots pairs prototypes with supports: "program" mixes up the
            episodes of a batch, like the authors' code; "matched" does not (§4, defect 1).
        replicas: number of parts into which a batch is divided in training, like the GPUs of the authors' scripts (§6).
        learning_rate: learning rate of SGD in base training.
        momentum, weight_decay: momentum and weight decay of SGD, also in the adaptation.
        decay_items: number of training episodes by which the rate is scheduled: it falls to a tenth after a third and
            again after two thirds of these episodes, however long an epoch is (§5); None takes the length of the
            training itself.
        adaptation: settings of the adaptation to the test's own images.
        vit_blocks: with the demo's ViT, the numbers, from 0, of the first block that is learned and of the last block
            that is used.
    """

    backbone_type: ClassVar[Any] = staticmethod(backbone_weights)
    released_format = IFAReleasedFormat(has_backbone=False)

    def __init__(
        self,
        backbone: BackboneConfig,
        refine: bool = True,
        shot_order: ShotOrder = "program",
        replicas: int = 1,
        learning_rate: float = 1e-3,  # §5
        momentum: float = 0.9,  # §5
        weight_decay: float = 5e-4,  # §5
        decay_items: int | None = 24000,  # §5
        adaptation: Adaptation = Adaptation(),
        vit_blocks: tuple[int, int] = (3, 5),
    ):
        super().__init__(backbone)
        check_rates(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)
        if replicas < 1 or (decay_items is not None and decay_items < 1):
            raise SettingsError(
                f"replicas is {replicas} and decay_items {decay_items}; expected 1 or more, and 1 or more or null"
            )
        self.backbone.check_unnarrowed()
        self.refine, self.shot_order, self.replicas, self.decay_items = refine, shot_order, replicas, decay_items
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay
        self.adaptation = adaptation
        self.step_is_a_mean = shot_order == "matched" and replicas == 1  # else items of a micro-batch touch one another
        self.network = learned_network(self.backbone, vit_blocks)
        self.register_load_state_dict_post_hook(_forget_features)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(adaptation=self.adaptation if self.adaptation.images == "target_pool" else None)

    def check_shots(self, test: int, training: int | None) -> None:
        if not self.refine and training not in (None, 1):
            raise SettingsError(
                f"data.training.training_shot is {training} and refine false, with which the authors' base training "
                "holds queries against the masks of supports; expected training_shot 1, or refine: true"
            )

    def num_trainable_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in learned_parameters(self.network))

    def num_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def record_notes(self, data: Any) -> list[str]:
        adaptation = self.adaptation
        if adaptation.images == "episode":
            return [
                f"adapted to the supports of each episode, in {adaptation.epochs} steps from the trained weights; this "
                "rule is fsbench's own (ifa.md §7)"
            ]
        if adaptation.images == "none":
            return ["not adapted to the test's images; IFA's published rows are"]
        images = data.adaptation_images(adaptation).images_a_class
        return [
            f"learned from {images} labelled images a class of the test's own pool before the test (adaptation: "
            "target-pool); queries and supports of the test are among these images",
            "the adaptation draws its items by seed, epoch and number, and one process learns them in order; the "
            "authors' program draws them by the clock",
        ]

    # Test

    @property
    def sees_pixels(self) -> bool:  # type: ignore[override]
        """Whether the method takes image pixels instead of features, because a network is still to be trained."""
        return self.training or self.adaptation.images == "episode"

    raw_images = sees_pixels  # an image is changed before it is normalised

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the features (C, h, w) of an image (3, S, S); they are cached until the network changes."""
        features: Tensor = self.network(pixels[None])[0]
        return features

    def on_validation_start(self) -> None:
        self.backbone.cache.clear()

    def network_of(self, pixels: Tensor) -> None:
        return None

    def support(self, image: Tensor, mask: Tensor) -> LabelledSupport | Prototypes:
        """Return a support's mean features inside and outside of its mask; its image and mask if a network is trained.

        `image` holds features (1, C, h, w), or pixels if a network is still to be trained; `mask` is (1, S, S).
        """
        return LabelledSupport(image, mask) if self.sees_pixels else masked_prototypes(image, mask)

    def join(self, supports: Iterator[Any]) -> Adapted | Prototypes:
        """Return the prototypes of a way, averaged over shots.

        If the method adapts to each episode, the network is first trained on the supports and returned as well.
        """
        if not self.sees_pixels:
            return mean_prototypes(list(supports))
        shots = list(supports)
        network = self.adapted_to(shots)
        return Adapted(network, mean_prototypes([masked_prototypes(network(normalise(x)), mask) for x, mask in shots]))

    def segment(self, query: Tensor, support: Adapted | Prototypes) -> Tensor:
        """Return logits (1, 2, h, w) of a query by prototypes computed from the query's own features (§4).

        The supports' prototypes give the first, rough segmentation.
        """
        if isinstance(support, Adapted):
            query, support = support.network(normalise(query)), support.start
        found = one_round(support, query, None, self.refine)
        return found.query if found.refined is None else found.refined

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return resize_twice(logits, self.context.side, size)

    # Base training

    def losses(
        self, query: Tensor, supports: Iterator[tuple[Tensor, Tensor]], target: Target, program: Program = "base"
    ) -> dict[str, Tensor]:
        """Return "loss" (scalar) of one of the authors' programs, "base" training or "adaptation".

        Args:
            query: query images (B, 3, S, S).
            supports: images (B, 3, S, S) and masks (B, S, S) of each shot; the loss segments the supports, too.
            target: true labels of the queries.
            program: "base" or "adaptation".
        """
        images, masks = (torch.stack(part) for part in zip(*supports, strict=True))
        labelled = normalise(query), normalise(images), target.labels == 1, masks  # void is background (§2)
        return {"loss": self.image_loss(self.network, *labelled, program)}

    def image_loss(
        self,
        network: nn.Module,
        query: Tensor,
        support: Tensor,
        query_masks: Tensor,
        support_masks: Tensor,
        program: Program,
    ) -> Tensor:
        """Return the training loss (scalar) of a network on normalised images of B episodes.

        Args:
            network: network from images to features.
            query: query images (B, 3, S, S).
            support: support images (K, B, 3, S, S).
            query_masks, support_masks: true masks (B, S, S) and (K, B, S, S).
            program: program of the authors with this loss, "base" training or "adaptation".
        """
        rounds = ROUNDS if program == "adaptation" else 1 if self.refine else 2
        queries = zip(query.chunk(self.replicas), query_masks.chunk(self.replicas), strict=True)
        supports = zip(support.chunk(self.replicas, 1), support_masks.chunk(self.replicas, 1), strict=True)
        outputs = []
        for (images, masks), (shots, shot_masks) in zip(queries, supports, strict=True):
            features = network(images), torch.cat(in_turn(network, [(shot,) for shot in shots]))
            outputs.append(
                step_outputs(*features, masks, shot_masks.flatten(0, 1), self.refine, self.shot_order, rounds)
            )
        return Outputs.gathered(outputs).losses(query_masks, support_masks.flatten(0, 1), program)

    def configure_optimizers(self) -> Any:
        data = self._data_module()
        if self.decay_items is None or data is None:
            steps = self.total_steps
        else:
            steps = self.decay_items // data.training.batch_size
        return self.optimisation(self.network, self.learning_rate, steps)

    def optimisation(self, network: nn.Module, rate: float, steps: int) -> dict[str, Any]:
        """Return SGD for a network's learned weights and its schedule over `steps`, as the dict that Lightning expects.

        `rate` is the initial learning rate.
        """
        learned = learned_parameters(network)
        optimizer = torch.optim.SGD(learned, rate, self.momentum, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate_factor(done, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Adaptation

    def adaptation_loss(self, batch: EpisodeBatch) -> Tensor:
        return self.losses(*self.lesson(batch), "adaptation")["loss"]

    def configure_adaptation(self, steps: int) -> dict[str, Any]:
        return self._adapting(self.network, steps)

    def _adapting(self, network: nn.Module, steps: int) -> dict[str, Any]:
        """Return the optimisation of an adaptation of so many steps."""
        if self.decay_items is not None:
            steps = self.decay_items // self.adaptation.batch_size
        return self.optimisation(network, self.adaptation.learning_rate, steps)

    def adapted_to(self, shots: Sequence[LabelledSupport]) -> nn.Module:
        """Return a copy of the trained network, fine-tuned on a way's supports and frozen.

        In each step one support, drawn at random, is augmented and takes the place of the query. The random numbers
        follow from the episode's and the step's number, so all ways of an episode get the same ones.
        """
        with torch.inference_mode(False), torch.enable_grad():
            network, steps = deepcopy(self.network), self.adaptation.epochs
            changes = QueryChanges(self.adaptation.flip, self.adaptation.shuffle)
            images, masks = (torch.stack(part) for part in zip(*shots, strict=True))
            support, optimisation = normalise(images), self._adapting(network, steps)
            optimizer, schedule = optimisation["optimizer"], optimisation["lr_scheduler"]["scheduler"]
            for step in range(steps):
                rng = random.Random(repr((self.adaptation.seed, self.context.episode, step)))
                shot = rng.randrange(len(shots))
                image = _in_8_bits(images[shot, 0]).permute(1, 2, 0).cpu().numpy()
                changed, mask = changes(image, masks[shot, 0].byte().cpu().numpy(), rng)
                query = normalise(torch.from_numpy(changed).permute(2, 0, 1).contiguous()).to(support)
                query_mask = torch.from_numpy(mask).to(support.device) == 1
                optimizer.zero_grad()
                self.image_loss(network, query[None], support, query_mask[None], masks, "adaptation").backward()
                optimizer.step()
                schedule.step()
            optimizer.zero_grad()  # gradients are as large as the weights
            return network.requires_grad_(False)


def _in_8_bits(image: Tensor) -> Tensor:
    """Return an image as uint8 where a protocol resizes to float32 within 0..255; any other as it is."""
    low, high = image.aminmax()
    return image.round().byte() if low >= 0 and high <= 255 else image


def _forget_features(method: IFA, _: Any) -> None:
    """Forget the features of the weights before; a function of the module, so that a method can be pickled."""
    method.backbone.cache.clear()
