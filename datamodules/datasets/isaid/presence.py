"""iSAID-5i under the protocol presence."""

from fsbench.datamodules.datasets.isaid.index import Isaid
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence


@KnownAbsence.register(Isaid)
class IsaidAbsence(CompleteLabelMaps):
    """Classes that a patch lacks."""
