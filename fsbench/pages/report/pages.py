"""Write the pages and files of a report."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from fsbench.base.files import write_text
from fsbench.base.version import __version__
from fsbench.pages.look.theme import page_scripts, page_styles, template_environment
from fsbench.pages.report.analyses import Section, analysis_section
from fsbench.pages.report.atlas.page import render_atlas
from fsbench.pages.report.collect import Study
from fsbench.pages.report.costs import TIMED, devices, fewest_episodes, run_costs
from fsbench.pages.report.curves import read_curves
from fsbench.pages.report.differences import KINDS, bearing, thousandths, widest
from fsbench.pages.report.episodes import IOU_MEANING
from fsbench.pages.report.explorer.page import EXPLORER_PAGE, explorer_scripts, explorer_styles
from fsbench.pages.report.matrix import matrix_cells
from fsbench.pages.report.plots import adapt_to_theme, cost_plot, curve_plot, heat_plot, size_plot
from fsbench.pages.report.provenance import anchors, metric_arguments, run_cards, table_command
from fsbench.pages.report.scores import heat
from fsbench.pages.report.scores.front import fold_legend, front_table, mark_legend
from fsbench.pages.report.scores.leaderboard import build_leaderboard
from fsbench.pages.report.spread import cost_plot_gap, curve_plot_gap, size_plot_gap, size_scores
from fsbench.pages.report.views import episode_lines
from fsbench.protocols.reading import known_metrics, metric_named
from fsbench.records.grouping import all_runs
from fsbench.results.atlas.atlas import Atlas
from fsbench.results.comparison.compare import Comparison
from fsbench.results.comparison.layout import bars
from fsbench.results.comparison.layout import plot as plot_differences
from fsbench.results.comparison.layout import to_sheet as comparison_to_sheet
from fsbench.results.conclusions import p_in_words
from fsbench.results.costs import PLOTTED
from fsbench.results.pictures.palette import ERROR_NAMES
from fsbench.results.rows.row import CLASS, fold_in_words
from fsbench.results.sheets import cells, html, legend, names
from fsbench.results.sheets.data import csv_text, rows_csv
from fsbench.results.sheets.drawing import fold_words, row_fold_words
from fsbench.results.sheets.latex import latex, tex
from fsbench.results.studies.analyses import ANNOTATIONS, CURVES, SUPPORTS
from fsbench.results.studies.analysis import Analysis, T
from fsbench.results.studies.annotations.losses import AnnotationTable, annotation_tables, has_losses
from fsbench.results.studies.supports.sensitivity import SensitivityTable, sensitivity_tables
from fsbench.results.studies.sweep.axes import WORDS
from fsbench.results.studies.sweep.curves import CurveTable, found_tables
from fsbench.results.tables import breakdowns
from fsbench.results.tables.render import render
from fsbench.runner.papers.files import read_paper
from fsbench.runner.papers.results import RESULT_NOTES, RowResult, numbered, results_table
from fsbench.scores.trainings import Reach

TEMPLATES = Path(__file__).with_name("templates")


class Pages:
    """Writes the HTML pages of a report on runs. File names consist of numbers, never of texts in a record.

    Args:
        folder: Folder of the report.
        studies: The runs, in groups on the same test.
        command: The command line that makes the report, to show on its pages.
        refused: Messages about runs that are left out, to show on the first page.
        results: Measured scores, compared with the published scores of papers' rows on the same tests.
        atlas: Published scores, with the scores of these runs added; None if no scores are published on the runs' data
            sets.
    """

    def __init__(
        self,
        folder: Path,
        studies: Sequence[Study],
        command: str,
        refused: Sequence[str],
        results: Sequence[RowResult] = (),
        atlas: Atlas | None = None,
    ):
        self.root = folder
        self.results = results
        self.published = atlas
        self.studies = studies
        records = [record for study in studies for record in study.records]
        self.curve_tables = found_tables(records)
        self.environment = template_environment(TEMPLATES, EXPLORER_PAGE)
        self.common: dict[str, Any] = {
            "styles": page_styles(), "scripts": page_scripts(),
            "command": command, "refused": refused, "version": __version__, "studies": studies,
            "has_papers": bool(results), "has_atlas": atlas is not None, "has_curves": bool(self.curve_tables),
        }  # fmt: skip
        self.environment.filters |= {
            "sign": lambda metric: metric_named(metric).sign,
            "in_units": lambda metric: legend.in_units([metric]),
            "top": lambda metric: metric_named(metric).maximum,
            "digits": lambda metric, percent=2: metric_named(metric).digits(percent),
            "figure": cells.figure,
            "ends": cells.ends,
            "mark": cells.mark,
            "p_in_words": p_in_words,
            "end": cells.signed,
            "place": _percent_of_scale,
            "difference_level": heat.difference_level,
            "score_level": heat.score_level,
            "bearing": bearing,
            "fold_words": fold_in_words,
            "widest": widest,
            "table": html.table_html,
            "foot": legend.foot,
            "tex": tex,
            "th": html.head_html,
            "td": html.cell_html,
            "body": html.body_html,
            "written": cells.write_cell,
            "method_parts": _method_parts,
        }

    def folder(self, study: Study) -> Path:
        """Return the folder of a study's pages."""
        return self.root / f"study-{study.number}"

    def index(self) -> None:
        """Write the first page: each study's conclusions, then its best methods."""
        fronts = {study.number: front_table(study) for study in self.studies}
        self._write(self.root / "index.html", "index.html", up="", fronts=fronts)

    def papers(self) -> None:
        """Write the page that compares scores with papers, a table for each table of a paper, if there are any."""
        tables: dict[tuple[str, str], list[RowResult]] = {}
        for result in self.results:
            tables.setdefault((result.row.paper, result.row.table), []).append(result)
        shown = []
        for (name, number), results in tables.items():
            notes: list[str] = []
            paper = read_paper(name)
            caption = f"{paper.title}, table {number}: {paper.tables[number].caption}"
            table = results_table(results, notes, caption)
            shown.append({"name": name, "number": number, "results": table, "notes": numbered(notes)})
        if shown:
            self._write(self.root / "papers.html", "papers.html", up="", tables=shown, notes=RESULT_NOTES)

    def atlas(self) -> None:
        """Write the page of published scores, if there are any on the data sets of these runs."""
        if self.published is not None:
            page = render_atlas(self.environment, self.published, self.common | {"up": ""})
            write_text(self.root / "atlas.html", page)

    def curves(self) -> None:
        """Write the page of scores by number of shots, ways or the like, if runs differ only in such a number."""
        if self.curve_tables:
            shown = [
                (analysis_section(self.root, CURVES, table, f"curve{n}", f"curve-{n}-"), _curves_command(table))
                for n, table in enumerate(self.curve_tables, 1)
            ]
            write_text(self.root / "curves.csv", CURVES.write(self.curve_tables, "csv"))
            words = {kind: f"{each.name[0].upper()}{each.name[1:]}" for kind, each in PLOTTED.items()}
            self._write(self.root / "curves.html", "curves.html", up="", curves=shown, words=words, axes=WORDS)

    def study(self, study: Study, not_shown: Sequence[str] = ()) -> None:
        """Write the pages, tables and plots of a study; `not_shown` lists what its page of single episodes lacks."""
        folder, up = self.folder(study), "../"
        metric = study.block.metrics[0]
        sheet = breakdowns.to_sheet(study.block, ["fold", "size", "card"])
        write_text(folder / "table.csv", render([study.block], "csv"))
        write_text(folder / "table.tex", render([study.block], "latex", ["size"]))
        comparison, remark, _ = study.compared.result()
        classes = heat.class_heat_map(study, metric)
        plots, missing = self._plots(study, metric, classes)
        if comparison is not None:
            write_text(folder / "comparison.tex", latex([comparison_to_sheet(comparison)]))
            write_text(folder / "comparison.csv", rows_csv(comparison.rows))
            if comparison.alike and len(comparison.methods) <= 30:
                missing["apart"] = _undrawn(comparison)
                if not missing["apart"]:
                    plots["apart"] = self._difference_plot(folder, comparison)
        header = study.records[0].header
        supports, annotations = self._supports(study), self._annotations(study)
        scripts = page_scripts(TEMPLATES / "leaderboard.js", TEMPLATES / "differences.js")
        self._write(
            folder / "index.html", "study.html", up=up, study=study, metric=metric, plots=plots,
            comparison=comparison, remark=remark, cells=matrix_cells, published=breakdowns.reported(study.block),
            notes=[*sheet.notes, *legend.explain(sheet)], marks=study.block.marks,
            marks_meaning=mark_legend(study.block), folds_meaning=fold_legend(study.block),
            cards=breakdowns.cards(study.block), draws=study.draws,
            anchors=anchors(study), missing_plots=missing, drawn=plots, scripts=scripts,
            has_front=fewest_episodes(study) >= TIMED, has_cost_plots=any(f"cost-{kind}" in plots for kind in PLOTTED),
            costs=run_costs(study, metric), cost_figures=PLOTTED, devices=devices(study), protocol=study.protocol,
            table_command=table_command, all_runs=all_runs,
            has_trainings=Reach.OTHER in study.block.reaches.values(),
            manifests={r.header.fold: r.manifest_sha256 for r in study.records}, header=header,
            short=names.shorten(study.methods, (24, 34, 46)), many_names=_many_names,
            **self._leaderboard(study, comparison), **self._differences(study, classes),
            supports=supports, annotations=annotations, fold_words=_fold_words(comparison, supports, annotations),
        )  # fmt: skip
        self._write(folder / "runs.html", "runs.html", up=up, study=study, cards=run_cards(study))
        if not study.protocol.has_masks:
            return
        write_text(folder / "episodes.csv", csv_text(episode_lines(study)))
        self._write(
            folder / "explorer.html", "explorer.html", up=up, study=study, not_shown=not_shown, meaning=IOU_MEANING,
            error_names=ERROR_NAMES,
            styles=explorer_styles(self.common["styles"]), scripts=explorer_scripts(self.common["scripts"]),
        )  # fmt: skip

    def _supports(self, study: Study) -> Section | None:
        """Write what the choice of the supports does; None of runs with one draw of them."""
        if study.records[0].header.draws == 1:
            return None
        (table,) = sensitivity_tables(study.records)
        return self._analysis(study, SUPPORTS, [replace(table, draws=[])])  # which stand above the leaderboard

    def _annotations(self, study: Study) -> Section | None:
        """Write what weaker annotations cost; None if no method has runs with masks and others."""
        if not has_losses(study.records):
            return None
        return self._analysis(study, ANNOTATIONS, annotation_tables(study.records))

    def _analysis(self, study: Study, analysis: Analysis[T], tables: Sequence[T]) -> Section:
        """Write the plots and the CSV of the one table that a study has of an analysis."""
        (table,) = tables
        write_text(self.folder(study) / f"{analysis.name}.csv", analysis.write([table], "csv"))
        return analysis_section(self.folder(study), analysis, table, str(study.number))

    def _leaderboard(self, study: Study, comparison: Comparison | None) -> dict[str, Any]:
        """Return what the template of the leaderboard takes."""
        leaderboard = build_leaderboard(study, comparison)
        letters = {
            column.key: max(len(line.cells[i].letters) for line in leaderboard.lines("method"))
            for i, column in enumerate(leaderboard.columns, 1)
        }
        scales = {metric: heat.score_scale(study, metric) for metric in study.block.metrics}
        return {
            "leaderboard": leaderboard,
            "lettered": {key for key, longest in letters.items() if longest},
            "longest_letters": max(letters.values(), default=0),
            "scales": scales,
            "has_thin_lines": heat.has_thin_lines(study, [metric for metric, scale in scales.items() if scale]),
            "rough": [
                label
                for label in study.methods
                if any(
                    found.is_rough
                    for (method, _), of_line in study.block.trained.items()
                    if method == label
                    for found in of_line.values()
                )
            ],
        }

    def _differences(self, study: Study, classes: heat.HeatMap) -> dict[str, Any]:
        """Return what the template of differences takes."""
        metric, differences = study.block.metrics[0], study.compared.result().parts
        numbers = classes.numbers()
        known = numbers[~np.isnan(numbers)]
        span = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        scales = [heat.difference_scale(classes.differences(i)) for i in range(len(classes.methods))]
        asked = [word for kind in (KINDS if study.protocol.has_masks else (CLASS,)) for word in ("--by", kind)]
        folders = sorted({str(record.path) for record in study.records})
        return {
            "differences": differences, "kinds": KINDS, "classes": classes, "scales_by_baseline": scales,
            "score_range": span,
            "compare_command": shlex.join(["fsbench", "compare", *folders, *metric_arguments(study), *asked]),
            "less_is_better": " ".join(name for name, each in known_metrics().items() if each.sign < 0),
            "heat_data": {
                "methods": classes.methods, "metric": metric, "scores": thousandths(numbers), "scales": scales,
                "range": span, "sign": metric_named(metric).sign, "digits": metric_named(metric).digits(1),
                "unit": legend.in_units([metric]), "steps": heat.STEPS,
            },
        }  # fmt: skip

    def _plots(self, study: Study, metric: str, classes: heat.HeatMap) -> tuple[dict[str, Markup], dict[str, Any]]:
        """Write the plots that show something as SVG files.

        Returns:
            The plots by name, and in sentences why others are left out.
        """
        costs, curves, sizes = run_costs(study, metric), read_curves(study.methods), size_scores(study, metric)
        episodes = fewest_episodes(study)
        gaps = {kind: cost_plot_gap(costs, kind, metric, len(study.methods), episodes) for kind in PLOTTED}
        missing: dict[str, Any] = {"cost": list(dict.fromkeys(filter(None, gaps.values())))}
        missing |= {"sizes": size_plot_gap(sizes), "curves": curve_plot_gap(curves)}
        plots = {
            f"cost-{kind}": cost_plot(costs, kind, metric, f"{study.number}{kind}", has_front=episodes >= TIMED)
            for kind, gap in gaps.items()
            if not gap
        }
        if study.protocol.has_masks and not missing["sizes"]:
            plots["sizes"] = size_plot(sizes, metric, f"{study.number}sizes")
        if not missing["curves"]:
            plots["curves"] = curve_plot(curves, f"{study.number}curves")
        if classes.names:
            compared = len(classes.methods) > 1
            values = classes.differences(0) if compared else classes.numbers()
            scale = heat.difference_scale(values) if compared else None
            if not np.isnan(values).all():
                plots["classes"] = heat_plot(
                    classes.names, classes.methods, values.T, scale, metric, f"{study.number}classes"
                )
            rows = [row for row in study.block.shown_rows if row.part_kind == CLASS and row.metric == metric]
            write_text(self.folder(study) / "classes.csv", rows_csv(rows))
        for name, svg in plots.items():
            write_text(self.folder(study) / f"{name}.svg", svg)
        return {name: Markup(svg) for name, svg in plots.items()}, missing

    def _difference_plot(self, folder: Path, comparison: Comparison) -> Markup:
        """Draw which methods are told apart in the first metric."""
        of_metric = replace(comparison, title="", rows=next(iter(comparison.tables["all"].values())))
        plot_differences(folder / "apart.svg", [of_metric])
        svg = adapt_to_theme((folder / "apart.svg").read_text()).replace("#ffffff", "none")
        svg = svg.replace("<svg ", '<svg fill="currentColor" ', 1)  # letters are shapes there
        write_text(folder / "apart.svg", svg)
        return Markup(svg)

    def _write(self, path: Path, template: str, **values: Any) -> None:
        page = self.environment.get_template(template).render(**(self.common | values))
        write_text(path, page)


