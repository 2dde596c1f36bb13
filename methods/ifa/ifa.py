"""IFA: iterative few-shot adaptor (CVPR 2024), for segmentation across domains.

A network is trained so that query and supports segment each other back and forth. Before a test it is adapted to
labelled images of the test's own pool, in which a changed support is the query. Sections are those of ifa.md.

Shapes: B items, N ways, K shots, C channels, (h, w) a map of features, S image side.
"""

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.adaptation import Adaptation
from fsbench.core.needs import Needs
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, normalise
from fsbench.methods.ifa.matching import (
    ShotOrder,
    by_own_mask,
    in_turn,
    masked_prototypes,
    mean_prototypes,
    one_round,
)
from fsbench.methods.ifa.network import IFAReleasedFormat, backbone_weights, learned_network, learned_parameters
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.stage_segmenter import as_prediction, check_rates
from fsbench.networks.backbones.base import BackboneConfig

ROUNDS = 3  # of the loop in the adaptation, §4

Program = Literal["base", "adaptation"]
"""The two programs of the authors, whose losses differ (§5)."""


@dataclass
class Outputs:
    """Logits of a training step at the images' size (§4).

    Attributes:
        refined, queries: of the queries (B, 2, S, S): refined in the first round (None without), and of each round.
        itself: of the queries by the prototypes of their own masks.
        supports: of the supports (K·B, 2, S, S), all items' first shots first, by the prototypes of their own masks.
        support_rounds: of the supports in each round.
    """

    refined: Tensor | None
    queries: list[Tensor]
    itself: Tensor
    supports: Tensor
    support_rounds: list[Tensor]

    @classmethod
    def gathered(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Return the outputs of the parts of a batch one after the other, as those of several GPUs are gathered."""
        if len(parts) == 1:
            return parts[0]
        refined = [part.refined for part in parts if part.refined is not None]
        queries, supports = (
            [torch.cat(rounds) for rounds in zip(*lists, strict=True)]
            for lists in ([part.queries for part in parts], [part.support_rounds for part in parts])
        )
        itself, own = (torch.cat(list(x)) for x in zip(*((part.itself, part.supports) for part in parts), strict=True))
        return cls(torch.cat(refined) if refined else None, queries, itself, own, supports)

    def losses(self, target: Tensor, support_targets: Tensor, program: Program) -> Tensor:
        """Return the loss of a program (§5).

        Without a refined output the authors' base training holds the queries' second round against the supports'
        masks, a slip that one shot alone bears.

        Args:
            target: masks of the queries (B, S, S).
            support_targets: of the supports (K·B, S, S), in their order.
            program: the program.
        """

        def entropy(logits: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(logits, labels.long())

        query, support = target, support_targets
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
    """Return the outputs of a training step (§4).

    Args:
        query: features (B, C, h, w).
        support: (K·B, C, h, w), all items' first shots first.
        query_masks, support_masks: (B, S, S) and (K·B, S, S).
        refine: refine the query in the first round.
        order: how prototypes of items meet their shots.
        rounds: of the loop.
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
    """Return the factor of the rate after `done` steps: a tenth after a third and after two thirds of `steps` (§5).

    >>> [round(rate_factor(done, 6), 2) for done in (0, 1, 2, 3, 4, 5)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    return 0.1 ** sum(0 < decay <= done for decay in (steps // 3, 2 * steps // 3))


class IFA(Segmenter):
    """IFA.

    Args:
        backbone: `dilated_resnet50` or `dilated_resnet101`, whose layers 2 and 3 are learned; or the demo's ViT.
        refine: make the query's prototypes a second time, in training and test, as all scripts of the authors do.
        shot_order: how training of several shots lays prototypes of items over their shots: "program" mixes the items
            of a batch up, as the authors' program does; "matched" does not (§4, defect 1).
        learning_rate: of SGD in base training.
        momentum, weight_decay: of SGD, also in the adaptation.
        decay_items: items after which both trainings count as complete: the rate falls to a tenth after a third and
            two thirds of them, however long an epoch is (§5); None takes the length of the training itself.
        adaptation: what is learned from the test's own images.
        vit_blocks: with the demo's ViT, the first block that is learned and the last that is used, from 0.
    """

    backbone_type: ClassVar[Any] = staticmethod(backbone_weights)
    released_format = IFAReleasedFormat(has_backbone=False)
    sees_all_shots = True

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
                f"data.training_shot is {training} and refine false, with which the authors' base training holds "
                "queries against the masks of supports; expected data.training_shot: 1, or refine: true"
            )

    def num_trainable_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in learned_parameters(self.network))

    def num_parameters(self, ways: int) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def record_notes(self, data: Any) -> list[str]:
        adaptation = self.adaptation
        if adaptation.images == "episode":
            return [
                f"adapted to the supports of each episode, in {adaptation.epochs} steps from the trained weights; that "
                "is ours (ifa.md §7)"
            ]
        if adaptation.images == "none":
            return ["not adapted to the test's images, as IFA's published rows are"]
        images = data.adaptation_images(adaptation).images_a_class
        return [
            f"told {images} labelled images a class of the test's own pool before the test (adaptation: target-pool), "
            "which are queries and supports of its episodes, too",
            "the adaptation's items follow from the seed, the epoch and their number, and are learned in the order of "
            "their numbers by one process; the authors' follow from the clock",
        ]

    # Test

    def forward(self, episode: EpisodeBatch) -> Prediction:
        query_row = int(episode.query[0])
        logits = []
        for way, rows in enumerate(episode.support[0].tolist()):
            masks = episode.support_masks[0, way]
            if self.adaptation.images == "episode":
                network = self._adapted_to(episode, way)
                query = network(episode.pixels(query_row)[None])
                shots = (network(episode.pixels(row)[None]) for row in rows)
            else:
                query, shots = self._features(episode, query_row), (self._features(episode, row) for row in rows)
            start = mean_prototypes([masked_prototypes(x, m[None]) for x, m in zip(shots, masks, strict=True)])
            found = one_round(start, query, None, self.refine)
            logits.append(found.query if found.refined is None else found.refined)
        return as_prediction(torch.cat(logits), episode, None)

    def _features(self, episode: EpisodeBatch, row: int) -> Tensor:
        """Return the features (1, C, h, w) of image `row`, which are kept until the network changes."""
        name = episode.image_names[row]
        kept: Tensor = self.backbone.cache.get("features", name, lambda: self.network(episode.pixels(row)[None]))
        return kept

    def on_validation_start(self) -> None:
        self.backbone.cache.clear()

    # Base training

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        return {"loss": self.image_loss(self.network, *labelled_images(batch), "base")}

    def image_loss(
        self,
        network: nn.Module,
        query: Tensor,
        support: Tensor,
        query_masks: Tensor,
        support_masks: Tensor,
        program: Program,
    ) -> Tensor:
        """Return the loss of a network on normalised images.

        Args:
            network: gives their features.
            query: (B, 3, S, S).
            support: (B, K, 3, S, S).
            query_masks, support_masks: (B, S, S) and (B, K, S, S).
            program: whose loss it is.
        """
        rounds = ROUNDS if program == "adaptation" else 1 if self.refine else 2
        parts = zip(*(x.chunk(self.replicas) for x in (query, support, query_masks, support_masks)), strict=True)
        outputs = [
            step_outputs(network(q), shot_features(network, s), m, by_shot(n), self.refine, self.shot_order, rounds)
            for q, s, m, n in parts
        ]
        return Outputs.gathered(outputs).losses(query_masks, by_shot(support_masks), program)

    def configure_optimizers(self) -> Any:
        data = self._data_module()
        if self.decay_items is None or data is None:
            steps = max(int(self.trainer.estimated_stepping_batches), 1)
        else:
            steps = self.decay_items // data.training.batch_size
        return self.optimisation(self.network, self.learning_rate, steps)

    def optimisation(self, network: nn.Module, rate: float, steps: int) -> dict[str, Any]:
        """Return SGD for the learned weights of a network and its schedule over `steps`, as Lightning takes them."""
        learned = learned_parameters(network)
        optimizer = torch.optim.SGD(learned, rate, self.momentum, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate_factor(done, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Adaptation

    def configure_adaptation(self, steps: int) -> dict[str, Any]:
        return self._adapting(self.network, steps)

    def adaptation_loss(self, batch: EpisodeBatch) -> Tensor:
        return self.image_loss(self.network, *labelled_images(batch), "adaptation")

    def _adapting(self, network: nn.Module, steps: int) -> dict[str, Any]:
        """Return the optimisation of an adaptation of so many steps."""
        if self.decay_items is not None:
            steps = self.decay_items // self.adaptation.batch_size
        return self.optimisation(network, self.adaptation.learning_rate, steps)

    def _adapted_to(self, episode: EpisodeBatch, way: int) -> nn.Module:
        """Return a copy of the network that was adapted to the supports of a way of an episode, from the trained one.

        In each step one of them, drawn from the episode's number and that of the step, is changed at the images' size
        and becomes the query; all ways draw alike.
        """
        rows, masks = episode.support[0, way].tolist(), episode.support_masks[0, way]
        with torch.inference_mode(False), torch.enable_grad():
            network = deepcopy(self.network)
            support, support_masks = torch.stack([episode.pixels(row).clone() for row in rows]), masks.clone()
            steps = self.adaptation.epochs
            optimisation = self._adapting(network, steps)
            optimizer, schedule = optimisation["optimizer"], optimisation["lr_scheduler"]["scheduler"]
            for step in range(steps):
                rng = random.Random(repr((self.adaptation.seed, int(episode.episodes[0]), step)))
                shot = rng.randrange(len(rows))
                image = episode.images[rows[shot]].permute(1, 2, 0).cpu().numpy()
                changed, mask = self.adaptation.changes(image, masks[shot].to(torch.uint8).cpu().numpy(), rng)
                query = normalise(torch.from_numpy(changed).permute(2, 0, 1).contiguous()).to(support)
                query_mask = torch.from_numpy(mask).to(support.device) == 1
                batch = query[None], support[None], query_mask[None], support_masks[None]
                optimizer.zero_grad()
                self.image_loss(network, *batch, "adaptation").backward()
                optimizer.step()
                schedule.step()
            optimizer.zero_grad()  # gradients are as large as the weights
            return network.requires_grad_(False)


def _forget_features(method: IFA, _: Any) -> None:
    """Forget the features of the weights before; a function of the module, so that a method can be pickled."""
    method.backbone.cache.clear()


def labelled_images(batch: EpisodeBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the normalised queries and supports of a training batch and their masks, as `IFA.image_loss` takes them.

    Void is background (§2).
    """
    query = torch.stack([batch.pixels(row) for row in batch.query.tolist()])
    shots = [torch.stack([batch.pixels(row) for row in rows]) for rows in batch.support[:, 0].tolist()]
    truth = torch.stack(batch.known_truth().label_maps) == 1
    return query, torch.stack(shots), truth, batch.support_masks[:, 0]


def shot_features(network: nn.Module, support: Tensor) -> Tensor:
    """Return the features (K·B, C, h, w) of supports (B, K, 3, S, S), all items' first shots first."""
    return torch.cat(in_turn(network, [(shot,) for shot in support.unbind(1)]))


def by_shot(x: Tensor) -> Tensor:
    """Return (B, K, ...) as (K·B, ...): the first shots of all items, then their second ones."""
    return x.transpose(0, 1).flatten(0, 1)
