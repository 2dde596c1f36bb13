"""Networks of the segment-anything family as transformers stores them: SAM and SAM 2.

SAM: Kirillov et al., ICCV 2023; SAM 2: Ravi et al., 2024. An image is encoded once; its encoding and some points are
decoded to three masks, each with the IoU that the network expects it to have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsbench.errors import CheckpointError, SettingsError, describe
from fsbench.files import is_file, open_file, read_json
from fsbench.labelling.clicks import Click

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ADAPTER = "adapter_config.json"
"""Beside a network's files it makes transformers load a further file, which may be a pickle."""
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
"""The file of the images' preparation; transformers writes it under either name."""
_SAM, _SAM2 = ("SamModel", "SamImageProcessor"), ("Sam2Model", "Sam2ImageProcessor")
CLASSES = {"sam": _SAM, "sam2": _SAM2, "sam2_video": _SAM2}
"""Classes of transformers by the model type of `config.json`; the published files of SAM 2 are of the last one."""
EXPECTED = f"expected the {CONFIG}, {WEIGHTS} and {PREPROCESSING[0]} of SAM or SAM 2, as transformers stores them"


@dataclass(frozen=True)
class Encoding:
    """An encoded image.

    Attributes:
        features: The network's embeddings of it, as `get_image_embeddings` returns them.
        sizes: The sizes (H, W) of the image before and after it was resized, as the postprocessing takes them.
        scale: Factors of its width and its height when it was resized.
    """

    features: Any
    sizes: dict[str, Any]
    scale: tuple[float, float]


class SegmentAnything:
    """A network that makes a mask of points.

    Args:
        model: A SamModel or Sam2Model of transformers.
        processor: Its image processor.
        device: Where it computes.
    """

    def __init__(self, model: Any, processor: Any, device: torch.device):
        self.model = model.to(device).eval()
        self.processor = processor
        self.device = device

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Encoding:
        """Encode an image (H, W, 3) uint8."""
        inputs = self.processor(Image.fromarray(pixels), return_tensors="pt")
        sizes = {key: inputs[key].tolist() for key in ("original_sizes", "reshaped_input_sizes") if key in inputs}
        values: Tensor = inputs["pixel_values"]
        (height, width), resized = pixels.shape[:2], sizes.get("reshaped_input_sizes", [values.shape[-2:]])[0]
        features = self.model.get_image_embeddings(values.to(self.device))
        return Encoding(features, sizes, (resized[1] / width, resized[0] / height))

    @torch.inference_mode()
    def mask(self, encoding: Encoding, clicks: Sequence[Click]) -> np.ndarray:
        """Return the mask (H, W) bool that the network expects to be the best of its three.

        Args:
            encoding: The encoded image, from `encode`.
            clicks: Points on the object, and points that are not on it.
        """
        # the network counts from the middle of the first pixel
        middles = torch.tensor([(click.x - 0.5, click.y - 0.5) for click in clicks])
        points = middles * torch.tensor(encoding.scale)
        labels = torch.tensor([int(click.adds) for click in clicks])
        output = self.model(
            image_embeddings=encoding.features,
            input_points=points[None, None].to(self.device),
            input_labels=labels[None, None].to(self.device),
            multimask_output=True,
        )
        best = int(output.iou_scores[0, 0].argmax())
        masks = self.processor.post_process_masks(output.pred_masks[:, :, best : best + 1].cpu(), **encoding.sizes)
        return np.asarray(masks[0][0, 0].numpy())


def load_segment_anything(folder: Path, device: torch.device) -> SegmentAnything:
    """Read a network from a folder; nothing is fetched, and nothing but tensors is read of its weights.

    Args:
        folder: It has `config.json`, `model.safetensors` and `preprocessor_config.json`.
        device: Where it is to compute.

    Raises:
        SettingsError: transformers is not installed, or too old for the network.
        CheckpointError: the folder holds something else, or its files are damaged.
    """
    model_name, processor_name = CLASSES[_model_type(folder)]
    try:
        import transformers  # optional, and heavy
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise SettingsError(
            "--promptable needs transformers, which is not installed; pip install 'fsbench[promptable]'"
        ) from None
    logging.disable_progress_bar()  # its lines would stand between those of the command
    logging.set_verbosity_error()
    try:
        model_class, processor_class = getattr(transformers, model_name), getattr(transformers, processor_name)
    except (AttributeError, ImportError) as error:
        raise _unsuitable(error) from error
    try:
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        processor = processor_class.from_pretrained(folder, local_files_only=True)
    except ImportError as error:  # of a package that it uses
        raise _unsuitable(error) from error
    except Exception as error:  # of many kinds: transformers and safetensors raise their own for damaged files
        raise CheckpointError(f"{folder} cannot be used ({describe(error)}); {EXPECTED}; fetch it again") from error
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would go on with random numbers in their place
        raise CheckpointError(
            f"{folder / WEIGHTS} lacks {len(missing)} of the network's tensors, e.g. {missing[0]}; {EXPECTED}; "
            "fetch it again"
        )
    return SegmentAnything(model, processor, device)


def _unsuitable(error: Exception) -> SettingsError:
    return SettingsError(
        f"the installed transformers has not all that --promptable needs ({describe(error)}); "
        "pip install 'fsbench[promptable]'"
    )


def _model_type(folder: Path) -> str:
    """Return the model type of a folder's `config.json`; CheckpointError for one that is not in `CLASSES`."""
    absent = [name for name in (CONFIG, WEIGHTS) if not is_file(folder / name)]
    if not any(is_file(folder / name) for name in PREPROCESSING):
        absent.append(PREPROCESSING[0])
    if absent:
        raise CheckpointError(f"{folder} has no {' and no '.join(absent)}; {EXPECTED}; correct --promptable")
    if (folder / ADAPTER).exists():
        raise CheckpointError(f"{folder} has an adapter ({ADAPTER}); {EXPECTED} and no more; take the adapter out")
    try:
        settings = read_json(folder / CONFIG, "settings")
        open_file(folder / WEIGHTS, "weights").close()  # safetensors opens it by name
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} cannot be read ({describe(error)}); {EXPECTED}; fetch it again") from error
    found = settings.get("model_type") if isinstance(settings, dict) else None
    if not isinstance(found, str) or found not in CLASSES:
        raise CheckpointError(
            f"{folder / CONFIG} is of the model type {found!a}, expected {', '.join(CLASSES)}; "
            "give --promptable the folder of SAM or SAM 2"
        )
    return found
