"""Episode lists of every protocol on every small data set, as hashes."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.frozen import suite
from tests.frozen.data_sets import CAPPED, SETS, FrozenSet
from tests.frozen.files import DIGITS, compact

GROUP = "manifests"
ABOUT = """
The episodes of every protocol on the demo, on samples of real photos, by official lists, and on drawn data sets.
A line: data set, protocol, fold, ways, shots and what else was asked for; then the number of episodes, the first digits
of the manifest's sha256 as the suite names it, and those of the sha256 of the episodes alone, whatever the header says.
A test that is refused has the class of the error.

Nothing here moves with a change of the code. A correction of the episodes is named in docs/guarantees.md, one by one;
then: FSBENCH_TEST_DATA=<folder of samples> python -m tests.frozen manifests --write
"""


def entries_of(name: str, folder: Path, samples: Path) -> dict[str, str]:
    """Draw all tests of a data set.

    Args:
        name: of `SETS`.
        folder: empty folder, for data sets that are written.
        samples: folder of the samples.
    """
    frozen_set = SETS[name]
    root, lists = frozen_set.make(folder, samples)
    with suite.data_sets_opened_once():
        return {
            f"{name} {_key(task)}": value(suite.draw(frozen_set.dataset, root, lists, dict(task)))
            for task in _tasks(frozen_set)
        }


def _tasks(frozen_set: FrozenSet) -> Iterator[Mapping[str, Any]]:
    """List the tests of a data set: arguments of `fsbench.load_test`."""
    drop = {"drop_small": True} if frozen_set.drop_small else {}
    usual = (suite.CLASSIFICATION,) if frozen_set.classification else suite.protocol_names()
    for protocol in frozen_set.protocols or usual:
        most = CAPPED.get(protocol, frozen_set.most)
        capped = {} if most is None else {"episodes": most}
        for fold in frozen_set.folds:
            for task in frozen_set.tasks:
                yield {"protocol": protocol, "fold": fold} | capped | task | drop
    yield from frozen_set.settings
    if frozen_set.atlas:
        for row in suite.atlas_names():
            for shot in (1, 5):
                yield {"protocol": row, "fold": 1, "shot": shot}


def _key(task: Mapping[str, Any]) -> str:
    return " ".join([task["protocol"], *(f"{key}={value}" for key, value in task.items() if key != "protocol")])


def value(drawn: suite.DrawnTest | str) -> str:
    """Return the frozen value of a test: number of episodes and both hashes, or the refusal."""
    if isinstance(drawn, str):
        return drawn
    found = hashlib.sha256()
    for episode in drawn.episodes:
        found.update(compact(episode).encode() + b"\n")
    return f"{len(drawn.episodes)} {drawn.sha256[:DIGITS]} {found.hexdigest()[:DIGITS]}"
