"""Generator of the demo data sets: scenes of textured shapes, for segmentation and classification (`dataset`).

They are a real few-shot problem (novel classes, several objects an image, clutter) that fits two CPU cores and a
minute. From small to large: `shapes` and `patterns` -> `classes`, `paint` -> `clutter`, `scenes` -> files on disk. The
demo's ViT is pre-trained on other classes of the same generator (`benchmarks.demo_backbone`). Nothing imports torch.
"""

from fsbench.datamodules.datasets.demo.index import Demo, DemoImages

__all__ = ["Demo", "DemoImages"]
