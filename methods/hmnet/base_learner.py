"""PSPNet on the base classes of a fold: the base learner of BAM and HMNet (hmnet.md §2.3).

It learns from images with the labels of all base classes (`data.training_items: images`). As a few-shot method it
predicts the base class that it sees most under the support mask. That is correct where base classes are tested (the
validation that chooses the checkpoint), and a lower bound where novel ones are.

Shapes: n base classes, (·, ·) the network's map.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.backbones.base import BackboneConfig
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.errors import SettingsError
from methods.hmnet.frozen_pspnet import FrozenTrunk
from methods.hmnet.pspnet import PSPNet


class BaseLearner(Segmenter):
    """PSPNet, trained from ImageNet weights.

    Args:
        backbone: `dilated_resnet50` or `dilated_vgg16`, the weights that training starts from.
        classes: number of base classes of a fold: 15 for PASCAL and the demo, 60 for COCO.
        learning_rate: rate of SGD for the trunk; falls to 0 by the power 0.9.
        head_factor: multiplies the learning rate of all other layers.
        momentum, weight_decay: of SGD.
    """

    backbone: FrozenTrunk
    backbone_type: ClassVar[Any] = FrozenTrunk
    sees_all_shots = True

    def __init__(
        self,
        backbone: BackboneConfig,
        classes: int = 15,
        learning_rate: float = 2.5e-3,
        head_factor: float = 10.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ):
        super().__init__(backbone)
        if classes < 1:
            raise SettingsError(f"classes is {classes}, expected the number of base classes, 1 or more")
        self.classes = classes
        self.rates = (learning_rate, head_factor, momentum, weight_decay)
        self.model = PSPNet(self.backbone.spec.kind, classes)
        self.model.load_state_dict(self.backbone.state, strict=False)  # checked by the backbone; the rest is new

    @property
    def predicts_presence(self) -> bool:
        return False

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def on_fit_start(self) -> None:
        classes = len(self.trainer.datamodule.training_pool.class_ids)  # type: ignore[attr-defined]
        if classes != self.classes:
            raise SettingsError(f"classes is {self.classes}, but the fold has {classes} base classes; give that")
        if self.trainer.datamodule.training_items != "images":  # type: ignore[attr-defined]
            raise SettingsError("the base learner learns from images; give data.training_items: images")

    def forward(self, episode: EpisodeBatch) -> Prediction:
        height, width = episode.query_sizes[0].tolist()
        query = self._probabilities(episode, [int(episode.query[0])])[0]
        query = F.interpolate(query[None], (height, width), mode="bilinear", align_corners=True)[0]
        seen, label_map = query.argmax(0), torch.zeros(height, width, dtype=torch.int64, device=query.device)
        for way, rows in enumerate(episode.support[0]):
            support = self._probabilities(episode, rows.tolist())
            side = support.shape[-1]
            masks = F.interpolate(episode.support_masks[0, way, :, None].float(), (side, side), mode="area")
            mass = (support * masks).sum((0, 2, 3))
            label_map[seen == 1 + mass[1:].argmax()] = way + 1
        return Prediction(label_map)

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        target = torch.stack(batch.known_truth().label_maps)
        images = torch.stack([batch.pixels(row) for row in batch.query.tolist()])
        logits = self.model.segment(images).float()
        logits = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=True)
        return {"loss": F.cross_entropy(logits, target.long(), ignore_index=255)}

    def configure_optimizers(self) -> Any:
        rate, factor, momentum, decay = self.rates
        trunk = [p for name, p in self.model.named_parameters() if name.startswith("layer")]
        rest = [p for name, p in self.model.named_parameters() if not name.startswith("layer")]
        groups = [{"params": trunk, "lr": rate}, {"params": rest, "lr": factor * rate}]
        sgd = torch.optim.SGD(groups, rate, momentum, weight_decay=decay)
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        schedule = torch.optim.lr_scheduler.PolynomialLR(sgd, steps, power=0.9)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _probabilities(self, episode: EpisodeBatch, rows: list[int]) -> Tensor:
        """Return the probabilities of background and base classes (rows, n + 1, ·, ·), encoding images one by one."""
        return torch.cat([self.model.segment(episode.pixels(row)[None]).float().softmax(1) for row in rows])
