"""Folds, test, scores and preparation of abdominal scans (alpnet.md §1 to §3, §6.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fsbench.data.volumes import fold_scans, slice_name
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.indexes.volumes import Volumes
from fsbench.datamodules.prepare.volumes import patient_mask, renumbered
from tests.goldens.declared import Kind, Results

DATASETS: dict[str, type[Volumes]] = {"CHAOST2": ChaosT2, "SABS": Sabs}


def folds(chaost2_pids: Sequence[int], sabs_pids: Sequence[int], nsup: int) -> Results:
    out: dict[str, Any] = {}
    for name, ids in (("CHAOST2", chaost2_pids), ("SABS", sabs_pids)):
        scans = [str(one) for one in sorted(ids)]
        out[name] = []
        for fold in range(5):
            found = fold_scans(scans, DATASETS[name].starts, fold, nsup)
            out[name].append(
                {
                    "val": [*found.queries, *found.supports],
                    "last": list(found.supports),
                    "train": list(found.training),
                }
            )
    return out


KINDS = {"alpnet_folds": Kind(folds)}
