"""PSPNet on the base classes of a fold: the base learner of BAM and HMNet, trained as BAM does (hmnet.md §2.3, §2.4).

It learns from whole images with the labels of all base classes (`data.training.training_items: images`), and the best
checkpoint is that with the highest mIoU of base classes on all test images (`data.training.validation: images`). As a
few-shot method it predicts the base class that it sees most under the support mask. That is correct where base classes
are tested, and a lower bound where novel ones are.

Shapes: b images, n base classes, (h, w) the network's map, S image side.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.methods.modules.poly_rate import poly_schedule
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.first_largest import first_largest
from fsbench.scores.answers import SegmentationAnswer

log = logging.getLogger("fsbench")
TRAINING_IMAGES = {"pascal": 5953, "coco": 82081}
"""Number of training images in BAM's lists, by data set (§2.4.1)."""


@dataclass
class BaseOutput(Output):
    """Logits of background and n base classes (1, n + 1, h, w), and the number of the base class that is the way's."""

    base_class: Tensor | None = None


class BaseLearner(Segmenter):
    """PSPNet trained from ImageNet weights to segment base classes, usable as a method by itself.

    Args:
        backbone: `dilated_resnet50`, `dilated_resnet101` or `dilated_vgg16`, the weights that training starts from.
        classes: number of base classes of a fold: 15 for PASCAL and the demo, 60 for COCO.
        learning_rate: learning rate of SGD at the start; it falls to 0 by a polynomial of power 0.9.
        index_split: index of the last part of the network that has this learning rate; later parts have ten times this
            rate. Parts are 0 the backbone layers, 1 pyramid pooling, 2 the classifier; -1 gives all parts ten times the
            rate.
        momentum, weight_decay: momentum and weight decay of SGD, for all weights.
    """

    backbone: FrozenTrunk
    backbone_type: ClassVar[Any] = FrozenTrunk
    sees_pixels = True  # the network is trained
    depends_on_way_order = True  # of two ways that show the same base class the later one takes its pixels

    def __init__(
        self,
        backbone: BackboneConfig,
        classes: int = 15,
        learning_rate: float = 2.5e-4,
        index_split: int = 0,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ):
        super().__init__(backbone)
        if classes < 1:
            raise SettingsError(f"classes is {classes}, expected the number of base classes, 1 or more")
        self.classes = classes
        self.sgd_settings = (learning_rate, index_split, momentum, weight_decay)
        self.model = PSPNet(self.backbone.spec.kind, classes)
        self.model.load_state_dict(self.backbone.state, strict=False)  # checked by the backbone; the rest is new

    def num_parameters(self, ways: int) -> int:
        return self.num_trainable_parameters(ways)  # the trunk is the model's own: training only begins at its weights

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data.training.training_items != "images":
            raise SettingsError("the base learner learns from images; give data.training_items: images")
        classes, images = len(data.training_pool.class_ids), len(data.training_pool.images)
        if classes != self.classes:
            raise SettingsError(f"classes is {self.classes}, but the fold has {classes} base classes; give that")
        if images != TRAINING_IMAGES.get(data.dataset.name, images):
            log.warning(
                "the base learner is trained on %d images of %s; BAM's list has %d, so this is another training",
                images,
                data.dataset.name,
                TRAINING_IMAGES[data.dataset.name],
            )

    def on_train_start(self) -> None:
        together = any(isinstance(module, nn.SyncBatchNorm) for module in self.modules())
        if self.trainer.world_size > 1 and not (together and self.device.type == "cuda"):
            raise SettingsError(
                f"{self.trainer.world_size} processes would each normalise by their own images (sync_batchnorm is "
                f"{str(together).lower()}, the device {self.device.type}); expected --trainer.sync_batchnorm true and "
                "CUDA devices, which PyTorch's synchronised BatchNorm needs, or DEVICES=1"
            )

    def query(self, image: Tensor) -> Tensor:
        """Return the probabilities of background and base classes (1, n + 1, h, w) in an image (1, 3, S, S)."""
        return self.model.segment(image).float().softmax(1)

    def support(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return a support's class probabilities (1, n + 1, h, w), background first, and its mask (1, 1, h, w)."""
        found = self.query(image)
        return found, F.interpolate(mask[:, None].float(), (found.shape[-1], found.shape[-1]), mode="area")

    def join(self, supports: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the number () of the base class with the largest total probability under the supports' masks.

        Each support is its class probabilities (1, n + 1, h, w) and its mask (1, 1, h, w).
        """
        found, masks = (torch.cat(parts) for parts in zip(*supports, strict=True))
        return 1 + (found * masks).sum((0, 2, 3))[1:].argmax()

    def segment(self, query: Tensor, support: Tensor) -> BaseOutput:
        return BaseOutput(query, base_class=support)

    def read(self, outputs: Iterator[Any], size: tuple[int, int], attention: list[Tensor] | None = None) -> Way:
        """Return a way's mask at `size` (H, W): the pixels whose most probable class is the way's base class."""
        (output,) = outputs
        full = self.resize(output.logits, size)[0]
        own = full[output.base_class]
        return Way(own, first_largest(full) == output.base_class, probability=own if self.keeps_soft_masks else None)

    def predict(self, ways: Iterable[Way], attention: Sequence[Tensor]) -> Prediction:
        """Join the masks of all ways to one label map; if two ways have the same base class, the later way wins."""
        every = list(ways)
        numbers = torch.stack([number * way.foreground for number, way in enumerate(every, 1)])
        return replace(super().predict(every, attention), label_map=numbers.amax(0))

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Return "loss", the cross-entropy (scalar) on whole images that are labelled with all base classes."""
        logits = self.model.segment(self.features(batch, batch.query)).float()
        return {"loss": pixel_loss(logits, torch.stack(batch.known_truth().label_maps))}

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        if len(batch) * self.trainer.world_size < 2:
            raise SettingsError(
                "BatchNorm has no statistics of a single image, and one was left for a training step; give "
                "--data.training.batch_size or MICRO_BATCH 2 or more, and --data.training.drop_last true"
            )
        return super().training_step(batch, batch_idx)

    def answers(self, episodes: Sequence[EpisodeBatch]) -> list[SegmentationAnswer]:
        """Segment a batch: images without supports by all base classes (§2.4.5), other episodes by their ways."""
        found: list[SegmentationAnswer] = []
        for episode in episodes:
            found += super().answers([episode]) if episode.support.shape[2] else [self.whole_image(episode)]
        return found

    def whole_image(self, image: EpisodeBatch) -> SegmentationAnswer:
        logits = self.model.segment(self.features(image, image.query)).float()
        return SegmentationAnswer(label_map(logits, int(image.query_sizes[0, 1]))[0].cpu().numpy())

    def configure_optimizers(self) -> Any:
        optimizer = sgd(self.model, *self.sgd_settings)
        schedule = poly_schedule(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def resized_logits(logits: Tensor, size: int) -> Tensor:
    """Resize logits (b, n + 1, h, w) to (b, n + 1, size, size), corners aligned."""
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=True)


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy (scalar) of logits (b, n + 1, h, w), enlarged, with label maps (b, S, S) (§2.4.3).

    Void pixels (255) are left out.
    """
    return F.cross_entropy(resized_logits(logits, labels.shape[-1]), labels.long(), ignore_index=VOID)


def label_map(logits: Tensor, size: int) -> Tensor:
    """Return the label map (b, size, size) of the classes 0..n with the highest of logits (b, n + 1, h, w) (§2.4.5)."""
    return resized_logits(logits, size).argmax(1)


def sgd(model: PSPNet, learning_rate: float, index_split: int, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Return SGD with three groups: layers 0 to 4, pyramid pooling, classifier (§2.4.4).

    Args:
        model: the network.
        learning_rate: rate of the groups up to the index `index_split`; later groups have ten times that.
        index_split: index of the last group with the plain rate, from 0; -1 gives all groups ten times the rate.
        momentum, weight_decay: settings of all groups, biases and BatchNorm included.
    """
    trunk: list[nn.Module] = [model.layer0, model.layer1, model.layer2, model.layer3, model.layer4]
    parts: list[list[nn.Module]] = [trunk, [model.ppm], [model.cls, model.base_learner]]
    groups = []
    for place, part in enumerate(parts):
        rate = learning_rate * (10 if place > index_split else 1)
        groups.append({"params": [p for module in part for p in module.parameters()], "lr": rate})
    return torch.optim.SGD(groups, learning_rate, momentum, weight_decay=weight_decay)
