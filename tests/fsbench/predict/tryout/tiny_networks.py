"""Promptable networks of a few thousand random weights, in folders as transformers writes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

SIDE = 64
"""Pixels of the square that the networks see."""
_DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
_PROMPTS = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}


@contextmanager
def _seeded() -> Iterator[None]:
    """Draw the same numbers each time, and leave the process's own as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        yield


@_seeded()
def store_sam(folder: Path) -> tuple[Any, Any]:
    """Write a SAM to a folder; returns the model and its processor."""
    vision = SamVisionConfig(
        hidden_size=16, output_channels=32, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE, patch_size=16,
        global_attn_indexes=[0], num_pos_feats=16,
    )  # fmt: skip
    model = SamModel(
        SamConfig(
            vision_config=vision,
            prompt_encoder_config=SamPromptEncoderConfig(**_PROMPTS),
            mask_decoder_config=SamMaskDecoderConfig(**_DECODER, layer_norm_eps=1e-5),  # Meta's, persam.md §2.1
        )
    )
    square, small = {"height": SIDE, "width": SIDE}, {"height": SIDE // 4, "width": SIDE // 4}
    images = SamImageProcessorPil(  # the other one resizes with other roundings than Meta's, persam.md §2.2
        size={"longest_edge": SIDE}, pad_size=square, mask_size={"longest_edge": SIDE // 4}, mask_pad_size=small
    )
    images.save_pretrained(folder)
    return _stored(model, folder), SamProcessor(images)


@_seeded()
def store_sam2(folder: Path) -> tuple[Any, Any]:
    """Write a SAM 2 to a folder; returns the model and its processor."""
    backbone = Sam2HieraDetConfig(
        hidden_size=8, image_size=[SIDE, SIDE], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[4, 2, 4, 2], global_attention_blocks=[3],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    model = Sam2Model(
        Sam2Config(
            vision_config=vision,
            prompt_encoder_config=Sam2PromptEncoderConfig(**_PROMPTS),
            mask_decoder_config=Sam2MaskDecoderConfig(**_DECODER),
        )
    )
    images = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = Sam2Processor(images)
    processor.save_pretrained(folder)  # under the other name
    return _stored(model, folder), processor


def _stored(model: Any, folder: Path) -> Any:
    """Give a model weights under which its masks depend on the image and on the points, and write it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # norms and biases stay as they are
                parameter.copy_(torch.randn(parameter.shape) / 2)
    model.eval().save_pretrained(folder)
    return model
