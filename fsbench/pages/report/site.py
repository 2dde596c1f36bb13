"""Write a report's folder: beside its place first, then moved there whole, never over anything but a report."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files import write_text
from fsbench.base.files.folders import check_free, replacing_folder
from fsbench.pages.report.atlas.runs import has_published, with_runs
from fsbench.pages.report.collect import Study, collect, read_runs, select_methods
from fsbench.pages.report.explorer.write import ExplorerOptions, write_explorer
from fsbench.pages.report.pages import Pages
from fsbench.pages.report.workers import workers
from fsbench.records.grouping import all_runs
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.published.scores import PublishedScore
from fsbench.results.rows.scoring import Measure
from fsbench.runner.config.shared_parts import SharedParts
from fsbench.runner.papers.files import papers
from fsbench.runner.papers.results import RowResult, results_in_block

MARK = "fsbench-report.json"
"""File by which a folder is known to be a report."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report contains, and where it is written.

    Attributes:
        runs: Folders of runs.
        out: Folder of the report.
        metrics: Names of the scores to show, the one that ranks methods first; None for those of the protocol.
        explorer: How many episodes and images the explorer (page of single episodes) of each test contains.
        most: Largest number of methods that are compared in pairs; None for about 20.
        command: The command line that makes the report, to show on its pages.
        methods: Names of the methods to include; all if empty.
        measure: Takes a run and measures on its predictions what scores beyond pixel counts need; must be picklable.
        rank_all: Whether methods are ranked together whatever their training conditions.
    """

    runs: Sequence[Path]
    out: Path
    metrics: Sequence[str] | None
    explorer: ExplorerOptions
    most: int | None
    command: str
    methods: Sequence[str] = ()
    measure: Measure | None = None
    rank_all: bool = False


def write_report(
    options: ReportOptions, published: Sequence[PublishedScore], report: Callable[[str], None]
) -> list[str]:
    """Write a report on runs as HTML pages.

    Args:
        options: What the report contains, and where it is written.
        published: Published scores, to compare with the measured ones.
        report: Called with lines of text about progress.

    Returns:
        Messages about runs that are left out.

    Raises:
        SettingsError: there is no run, a requested method has no run, or `options.out` holds other files.
    """
    out = Path(os.path.realpath(options.out))  # a symbolic link stays; its target is replaced
    check_free(out, MARK, "report")
    records, refused = read_runs(options.runs)
    if not records:
        folders = ", ".join(map(str, options.runs))
        none = f"no finished run in {folders}; make one with: make bench"
        raise SettingsError(*(refused or [none]))
    records = select_methods(records, options.methods)
    with replacing_folder(out, MARK, "report") as folder, workers(len(records)) as pool:
        studies = collect(records, options.metrics, pool, published, options.most, options.measure, options.rank_all)
        atlas = with_runs(shipped_atlas(), studies) if has_published(studies) else None
        shared = SharedParts()
        pages = Pages(folder, studies, options.command, refused, _paper_results(studies, published), atlas)
        for study in studies:
            pages.folder(study).mkdir()
            missing: Sequence[str] = ()
            if study.protocol.has_masks:
                missing = write_explorer(study, pages.folder(study), options.explorer, report, shared)
            pages.study(study, missing)
        pages.index()
        pages.curves()
        pages.papers()
        pages.atlas()
        write_text(folder / MARK, json.dumps({"made by": options.command, "runs": len(records)}) + "\n")
    return refused


def _paper_results(studies: Sequence[Study], published: Sequence[PublishedScore]) -> list[RowResult]:
    """Compare the runs of all studies with the rows of papers that they stand for, in the order of papers."""
    found, known = [], papers()
    for study in studies:
        runs = {label: all_runs(by_fold) for label, by_fold in study.methods.items()}
        found += results_in_block(known, study.block, runs, published)
    tables = [(name, table) for name, paper in known.items() for table in paper.tables]
    return sorted(found, key=lambda result: tables.index((result.row.paper, result.row.table)))
