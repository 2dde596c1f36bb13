"""PASCAL under the protocol presence."""

from fsbench.datamodules.datasets.pascal.index import Pascal
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence


@KnownAbsence.register(Pascal)
class PascalAbsence(CompleteLabelMaps):
    """Classes that an image of VOC lacks; difficult objects are void there."""
