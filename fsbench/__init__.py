"""fsbench: few-shot segmentation and few-shot classification-and-segmentation under one written-down protocol."""

__version__ = "0.1.0"
