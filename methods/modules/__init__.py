"""Parts that several methods share: the base classes of segmenters, and the layers of CST and EMAT."""
