"""The demo that comes with the suite: a synthetic dataset of textured shapes, and a small ViT pre-trained on its kin.

It is a real few-shot problem (novel classes, several objects an image, clutter) that fits two CPU cores and a minute.
Importing `fsbench.demo.scenes` or `fsbench.demo.dataset` does not import torch.
"""
