"""Lists, episodes, label maps and scores of iSAID-5i by the programs of GF-SAM, SDM and R2Net (isaid-protocol)."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.datamodules.datasets.isaid import Isaid, Isaid512
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.reading import load_segmentation
from tests.goldens.cases import Case
from tests.goldens.declared import Check, Kind, Parts, Results, Same, absolute
from tests.goldens.kinds.incontext import isaid_pairs, isaid_pool
from tests.goldens.meters import class_sums, episode_list, listed_pool, parse_pair, row_of, same_list, same_text


def _rows(episodes: Iterator[Episode], number: int) -> list[list[Any]]:
    """Return class id, query and supports of the first episodes."""
    return [row_of(episode) for episode in islice(episodes, number)]


def episodes(case: Case) -> Results:
    config, lists = case.config, case.data["lists"]
    fold, test = config["fold"], config["split"] == "test"
    chosen = [lists["val"][fold]] if test else [own for other, own in enumerate(lists["trn"]) if other != fold]
    pool = listed_pool([parse_pair(line) for own in chosen for line in own], "sequential")
    data = object.__new__(Isaid)  # its classes alone; there are no files
    expected = data.test_classes(fold) if test else data.train_classes(fold)
    drawn = one_stream("list of pairs", pool, shot=config["shot"], seed=config["seed"])
    return {
        "length": len(pool.pairs),
        "classes": [number - 1 for number in expected],
        "episodes": _rows(drawn, config["episodes"]),
    }


def official_episodes(case: Case, fold: int, shot: int, episodes: int) -> Results:
    pool = isaid_pool(fold)
    official = load_segmentation("isaid").draw.episode_count("isaid", len(pool.pairs))
    return {
        "episodes of a run": Same(min(official, episodes), len(case.data.splitlines())),
        **episode_list(case, pool, "list of pairs", shot, seed=0),
    }


def lists(case: Case) -> Parts:
    """All six lists against the checksums that ours are verified with."""
    for split, fold in ((split, fold) for split in ("trn", "val") for fold in range(3)):
        yield same_list("isaid", split, fold, isaid_pairs(case.data.splitlines(), split, str(fold)))
    yield same_text(case)


def sdm(case: Case, shot: int, episodes: int) -> Results:
    pool = listed_pool([parse_pair(line) for line in case.data["list"]], "sequential")
    seed = load_segmentation("isaid_sdm").draw.seed
    assert seed is not None
    drawn = one_stream("list of pairs, shuffled when through", pool, shot=shot, seed=seed)
    return {"episodes": _rows(drawn, episodes)}


def r2net(case: Case, variant: Any, split: int, shot: int, seed: int, episodes: int) -> Results:
    """Episodes in one process, whose generator goes on from pass to pass."""
    data, dataset = case.data, object.__new__(Isaid512)  # its classes alone; there are no files
    dataset.division = variant
    classes = dataset.test_classes(split)
    images_of = {int(number): names for number, names in data["class_lists"].items()}
    pairs = [(name, classes[0]) for name in data["queries"]]
    pool = Pool(pairs, images_of, classes, "image_first", data["present"].__getitem__)
    drawn = islice(one_stream("image then class", pool, shot=shot, seed=seed), episodes)
    found = [[e.query_class, e.query, list(reversed(e.supports[0]))] for e in drawn]
    return {"fold_classes": classes, "episodes": found}


def frame(size: int, class_number: int, label: np.ndarray, support_label: np.ndarray) -> Results:
    maps, support = (resize_labels(way_labels(given, [class_number]), size, size) for given in (label, support_label))
    return {"out.mask": maps == 1, "out.ignore": maps == VOID, "out.support_mask": support == 1}


def metric(protocol: str) -> Check:
    """Make a check of mIoU and FB-IoU of label maps with all classes, by a protocol's rule for void."""

    def results(fold: int, pred: Tensor, label: np.ndarray, class_id: Tensor) -> Results:
        numbers = class_id.tolist()
        maps = zip(numbers, label.astype(np.uint8), strict=True)
        truths = torch.from_numpy(np.stack([way_labels(labels, [number + 1]) for number, labels in maps]))
        void = load_segmentation(protocol).counting.void
        return {"out.": class_sums(pred, truths, [number - 5 * fold for number in numbers], 5, void).score_rows}

    return results


KINDS = {
    "isaid_episodes": Kind(episodes),
    "isaid_episodes_official": Kind(official_episodes),
    "isaid_lists": Kind(lists),
    "isaid_episodes_sdm": Kind(sdm),
    "isaid_episodes_r2net": Kind(r2net),
    "isaid_frame": Kind(frame),
    "isaid_metric_gfsam": Kind(metric("isaid"), {"": absolute(1e-3)}),
    "isaid_metric_sdm": Kind(metric("isaid_sdm"), {"": absolute(1e-8)}),
    "isaid_metric_r2net": Kind(metric("isaid_r2net"), {"": absolute(1e-8)}),
}
