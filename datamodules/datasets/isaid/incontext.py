"""iSAID-5i under the protocol incontext: a test asks for each pair of its list once."""

from fsbench.datamodules.datasets.isaid.index import Isaid
from fsbench.protocols.draws.incontext import EachPairOnce


@EachPairOnce.register(Isaid)
class IsaidPairs(EachPairOnce):
    """The pairs of iSAID-5i."""
