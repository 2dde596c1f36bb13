"""Parts of the variance: known ones of a balanced design, unbiased ones of any, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy import stats

from fsbench.scores.support_variance import COMPONENTS, Cells, variance_components


def drawn_cells(seed, *, classes=3, queries=40, supports=25, draws=6, deviations=(20, 8, 12), bounded=False):
    """Draw scores with these standard deviations of query, support and interaction, half of a query's from its image.

    Returns the cells, and the variance of the supports that there are.
    """
    rng = np.random.default_rng(seed)

    def deviates(*shape):
        if bounded:  # most near both ends, as IoUs are
            return (rng.beta(0.5, 0.5, shape) - 0.5) * 8**0.5
        return rng.standard_normal(shape)

    columns, variances = [], []
    for number in range(classes):
        images = rng.integers(queries * 2 // 3, size=queries)
        query = deviates(queries * 2 // 3)[images] * 0.5**0.5 + deviates(queries) * 0.5**0.5
        support = deviates(supports) * deviations[1]
        score = deviations[0] * query[:, None] + support + deviations[2] * deviates(queries, supports)
        chosen = rng.integers(supports, size=(queries, draws))
        row = np.repeat(np.arange(queries), draws)
        place = chosen.ravel()
        offsets = 1000 * number
        columns.append(
            [np.full(len(row), number), images[row] + offsets, row + offsets, place + offsets, score[row, place]]
        )
        variances.append(support.var(ddof=1))
    return Cells(*(np.concatenate(column) for column in zip(*columns, strict=True))), float(np.mean(variances))


def test_parts_of_a_balanced_design_are_those_of_the_analysis_of_variance():
    """Every query with every support: mean squares of the textbook's two-way table give the same parts."""
    rng = np.random.default_rng(1)
    queries, supports = 12, 7
    table = rng.normal(size=(queries, 1)) * 9 + rng.normal(size=supports) * 5 + rng.normal(size=(queries, supports)) * 3
    query, support = np.divmod(np.arange(table.size), supports)
    found = variance_components(Cells(np.zeros(table.size), query, query, support, table.ravel()))
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns + table.mean()
    square = (rest**2).sum() / ((queries - 1) * (supports - 1))
    expected = [rows.var(ddof=1) - square / supports, columns.var(ddof=1) - square / queries, square]
    assert [found.variances[name].value for name in COMPONENTS] == pytest.approx(expected, rel=1e-9)
    assert sum(share.value for share in found.shares.values()) == pytest.approx(1)
    assert found.choice.value == pytest.approx(expected[1] + expected[2])


def test_a_pair_that_was_drawn_twice_and_a_query_with_one_support_change_nothing():
    cells, _ = drawn_cells(3)
    once = variance_components(cells)
    twice = Cells(*(np.concatenate([values, values[:40]]) for values in vars(cells).values()))
    other_query = zip(vars(cells).values(), (0, 9999, 9999, 3, 50.0), strict=True)
    alone = Cells(*(np.append(values, value) for values, value in other_query))
    for other in (twice, alone):
        assert variance_components(other).variances == once.variances


def test_supports_that_serve_one_query_each_leave_their_parts_together():
    cells, _ = drawn_cells(4)
    own = Cells(cells.stratum, cells.image, cells.query, np.arange(len(cells.score)), cells.score)
    found = variance_components(own)
    assert set(found.variances) == {"query"} and not found.shares and "support and interaction are one" in found.reason
    groups = [cells.score[cells.query == query] for query in np.unique(cells.query)]
    squares = sum(((scores - scores.mean()) ** 2).sum() for scores in groups)
    assert found.choice.value == pytest.approx(squares / sum(len(scores) - 1 for scores in groups))
    assert variance_components(Cells(*(values[:1] for values in vars(cells).values()))) is None


def test_intervals_leave_one_query_image_out_at_a_time():
    cells, _ = drawn_cells(5, classes=1, queries=30)
    whole = variance_components(cells)
    images = np.unique(cells.image)
    moved = {name: [] for name in COMPONENTS}
    for image in images:
        without = variance_components(Cells(*(values[cells.image != image] for values in vars(cells).values())))
        for name in COMPONENTS:
            moved[name].append(np.log(whole.variances[name].value / without.variances[name].value))
    for name, own in moved.items():
        square, fourth = (np.sum(np.power(own, power)) for power in (2, 4))
        half = stats.t.ppf(0.975, min(2 * square**2 / fourth, len(images) - 1)) * square**0.5
        found = whole.variances[name]
        assert (found.low, found.high) == pytest.approx((found.value * np.exp(-half), found.value * np.exp(half)))
        assert found.scope == "these supports" and found.queries == len(images)


def test_few_images_have_no_interval():
    found = variance_components(drawn_cells(6, classes=1, queries=8)[0])
    assert all(np.isnan(part.low) and part.scope == "none" for part in found.variances.values())


def coverage(simulations: int, **design) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean error of each part, relative to it, and the share of intervals that hold it, in percent."""
    held, errors = [], []
    query, _, interaction = design.get("deviations", (20, 8, 12))
    for seed in range(simulations):
        cells, of_supports = drawn_cells(seed, **design)
        found = variance_components(cells).variances
        truth = dict(zip(COMPONENTS, (query**2, of_supports, interaction**2), strict=True))
        held.append([found[name].low <= truth[name] <= found[name].high for name in COMPONENTS])
        errors.append([found[name].value / truth[name] - 1 for name in COMPONENTS])
    return np.mean(errors, 0), 100 * np.mean(held, 0)


def test_parts_are_unbiased():
    error, _ = coverage(60, queries=30)
    assert np.abs(error).max() < 0.08


@pytest.mark.slow(4)
@pytest.mark.parametrize("design", [{}, {"deviations": (20, 4, 12)}, {"bounded": True}])
def test_intervals_hold_the_parts_in_95_of_100_samples(design):
    error, held = coverage(600, **design)
    assert np.abs(error).max() < 0.02
    assert held.min() >= 93 and held.max() <= 99
