"""DeepGlobe Land Cover 2018 without the field's choice of crops."""

from typing import ClassVar

from fsbench.datamodules.datasets.deepglobe.index import DeepGlobe


class DeepGlobeAll(DeepGlobe):
    """All crops of DeepGlobe, those of a single colour and with rare colours too: no published figure is of these.

    Args:
        root, layout: as of `DeepGlobe`.
    """

    name = "deepglobe_all"
    same_classes_as: ClassVar[tuple[str, ...]] = (DeepGlobe.name,)
