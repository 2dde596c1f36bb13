"""`fsbench why`: what parts a claimed figure and a run's own. No torch is needed."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.progress import track
from fsbench.base.terminal import text_width
from fsbench.doors.truths import open_truth
from fsbench.protocols.test import Test
from fsbench.records.description import title
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.tables.formats import text
from fsbench.results.tables.rescoring.recount import Progress
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.evidence import gather
from fsbench.results.why.explain import Cause, Explanation, explain
from fsbench.results.why.layout import Why, answer, as_values, to_sheet
from fsbench.results.why.next_steps import next_steps
from fsbench.results.why.row import claimed_row, mean_of_folds

Claimed = str | float
"""A figure as it is printed, whose last digit tells its rounding."""


class WhyAnswer:
    """Causes of the distance between a claimed figure and a run's own; `print(answer)` shows it.

    Args:
        why: the causes, ranked.

    Attributes:
        why: all of it.
    """

    def __init__(self, why: Why):
        self.why = why

    @property
    def explanation(self) -> Explanation:
        """The figures and the causes."""
        return self.why.explanation

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The causes, the first explains the distance best with the fewest words."""
        return self.explanation.causes

    @property
    def nothing(self) -> bool:
        """No word of the test explains the distance: it lies in the predictions."""
        return self.explanation.nothing

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        return answer(self.explanation)

    def as_values(self) -> dict[str, Any]:
        """Return everything as values of JSON, as `fsbench why --json` prints it."""
        return as_values(self.why)

    def __repr__(self) -> str:
        width, _ = text_width()
        return text([to_sheet(self.why)], width)

    def _repr_html_(self) -> str:
        """Return the answer and the causes, for notebooks."""
        return f"<pre>{escape(repr(self))}</pre>"


def why(
    records: Sequence[Record],
    claimed: Claimed | None = None,
    *,
    folds: Mapping[int, Claimed] | None = None,
    row: str | None = None,
    others: Iterable[Record] = (),
    root: str | Path | None = None,
    lists: Sequence[str | Path] = (),
    test: Test | None = None,
    progress: bool = True,
) -> WhyAnswer:
    """Recount a run under the rules of other tests, and name what parts its figure and a claimed one.

    Args:
        records: one run, or one of each fold, of a method on a test.
        claimed: the figure in percent; that of `row` unless given.
        folds: claimed figures of folds by their numbers, which sharpen the answer; those of `row` unless given.
        row: entry of the atlas that claims them, such as "hmnet/pascal-5i/resnet-50"; the conditions in which its test
            differs are weighed first.
        others: further runs, among which those are looked for that differ from the run in one thing: its checkpoint, a
            setting, the seed of its episodes, their number, their list, or episodes of base classes.
        root: folder of the data, for other sizes of comparison.
        lists: folders with official list files.
        test: of the runs, where it is at hand.
        progress: show how far it is.

    Raises:
        SettingsError: no figure is claimed, one is no percentage, the row is unknown, or the runs are not of one
            method and test.
        RecordError: the counts of a run are damaged.
    """
    own = one_method(records)
    first = own[0]
    claimed_by = None
    if row is not None:
        claimed_by = claimed_row(shipped_atlas(), row, first.header, first.run.identity.image_size)
    claim = _claim(claimed, folds, claimed_by.claim if claimed_by else None, row)
    numbers = [fold_of(record) for record in own]
    unknown = sorted(set(claim.folds) - set(range(first.header.folds)))
    if unknown:
        raise SettingsError(
            f"a figure of fold {unknown[0]} is claimed, and the test has folds 0 to {first.header.folds - 1}"
        )
    evidence = gather(
        own,
        partial(open_truth, root=root, lists=lists, test=test),
        list(others),
        claimed_by.sizes if claimed_by else (),
        _bar if progress else None,
    )
    further = list(evidence.spreads)
    if claim.mean is not None and evidence.run.is_part and not set(numbers) <= set(claim.folds):
        usual = mean_of_folds(shipped_atlas(), first.header.dataset, numbers, first.header.folds)
        further += [] if usual is None else [usual]
    expected = claimed_by.expected if claimed_by else ()
    found = explain(evidence.run, claim, expected, further, evidence.unanswered)
    runs = tuple(record.path.name for record in own)
    name = f"{first.run.identity.method.name} · fold {', '.join(map(str, numbers))} · {title(own)}"
    return WhyAnswer(Why(name, found, next_steps(own) if found.nothing else (), claimed_by, runs))


def one_method(records: Sequence[Record]) -> list[Record]:
    """Return runs of one method and test, one a fold, by ascending fold.

    Raises:
        SettingsError: there is none, or they are of several methods or tests, or two are of one fold.
    """
    if not records:
        raise SettingsError("there is no run to explain; expected one, or one of each fold")
    labels = [label for group in comparable(records) for label in variants(group)]
    if len(labels) > 1:
        raise SettingsError(
            f"found {len(labels)} methods or tests among {len(records)} runs ({', '.join(labels[:3])}); expected runs "
            "of one, at most one a fold; name their folders"
        )
    return sorted(records, key=fold_of)


def _claim(
    claimed: Claimed | None, folds: Mapping[int, Claimed] | None, of_row: Claim | None, row: str | None
) -> Claim:
    """Return the claimed figures: those that are given, then those of the row."""
    by_fold = {fold: Figure.parse(value) for fold, value in (folds or {}).items()}
    mean = None if claimed is None else Figure.parse(claimed)
    if of_row is not None and mean is None and not by_fold:
        return of_row
    if mean is None and not by_fold and row is not None:
        raise SettingsError(f"{row} has no mIoU of this number of ways and shots; name the claimed figure (--claimed)")
    return Claim(mean, by_fold)


def _bar(name: str) -> Progress:
    return lambda items: track(items, name, "episode")
