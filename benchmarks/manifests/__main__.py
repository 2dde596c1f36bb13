"""Freeze the official PASCAL-5i episodes of every protocol and setting: `python -m benchmarks.manifests DATA_ROOT`.

Needs the label maps and the names of the images, not the images. The lists are derived from the label maps; a list
without the official checksum stops the program.
"""

import argparse
import sys
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.lists.official import OFFICIAL
from fsbench.protocols.reading import load_segmentation

FOLDER = Path(__file__).parent / "pascal"
TASKS = [
    *(("fscs", Task(fold, way, shot)) for fold in range(4) for way in (1, 2) for shot in (1, 5)),
    *(("fscs", Task(fold, 1, shot, empty=False)) for fold in range(4) for shot in (1, 5)),
    *(("fscs", Task(fold, 2, 1, f"{part}_augmented")) for fold in range(4) for part in ("partially", "fully")),
    *(("fscs", Task(fold, setting=size)) for fold in range(4) for size in SIZE_BINS),
    *((protocol, Task(fold, 1, shot)) for protocol in ("hsnet", "pfenet") for fold in range(4) for shot in (1, 5)),
]
"""(protocol, task) of the papers' tables."""


def file_of(protocol: str, task: Task) -> Path:
    """Return the file of the frozen episodes of a task."""
    setting = task.setting.replace("_", "-") + "-no-empty" * (not task.empty)
    return FOLDER / f"{protocol}-fold{task.fold}-{task.way}way{task.shot}shot-{setting}.jsonl.gz"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder VOC2012 with SegmentationClassAug")
    data = Pascal(parser.parse_args(argv).root, lists=[])
    FOLDER.mkdir(exist_ok=True)
    for protocol, task in TASKS:
        manifest = load_segmentation(protocol).manifest(data, task)
        if manifest.header.lists != OFFICIAL:
            raise DataError(f"the list of {protocol} {task} is {manifest.header.lists}; expected the official one")
        manifest.write(file_of(protocol, task))
        print(f"{file_of(protocol, task).name}  {manifest.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