def _fold_words(comparison: Comparison | None, supports: Section | None, annotations: Section | None) -> dict[str, str]:
    """Name the folds that the figures of a study show, as their captions go on: ", fold 0"; "" without folds."""
    words = dict.fromkeys(("apart", "supports", "annotations"), "")
    if comparison is not None:
        words["apart"] = row_fold_words(row.fold for row in next(iter(comparison.tables["all"].values()), []))
    if supports is not None and isinstance(supports.table, SensitivityTable):
        words["supports"] = fold_words(supports.table.lines[0].folds)
    if annotations is not None and isinstance(annotations.table, AnnotationTable):
        words["annotations"] = row_fold_words([annotations.table.differences[0].fold])
    return {name: f", {each}" if each else "" for name, each in words.items()}


def _undrawn(comparison: Comparison) -> str:
    """Return why the first metric has no diagram that says what its table says; "" if it has."""
    rows = next(iter(comparison.tables["all"].values()))
    reasons = (bars([row for row in rows if row.fold == fold])[1] for fold in dict.fromkeys(row.fold for row in rows))
    return next(filter(None, reasons), "")


def _many_names(names: Collection[str]) -> bool:
    """Return True if the names of columns are to be written upwards."""
    return len(names) > 5 or (len(names) > 2 and max(map(len, names)) > 14)


def _curves_command(table: CurveTable) -> str:
    """Return the command that prints a table of curves."""
    runs = sorted({run for point in table.points for run in point.runs})
    return shlex.join(["fsbench", "table", *runs, "--by", table.axis])


def _percent_of_scale(value: float, scale: tuple[float, float]) -> str:
    """Return where a value lies on a scale, from 0 to 100."""
    low, high = scale
    return f"{100 * min(max((value - low) / (high - low), 0), 1):.1f}"


def _method_parts(label: str) -> tuple[str, str]:
    """Part the label of a method from the settings that tell variants apart, which it has in parentheses; "" for none.

    >>> _method_parts("emat (test seed 1)"), _method_parts("(majority)")
    (('emat', 'test seed 1'), ('(majority)', ''))
    """
    name, _, rest = label.partition(" (")
    return (name, rest[:-1]) if name and rest.endswith(")") else (label, "")
