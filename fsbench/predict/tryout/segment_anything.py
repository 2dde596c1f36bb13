"""The tool that segments at clicks, on SAM or SAM 2 (`fsbench.networks.backbones.sam`).

An image is encoded once; its encoding and some points are decoded to three masks, each with the IoU that the network
expects it to have.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fsbench.networks.backbones.sam import Encoding, PromptableNetwork, Prompts, load_folder
from fsbench.predict.tryout.strokes import Click

EncodedImage = tuple[Encoding, tuple[int, int]]
"""An image's encoding, and its height and width."""


class SegmentAnything:
    """A network that makes a mask of points.

    Args:
        network: SAM or SAM 2.
    """

    def __init__(self, network: PromptableNetwork):
        self.network = network

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> EncodedImage:
        """Encode an image (H, W, 3) uint8."""
        image = torch.tensor(np.ascontiguousarray(pixels)).permute(2, 0, 1)
        return self.network.encode(image), (pixels.shape[0], pixels.shape[1])

    @torch.inference_mode()
    def mask(self, image: EncodedImage, clicks: Sequence[Click]) -> np.ndarray:
        """Return the mask (H, W) bool that the network expects to be the best of its three.

        Args:
            image: From `encode`.
            clicks: Points on the object, and points that are not on it.
        """
        encoding, size = image
        # the network counts from the middle of the first pixel
        points = torch.tensor([[(click.x - 0.5, click.y - 0.5) for click in clicks]], dtype=torch.float64)
        prompts = Prompts(points, torch.tensor([[int(click.adds) for click in clicks]]))
        masks = self.network.decode_all(encoding, size, prompts, multimask=True)
        best = self.network.full_size(masks.low_res[0, int(masks.iou[0].argmax())], size)
        return np.asarray((best > 0).cpu().numpy())


def load_segment_anything(folder: Path, device: torch.device) -> SegmentAnything:
    """Read a network from a folder, see `fsbench.networks.backbones.sam.load_folder`."""
    return SegmentAnything(load_folder(folder, device, "--promptable"))
