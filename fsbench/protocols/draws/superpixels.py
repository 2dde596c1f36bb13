"""Superpixels of unlabelled slices as classes: the slices that a training on them draws from (alpnet.md §6.2)."""

from collections.abc import Sequence

from fsbench.data.volumes import VolumeData, slice_name
from fsbench.protocols.draws.whole_images import BACKGROUND
from fsbench.protocols.episode_rules.pools import Pool


def superpixel_pool(data: VolumeData) -> Pool:
    """Return the pool of all slices of a fold's training scans, without classes, for training on superpixels.

    Args:
        data: the data set as the fold sees it (`in_fold`), which tells the scans that no query or support is of.
    """
    return Pool(
        [(name, BACKGROUND) for scan in data.training_scans for name in data.slices(scan)], {}, (), "sequential"
    )


def slices_with_test_classes(
    data: VolumeData, fold: int, names: Sequence[str], all_at_once: bool = False
) -> frozenset[str]:
    """Return those slices among `names` that show a class tested in the fold; with `all_at_once` all such classes.

    SSL-ALPNet's program leaves the former out of training (setting 2), later programs the latter (scan-tests.md §6).
    """
    shown = [
        {slice_name(scan, z) for scan, slices in data.class_slices[number].items() for z in slices}
        for number in data.test_classes(fold)
    ]
    return frozenset(set.intersection(*shown) if all_at_once else set.union(*shown)).intersection(names)
