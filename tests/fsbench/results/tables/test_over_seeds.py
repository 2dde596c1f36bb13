"""Means over the seeds of a test: of all that its authors take, or none."""

from statistics import stdev

from fsbench.protocols.reading import load_protocol
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.over_seeds import means_over_seeds
from fsbench.scores.estimate import Estimate
from fsbench.scores.trivial import TRIVIAL
from tests.fsbench.results.scored import scored


def block(scores, folds=1):
    rows = [row for line, value in scores.items() for row in scored(*line, {"mIoU": Estimate(value, 0, 100)})]
    return Block("a test", rows, [], ("mIoU",), folds=folds)


def test_a_method_with_all_seeds_has_a_mean_and_others_say_what_they_lack():
    blocks = {
        seed: block({("a", "all"): 40 + seed, (TRIVIAL[0], "all"): 9} | ({("b", "all"): 50} if seed else {}))
        for seed in (0, 1, 2)
    }
    found = means_over_seeds(blocks, (0, 1, 2))
    assert found == [
        "a, mean ± standard deviation over test seeds 0, 1, 2: mIoU 41.00 ± 1.00",
        "the protocol's result is the mean over test seeds 0, 1, 2. Not run yet: seeds 0 of b (--test-seed)",
    ]
    (line,) = means_over_seeds({1: blocks[1]}, (0, 1, 2))
    assert line.endswith("Not run yet: seeds 0, 2 of a, b (--test-seed)")


def test_of_several_folds_their_mean_counts():
    blocks = {seed: block({("a", "0"): 10, ("a", "1"): 30, ("a", "mean"): 20 + seed}, folds=2) for seed in (3, 5)}
    (line,) = means_over_seeds(blocks, (3, 5))
    assert line.endswith(f"mIoU 24.00 ± {stdev([23, 25]):.2f}")
    alone = {seed: block({("a", "0"): 10}, folds=2) for seed in (3, 5)}
    assert means_over_seeds(alone, (3, 5)) == []


def test_protocols_whose_authors_average():
    seeds = {
        name: load_protocol(name).draw.averaged_seeds
        for name in ("cdfss", "cdfss_ifa", "hdmnet", "isaid", "isaid_r2net")
    }
    assert seeds == {
        "cdfss": (), "cdfss_ifa": (0, 1, 2, 3, 4), "hdmnet": (510, 365, 382, 322, 988, 98, 742, 17, 595, 106),
        "isaid": (), "isaid_r2net": (538, 124, 799, 809, 712),
    }  # fmt: skip
