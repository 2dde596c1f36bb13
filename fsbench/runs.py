"""`fsbench.load_runs`: finished runs, their tables, comparisons and reports. The command line calls these, too."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import SettingsError, known_names
from fsbench.networks.weights.table import backbone_data
from fsbench.protocols.reading import askable_metrics, metric_named, metric_names
from fsbench.records.grouping import Trainings, all_runs
from fsbench.records.record import Record, finished_records, leave_out_damaged
from fsbench.results.comparison.compare import Asked, Comparing, compare_tests
from fsbench.results.notebook import Differences, Table
from fsbench.results.published.scores import PublishedScore
from fsbench.results.rows.comparable import ComparedTest, Methods, compared_tests, label_methods
from fsbench.results.rows.parts import PART_KINDS
from fsbench.results.rows.row import ALL, CLASS, FOLD, OBJECTS, SIZE, ResultRow, rows_frame
from fsbench.results.rows.scoring import Request, correct
from fsbench.results.studies.annotations.losses import AnnotationTable, annotation_tables
from fsbench.results.studies.sweep.axes import AXES
from fsbench.results.studies.sweep.curves import CurveTable, curve_tables
from fsbench.results.studies.sweep.objects import object_tables
from fsbench.results.tables.breakdowns import BREAKDOWNS, SINGLE
from fsbench.results.tables.table import build_blocks
from fsbench.runner.evaluation.result import Result, measure_for

if TYPE_CHECKING:
    import polars as pl

Words = str | Sequence[str]
"""Names, or one text with commas between them."""
COMPARED_BY = (FOLD, *PART_KINDS)
"""Breakdowns of a comparison."""


def load_runs(folder: str | Path, *folders: str | Path) -> "Runs":
    """Open the finished runs in folders.

    Args:
        folder: folder of runs, or of one run.
        *folders: further ones; a run that is in several is taken once.

    Returns:
        The runs; damaged ones are left out, and `left_out` says why.

    Raises:
        RecordError: a folder is not there, or every run is damaged.
        SettingsError: there is no finished run.

    Examples:
        >>> import fsbench
        >>> test = fsbench.load_test("demo", protocol="pfenet", episodes=5)
        >>> for name, least in (("light", 128), ("dark", 64)):
        ...     model = lambda episode: episode.query.mean(-1) > least
        ...     _ = fsbench.evaluate(model, test, name=name, runs="compared", progress=False)
        >>> runs = fsbench.load_runs("compared")
        >>> runs
        2 runs of dark, light in compared
        >>> runs["dark"].name
        'dark'
        >>> runs.table(trivial=False).frame["method"].to_list()
        ['dark', 'light']
        >>> runs.compare("dark", "light", metrics="mIoU").frame.select("method", "minus", "metric").rows()
        [('dark', 'light', 'mIoU')]
        >>> runs.results("mIoU", "size").filter(part_kind="size")["part"].unique(maintain_order=True).to_list()
        ['0-5', '5-10', '10-15', '>15']
    """
    runs = Runs([Path(one).expanduser() for one in (folder, *folders)])
    _ = runs.records
    return runs


class Runs:
    """Finished runs.

    `len(runs)`, `for result in runs`, and `runs["name"]` by a method's or a folder's name.

    Args:
        folders: the folders of runs, or of one run each.

    Attributes:
        folders: the folders of the runs.
        left_out: messages about damaged runs, which are left out.
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = list(folders)
        self.left_out: list[str] = []

    @cached_property
    def records(self) -> list[Record]:
        """Records of the runs, in the order of their folders."""
        records, refused = finished_records(self.folders)
        self._leave_out(refused)
        return records

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Result]:
        return map(Result, self.records)

    def __getitem__(self, name: str) -> Result:
        """Return the run of a method, or of a folder's name.

        Raises SettingsError if there is none, or there are several runs of that method.
        """
        found = [record for record in self.records if name in (record.run.id, record.path.name)]
        found = found or [record for record in self.records if record.run.identity.method.name == name]
        if not found:
            raise SettingsError(f"there is no run of {name}{known_names(name, self._methods)}")
        if len(found) > 1:
            ids = ", ".join(record.run.id for record in found)
            raise SettingsError(f"there are {len(found)} runs of {name}; expected the name of one: {ids}")
        return Result(found[0])

    def table(
        self,
        metrics: Words | None = None,
        by: Words = (),
        *,
        published: bool = False,
        trivial: bool = True,
        rank_all: bool = False,
        complete: bool = False,
    ) -> Table:
        """Build the tables of the runs, one for each test, as `fsbench table` does.

        Args:
            metrics: scores to show (see `fsbench list`), the first ranks; those of the protocol unless given.
            by: breakdowns in full: "fold", "size", "class", "cost", "card"; or "all". And "trainings", which shows each
                training of a method below its mean.
            published: reported figures beside the measured ones.
            trivial: rows of the answers that need no model.
            rank_all: rank rows together that were told different things, with their marks.
            complete: have object sizes and cards in the blocks whatever `by` is, as CSV and JSON need.

        Raises:
            SettingsError: a score or a breakdown is unknown.
            RecordError: no run is sound.
        """
        names, parts = asked_metrics(metrics), _breakdowns(by, (*BREAKDOWNS, SINGLE, "all"))
        self._check(names, parts)
        reported: Sequence[PublishedScore] = ()
        if published:
            from fsbench.runner.papers.results import published_scores  # with the configuration of every run

            reported = published_scores()
        every = "all" in parts
        asked: dict[str, Any] = {
            "by": (SIZE, CLASS) if every or CLASS in parts else (SIZE,),
            "trivial": trivial,
            "metrics": names,
            "published": reported,
            "measure": measure_for(names or ()),
            "rank_all": rank_all,
        }
        if every or complete or "card" in parts:
            asked["backbone_data"] = backbone_data()
        refused: list[str] = []
        blocks = leave_out_damaged(self.records, refused, lambda sound: build_blocks(sound, **asked))
        self._leave_out(refused)
        return Table(blocks, parts)

    def results(
        self, metrics: Words | None = None, by: Words = (), *, minus: str | None = None, trivial: bool = False
    ) -> "pl.DataFrame":
        """Return every score as a row of a data frame and, on request, every difference.

        Args:
            metrics: scores; those of each protocol unless given.
            by: parts that have rows of their own, too: "size", "class", "presence". Or the rows of what
                `fsbench table --by` shows: one or several of "shots", "ways", "side" and "kept"; "objects"; or
                "annotation".
            minus: "all" for the differences of every two methods of a test; the label of a method for those to it.
            trivial: rows of the answers that need no model; there are none of shots and the like.

        Returns:
            A frame with the columns of `fsbench.results.rows.row.COLUMNS`; a number that does not exist is null.
            The p of all differences are corrected together. With `minus`, methods have the labels of `compare`, also
            in scores: runs of one method in several folders are told apart by these.

        Raises:
            RecordError: no run is sound.
            SettingsError: a score or a breakdown is unknown, no test has the method `minus`, breakdowns do not go
                together, or no runs differ in what is asked for.
        """
        names, parts = asked_metrics(metrics), _breakdowns(by, (*PART_KINDS, *AXES, OBJECTS, "annotation"))
        self._check(names, parts)
        if not PART_KINDS.keys() >= set(parts):
            request = Request(tuple(names or ()), measure=measure_for(names or ()))
            left_out: list[str] = []
            found = leave_out_damaged(self.records, left_out, lambda sound: _rows_by(sound, parts, request, minus))
            self._leave_out(left_out)
            return rows_frame(found)
        measure = measure_for(names or ())
        asked: dict[str, Any] = {"by": parts, "trivial": trivial}
        if minus is not None:
            asked["label"] = partial(label_methods, folders=self.folders)
        refused: list[str] = []
        blocks = leave_out_damaged(
            self.records, refused, lambda sound: build_blocks(sound, metrics=names, measure=measure, **asked)
        )
        rows = [row for block in blocks for row in block.rows]
        if minus is not None:
            tests = compared_tests(self.folders, refused=refused)
            baseline = None if minus == ALL else minus
            for comparison in compare_tests(tests, Comparing(names, parts, baseline, measure)):
                rows += comparison.rows
        self._leave_out(refused)
        return rows_frame(rows)

    def compare(
        self,
        *methods: str,
        metrics: Words | None = None,
        by: Words = (),
        folds: Sequence[int] = (),
        baseline: str | None = None,
        rank_all: bool = False,
        effect: float = 1.0,
        margin: float | None = None,
    ) -> Differences:
        """Compare methods on the same episodes, as `fsbench compare` does.

        Args:
            *methods: names of methods, of runs, or labels of tables; all unless given.
            metrics: scores; those of the protocol unless given.
            by: breakdowns: "fold", "size", "class", "presence" (whether the query shows the way).
            folds: numbers of folds; all unless given.
            baseline: method that every other one is compared with.
            rank_all: rank methods together that were told different things.
            effect: difference in points that a larger test is to find.
            margin: say which methods are equivalent within so many points; None says of none.

        Raises:
            RecordError: the runs are not on the same episodes.
            SettingsError: there are not two methods, a name is unknown, or `effect` or `margin` is not above 0.
        """
        parts, names = _breakdowns(by, COMPARED_BY), asked_metrics(metrics)
        comparing = Comparing(names, parts, baseline, measure_for(names or ()), rank_all, Asked(effect, margin))
        refused: list[str] = []
        tests = compared_tests(self.folders, folds, refused)
        self._leave_out(refused)
        return Differences(compare_tests(_chosen(tests, methods), comparing))

    def report(
        self,
        out: str | Path,
        *,
        metrics: Words | None = None,
        methods: Words = (),
        gallery: int = 0,
        photos: bool = True,
        photo_side: int = 320,
        photo_budget: int = 64,
        most: int | None = None,
        rank_all: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> Path:
        """Write the pages of the runs, as `fsbench report` does.

        Args:
            out: folder of the pages; a report there is replaced.
            metrics: scores, the first ranks; those of the protocol unless given.
            methods: names of the only methods that are shown.
            gallery: episodes predicted again for each two methods, for masks of runs that kept no predictions.
            photos: have images in the pages, which are then not to be published.
            photo_side: longer side of an image in pixels.
            photo_budget: MiB of images for a table at most.
            most: methods in the matrix, the best; about 20 unless given.
            rank_all: rank rows together that were told different things.
            say: gets lines of progress.

        Returns:
            The first page.

        Raises:
            SettingsError: there is no run, none of a method that is named, or `out` holds something else.
        """
        from fsbench.pages.report.explorer.write import ExplorerOptions
        from fsbench.pages.report.site import ReportOptions, write_report
        from fsbench.runner.papers.results import published_scores  # with the configuration of every run

        out, asked, names, only = Path(out), _words(metrics or ()), asked_metrics(metrics), _words(methods)
        words = ["fsbench", "report", *map(str, self.folders), "--out", str(out)]
        words += ["--metrics", ",".join(asked)] if asked else []
        words += ["--gallery", str(gallery)] if gallery else []
        words += [] if photos else ["--no-photos"]
        words += ["--photo-side", str(photo_side)] if photo_side != 320 else []
        words += ["--photo-budget", str(photo_budget)] if photo_budget != 64 else []
        words += ["--compare", str(most)] if most is not None else []
        words += ["--method", ",".join(only)] if only else []
        words += ["--rank-all"] if rank_all else []
        options = ReportOptions(
            self.folders,
            out,
            names,
            ExplorerOptions(gallery, photos, photo_side, photo_budget * 2**20),
            most,
            shlex.join(words),
            only,
            measure_for(names or ()),
            rank_all,
        )
        self._leave_out(write_report(options, published_scores(), say or (lambda line: None)))
        return out / "index.html"

    @property
    def _methods(self) -> list[str]:
        return list(dict.fromkeys(record.run.identity.method.name for record in self.records))

    def _check(self, metrics: Sequence[str] | None, by: Sequence[str]) -> None:
        """Raise SettingsError for what the only protocol of the runs lacks; of several, one's table leaves it out."""
        protocols = {record.protocol.task: record.protocol for record in self.records}
        if len(protocols) == 1:
            (protocol,) = protocols.values()
            protocol.check_breakdowns(by)
            known = {metric.name for metric in askable_metrics(protocol)}
            if metrics is not None and not known & set(metrics):
                protocol.check_metrics(metrics, ",".join(metrics))

    def _leave_out(self, messages: Sequence[str]) -> None:
        self.left_out = list(dict.fromkeys([*self.left_out, *messages]))

    def __repr__(self) -> str:
        left = f"; {len(self.left_out)} left out, see .left_out" if self.left_out else ""
        return f"{len(self)} runs of {', '.join(self._methods)} in {', '.join(map(str, self.folders))}{left}"

    def _repr_html_(self) -> str:
        """Return the tables of the runs, for notebooks."""
        return f"{self.table()._repr_html_()}<div>{escape(repr(self))}</div>"


def _rows_by(records: Sequence[Record], by: Sequence[str], asked: Request, minus: str | None) -> list[ResultRow]:
    """Return the scores of methods at the values of a setting, and the differences that `minus` asks for.

    The p of these differences are corrected together.
    """
    tables: Sequence[CurveTable | AnnotationTable]
    if set(by) <= set(AXES):
        tables = curve_tables(records, by, asked)
    elif list(by) == [OBJECTS]:
        # the data sets: seconds, which other numbers do without
        from fsbench.pages.explain.query_objects import query_objects

        tables = object_tables(records, query_objects, asked)
    elif list(by) == ["annotation"]:
        tables = annotation_tables(records, asked)
    else:
        raise SettingsError(f"by is {', '.join(by)}, which do not go together; expected one of them at a time")
    rows = [row for table in tables for row in table.rows if row.metric in table.metrics]
    scores, differences = ([row for row in rows if bool(row.minus) == is_minus] for is_minus in (False, True))
    if minus is None:
        return scores
    known = dict.fromkeys(name for row in differences for name in (row.method, row.minus))
    if minus not in (ALL, *known):
        raise SettingsError(f"no method '{minus}' to compare with{known_names(minus, known)}")
    if minus != ALL:
        turned = (row if row.minus == minus else row.reversed() for row in differences)
        differences = [row for row in turned if row.minus == minus]
    corrected = correct(differences, {table.title: table.metrics[0] for table in tables})
    return [*scores, *corrected]


def _words(names: Words) -> list[str]:
    """Return names, which may be one text with commas."""
    words = names.split(",") if isinstance(names, str) else names
    return [word.strip() for word in words if word.strip()]


def _breakdowns(by: Words, known: Sequence[str]) -> list[str]:
    """Return the names of breakdowns. Raises SettingsError for one that is not `known`."""
    parts = _words(by)
    for name in parts:
        if name not in known:
            raise SettingsError(f"unknown breakdown '{name}'{known_names(name, known)}")
    return parts


def asked_metrics(names: Words | None) -> list[str] | None:
    """Return names of scores, each followed by its companion; None if none were given.

    Raises SettingsError for unknown ones.
    """
    if names is None:
        return None
    listed = metric_names(",".join(_words(names)))
    return list(dict.fromkeys(name for each in listed for name in (each, metric_named(each).beside) if name))


def _chosen(tests: Sequence[ComparedTest], names: Sequence[str]) -> list[ComparedTest]:
    """Keep the methods of these names: labels, names of methods or of runs; all if there are no names.

    Tests with fewer than two of them are left out. Raises SettingsError for a name that no test has, and where no test
    has two of them.
    """
    if not names:
        return list(tests)
    chosen, known = [], set[str]()
    for test in tests:
        methods: Methods = {}
        for name in names:
            found = {label: runs for label, runs in test.methods.items() if _is_named(label, runs, name)}
            known |= {name} if found else set()
            methods |= found
        if len(methods) > 1:
            chosen.append(replace(test, methods=methods))
    for name in names:
        if name not in known:
            labels = list(dict.fromkeys(label for test in tests for label in test.methods))
            raise SettingsError(f"there is no run of {name}{known_names(name, labels)}")
    if not chosen:
        raise SettingsError(f"compare was given {', '.join(names)}: one method; expected two or more")
    return chosen


def _is_named(label: str, runs: Mapping[int, Trainings], name: str) -> bool:
    named = (word for run in all_runs(runs) for word in (run.run.identity.method.name, run.run.id, run.path.name))
    return name == label or name in named
