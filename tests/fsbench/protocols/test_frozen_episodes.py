"""The episodes of every protocol of masks on drawn data sets, to the byte: a class or a file may be written anew."""

import hashlib

import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.reading import load_protocol
from tests.fsbench.protocols.drawn_sets import DRAWN

FROZEN = {
    "bam": "92207a2cc75bc851",
    "bam_gfss": "666fff0a1ff67e27",
    "cdfss": "0e4d9c7f26ac6330",
    "cdfss_abcdfss": "c813d0f0c1a6e3bd",
    "cdfss_ifa": "22a02e914a96d25b",
    "fscs": "3de0c65fc24ed663",
    "fss_sam3": "68d5b30dec63fc83",
    "fssdino": "eae7d228a860c18b",
    "gfss": "a11e1596e90a7a88",
    "hdmnet": "84b706b445bc29b1",
    "hsnet": "01ffe2e29f4f7da6",
    "incontext": "1ad355b0fdc9f07b",
    "incontext518": "d59a748cca683fa4",
    "isaid": "a8f4eb58aa922a82",
    "isaid_r2net": "6ca308fffa96d92c",
    "isaid_sdm": "ba1ba019ebc29e09",
    "pfenet": "d6c76be9ec3b39c9",
    "pfenet2020": "c7af382491a5c5fc",
    "presence": "51cb46895385e1b7",
    "sansa": "c06c0b5e475e4e3e",
}
"""Protocol -> first digits of the hash of its manifests. Other episodes are another version, of which figures tell."""


@pytest.mark.parametrize("name", FROZEN)
def test_manifests_are_as_they_were(name, indexes):
    protocol, found, drawn = load_protocol(name), hashlib.sha256(), 0
    for dataset in DRAWN:
        for shot in (1, 2):
            task = EpisodeTask(0, shot=shot, episodes=40, skip_small_classes=True)
            try:
                manifest = protocol.manifest(protocol.draw.data(indexes(dataset)), task)
            except (DataError, SettingsError):  # the test is none of this data set
                continue
            found.update(manifest.text.encode())
            drawn += 1
    assert drawn and found.hexdigest()[:16] == FROZEN[name]
