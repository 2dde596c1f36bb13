"""A folder under the protocol presence."""

from fsbench.datamodules.datasets.folder.index import Folder
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence


@KnownAbsence.register(Folder)
class FolderAbsence(CompleteLabelMaps):
    """Classes that an image of a folder lacks."""
