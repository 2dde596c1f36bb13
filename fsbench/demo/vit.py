"""The demo's backbone: a ViT small enough to come with the repository, pre-trained by `fsbench.demo.pretrain`."""

from pathlib import Path
from typing import Any

IMAGE_SIZE = 128
DEMO_VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 4}
"""Arguments of timm's VisionTransformer beside `img_size` and `num_classes=0`: pre-norm, class token, LayerNorm eps
1e-6, exact GELU, MLP ratio 4. Correlation channels of EMAT and CST: depth x heads = 24."""
TABLE_SIDE = IMAGE_SIZE // DEMO_VIT["patch_size"]
"""Side of the stored position grid."""
WEIGHTS = Path(__file__).with_name("vit.safetensors")
"""float16 under timm's names; the metadata says how they were made."""
WEIGHTS_SHA256 = "659ed2f53c95c030fef0b3643d5d07f26efe60dc8bd593df8fd9b4c6e0090c57"
"""Of the file that comes with the repository; records say when another one was used."""
