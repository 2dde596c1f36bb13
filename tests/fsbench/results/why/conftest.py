"""Runs whose counts are drawn, of any number of folds, and a run on the demo with stored masks."""

import numpy as np
import polars as pl
import pytest

import fsbench
from fsbench.results.why.rules import FoldCounts, RunCounts
from tests.fsbench.runs import some_header

CLASSES = 5


def drawn_fold(fold: int, episodes: int = 300, seed: int = 0, folds: int = 1) -> FoldCounts:
    """Draw the counts of a fold: objects of log-normal sizes, answers of a logistic quality, a band of void."""
    rng = np.random.default_rng((seed, fold))
    header = some_header(
        protocol="pfenet", version=1, dataset="pascal", fold=fold, folds=folds, empty=False, seed=321,
        class_ids=list(range(fold * CLASSES + 1, fold * CLASSES + CLASSES + 1)), requested=episodes,
        official_episodes=episodes,
    )  # fmt: skip
    image, support = rng.integers(0, episodes // 2, episodes), rng.integers(0, episodes // 2, episodes)
    number = np.array(header.class_ids)[image % CLASSES]
    truth = np.minimum(np.exp(rng.normal(9.3, 1.2, episodes)), 150_000).astype(int) + 40
    quality = 1 / (1 + np.exp(-rng.normal(0.6, 1.0, episodes) - 0.3 * (number % CLASSES)))
    hits = (truth * quality).astype(int)
    wrong = (truth * rng.exponential(0.25, episodes)).astype(int)
    void = (3 * truth**0.75).astype(int)
    on_void = (void * rng.uniform(0.2, 0.7, episodes)).astype(int)
    valid = np.full(episodes, 187_500) - void
    columns = {
        "tp": hits, "pred": hits + wrong, "gt": truth, "pred_void": on_void, "void": void, "valid": valid,
    }  # fmt: skip
    both = {name: np.repeat(values, 2) for name, values in columns.items()}
    frame = pl.DataFrame(
        {
            "episode": np.repeat(np.arange(episodes), 2),
            "slot": np.tile([0, 1], episodes),
            "class_id": np.stack([np.zeros(episodes, int), number], 1).ravel(),
            **both,
            "present": True,
            "decided": True,
            "score": 1.0,
            "query": [f"{fold}-{name}" for name in np.repeat(image, 2)],
            "supports": [[int(name)] for name in np.repeat(support, 2)],
        }
    )
    return FoldCounts(header, frame)


@pytest.fixture(scope="session")
def four_folds() -> RunCounts:
    return RunCounts([drawn_fold(fold, folds=4) for fold in range(4)])


@pytest.fixture(scope="session")
def one_fold() -> RunCounts:
    return RunCounts([drawn_fold(0)])


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """Return the result of a plain function on forty episodes of the demo."""
    test = fsbench.load_test("demo", protocol="pfenet", episodes=40)

    def near(episode):
        """Return the pixels whose colour is nearer to the support's object than to the rest of it."""
        shot = episode.supports[0][0]
        inside, outside = (shot.image[shot.mask == value].mean(0) for value in (1, 0))
        query = episode.query.astype(float)
        return ((query - inside) ** 2).sum(-1) < 0.7 * ((query - outside) ** 2).sum(-1)

    return fsbench.evaluate(near, test, name="near", runs=tmp_path_factory.mktemp("demo"), progress=False)
