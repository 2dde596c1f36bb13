"""PSPNet on the base classes of a fold: the base learner of BAM and HMNet, trained as BAM does (hmnet.md §2.3, §2.4).

It learns from whole images with the labels of all base classes (`data.training_items: images`), and the best checkpoint
is that with the highest mIoU of base classes on all test images (`data.validation: images`). As a few-shot method it
predicts the base class that it sees most under the support mask. That is correct where base classes are tested, and a
lower bound where novel ones are.

Shapes: n base classes, (·, ·) the network's map.
"""

import logging
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.hmnet.base_training import label_map, pixel_loss, sgd
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.methods.modules.poly_rate import poly_schedule
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.first_largest import first_largest
from fsbench.scores.answers import SegmentationAnswer

log = logging.getLogger("fsbench")
TRAINING_IMAGES = {"pascal": 5953, "coco": 82081}
"""Number of training images in BAM's lists, by data set (§2.4.1)."""


class BaseLearner(Segmenter):
    """PSPNet, trained from ImageNet weights.

    Args:
        backbone: `dilated_resnet50`, `dilated_resnet101` or `dilated_vgg16`, the weights that training starts from.
        classes: number of base classes of a fold: 15 for PASCAL and the demo, 60 for COCO.
        learning_rate: rate of SGD at the start; falls to 0 by the power 0.9.
        index_split: parts of the network after this place in (layers 0 to 4, pyramid pooling, classifier) have ten
            times the rate: 0 for all but the first, -1 for all.
        momentum, weight_decay: of SGD, for all weights.
    """

    backbone: FrozenTrunk
    backbone_type: ClassVar[Any] = FrozenTrunk
    sees_all_shots = True
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

    def forward(self, episode: EpisodeBatch) -> Prediction:
        height, width = episode.query_sizes[0].tolist()
        query = self._probabilities(episode, [int(episode.query[0])])[0]
        query = F.interpolate(query[None], (height, width), mode="bilinear", align_corners=True)[0]
        seen, label_map = first_largest(query), torch.zeros(height, width, dtype=torch.int64, device=query.device)
        foreground = []
        for way, rows in enumerate(episode.support[0]):
            support = self._probabilities(episode, rows.tolist())
            side = support.shape[-1]
            masks = F.interpolate(episode.support_masks[0, way, :, None].float(), (side, side), mode="area")
            mass = (support * masks).sum((0, 2, 3))
            chosen = 1 + mass[1:].argmax()
            label_map[seen == chosen] = way + 1
            foreground.append(query[chosen])
        return Prediction(label_map, probability=torch.stack(foreground) if self.keeps_soft_masks else None)

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        images = torch.stack([batch.pixels(row) for row in batch.query.tolist()])
        return {"loss": pixel_loss(self.model.segment(images).float(), torch.stack(batch.known_truth().label_maps))}

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        if len(batch) * self.trainer.world_size < 2:
            raise SettingsError(
                "BatchNorm has no statistics of a single image, and one was left for a training step; give "
                "--data.batch_size or MICRO_BATCH 2 or more, and --data.drop_last true"
            )
        return super().training_step(batch, batch_idx)

    def answer(self, episode: EpisodeBatch) -> SegmentationAnswer:
        if episode.support.shape[2]:
            return super().answer(episode)
        logits = self.model.segment(episode.pixels(int(episode.query[0]))[None]).float()  # a whole image (§2.4.5)
        return SegmentationAnswer(label_map(logits, int(episode.query_sizes[0, 1]))[0].cpu().numpy())

    def configure_optimizers(self) -> Any:
        optimizer = sgd(self.model, *self.sgd_settings)
        schedule = poly_schedule(optimizer, max(int(self.trainer.estimated_stepping_batches), 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _probabilities(self, episode: EpisodeBatch, rows: list[int]) -> Tensor:
        """Return the probabilities of background and base classes (rows, n + 1, ·, ·), encoding images one by one."""
        return torch.cat([self.model.segment(episode.pixels(row)[None]).float().softmax(1) for row in rows])
