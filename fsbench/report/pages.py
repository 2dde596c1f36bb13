"""Write the pages and files of a report."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fsbench import __version__
from fsbench.episodes.protocol import load_protocol
from fsbench.files import write_text
from fsbench.metrics.bootstrap import Interval
from fsbench.metrics.scores import METRICS
from fsbench.papers.files import read_paper
from fsbench.papers.layout import RESULT_NOTES, NumberedNotes, results_grid
from fsbench.papers.results import RowResult
from fsbench.report.collect import Study
from fsbench.report.costs import COSTS, costs_of, devices
from fsbench.report.curves import curves_of
from fsbench.report.episodes import IOU_MEANING
from fsbench.report.gallery import Gallery
from fsbench.report.matrix import matrix_cells
from fsbench.report.plots import cost_plot, curve_plot, heat_plot, size_plot, themed
from fsbench.report.provenance import anchors, run_cards, table_command
from fsbench.report.theme import TEMPLATES, content_hash, template_environment
from fsbench.report.views import HeatMap, class_heat_map, episode_lines, fold_heat_map, gallery_data, score_scale
from fsbench.tables import breakdowns, layout
from fsbench.tables import formats as render
from fsbench.tables.compare import Comparison
from fsbench.tables.compare_layout import plot as plot_differences
from fsbench.tables.compare_layout import to_sheet as comparison_to_sheet
from fsbench.tables.protocol_text import LABELS, choices
from fsbench.tables.summary import card_notes


class Pages:
    """Writes the pages of a report. File names follow from numbers alone, never from what a record says.

    Args:
        folder: Folder of the report.
        studies: The runs, by what may be compared.
        command: The command that makes the report.
        refused: Messages about runs that are left out.
        results: Measured beside reported, of the papers whose rows are there.
    """

    def __init__(
        self,
        folder: Path,
        studies: Sequence[Study],
        command: str,
        refused: Sequence[str],
        results: Sequence[RowResult] = (),
    ):
        self.root = folder
        self.results = results
        self.studies = studies
        self.environment = template_environment()
        style, script = ((TEMPLATES / name).read_text() for name in ("style.css", "report.js"))
        self.common = {
            "style": Markup(style), "script": Markup(script), "style_hash": content_hash(style),
            "script_hash": content_hash(script),
            "command": command, "refused": refused, "version": __version__, "studies": studies,
            "has_papers": bool(results),
        }  # fmt: skip
        self.environment.filters |= {
            "sign": lambda metric: METRICS[metric].sign,
            "top": lambda metric: METRICS[metric].maximum,
            "digits": lambda metric, percent=2: METRICS[metric].digits(percent),
            "figure": layout.figure,
            "place": _percent_of_scale,
            "level": _heat_class,
            "bare": _bare_number,
        }

    def folder(self, study: Study) -> Path:
        """Return the folder of a study's pages."""
        return self.root / f"study-{study.number}"

    def index(self) -> None:
        """Write the first page, with the best methods of every study."""
        best = {}
        for study in self.studies:
            metric = study.block.metrics[0]
            best[study.number] = [(r.method, r.scores[metric]) for r in study.shown_rows if metric in r.scores]
        self._write(self.root / "index.html", "index.html", up="", best=best)

    def papers(self) -> None:
        """Write the page of papers, if runs stand for any of their rows: a table for each table."""
        tables: dict[tuple[str, str], list[RowResult]] = {}
        for result in self.results:
            tables.setdefault((result.row.paper, result.row.table), []).append(result)
        shown = []
        for (name, number), results in tables.items():
            notes, paper = NumberedNotes(), read_paper(name)
            grid = results_grid(results, notes)
            caption = f"{paper.title}, table {number}: {paper.tables[number].caption}"
            shown.append({"name": name, "number": number, "caption": caption, "grid": grid, "notes": notes.lines()})
        if shown:
            self._write(self.root / "papers.html", "papers.html", up="", tables=shown, notes=RESULT_NOTES)

    def study(self, study: Study, gallery: Gallery) -> None:
        """Write a study's pages, tables and plots."""
        folder, up = self.folder(study), "../"
        metric = study.block.metrics[0]
        sheet = breakdowns.to_sheet(study.block, ["size", "card"])
        write_text(folder / "table.csv", render.render([study.block], "csv"))
        write_text(folder / "table.tex", render.render([study.block], "latex", ["size"]))
        plots = self._plots(study, metric)
        comparison, remark = study.pairing.result()
        if comparison is not None:
            words = comparison_to_sheet(comparison)
            write_text(folder / "comparison.tex", render.latex([words]))
            write_text(folder / "comparison.csv", _csv([line for _, grid in words.parts for line in [*grid, []]]))
            if comparison.alike and len(comparison.methods) <= 30:
                plots["apart"] = self._difference_plot(folder, comparison)
        published = next((grid for caption, grid in sheet.parts if caption == "reported beside measured"), [])
        header = study.records[0].header
        protocol = load_protocol(header["protocol"]) if study.task.has_masks else None
        self._write(
            folder / "index.html", "study.html", up=up, study=study, metric=metric, plots=plots,
            comparison=comparison, remark=remark, cells=matrix_cells, published=published,
            notes=sheet.notes, marks=study.block.marks, card_notes=card_notes(study.block),
            card_grid=next(grid for caption, grid in sheet.parts if caption == "cards"),
            anchors=anchors(study), folds=fold_heat_map(study, metric),
            classes=class_heat_map(study, metric),
            scales={m: score_scale(study.block, m) for m in study.block.metrics},
            costs=costs_of(study, metric), cost_names=COSTS, devices=devices(study), protocol=protocol, labels=LABELS,
            choices=choices(protocol) if protocol else {}, table_command=table_command,
            manifests={r.header["fold"]: r.manifest_sha256 for r in study.records}, header=header,
        )  # fmt: skip
        self._write(folder / "runs.html", "runs.html", up=up, study=study, cards=run_cards(study))
        if not study.task.has_masks:
            return
        write_text(folder / "episodes.csv", _csv(episode_lines(study)))
        self._write(
            folder / "gallery.html", "gallery.html", up=up, study=study, data=gallery_data(study, gallery),
            missing=gallery.missing,
            meaning=IOU_MEANING,
        )  # fmt: skip

    def _plots(self, study: Study, metric: str) -> dict[str, Markup]:
        """Write all plots as SVG files; returns those that stand on the study's page, by name."""
        plots: dict[str, str] = {}
        costs = costs_of(study, metric)
        for kind in COSTS:
            if sum(cost.values.get(kind) is not None for cost in costs) > 0:
                plots[f"cost-{kind}"] = cost_plot(costs, kind, metric, f"{study.number}{kind}")
        if any(metric in cell.scores for row in study.shown_rows for cell in row.by_size.values()):
            plots["sizes"] = size_plot(study.shown_rows, metric, f"{study.number}sizes")
        curves = curves_of(study.methods)
        if curves:
            plots["curves"] = curve_plot(curves, f"{study.number}curves")
        files = dict(plots)
        for name, heat in (("folds", fold_heat_map(study, metric)), ("classes", class_heat_map(study, metric))):
            if heat.columns:
                files[name] = heat_plot(heat.rows, heat.columns, _plain_values(heat), metric, f"{study.number}{name}")
                write_text(self.folder(study) / f"{name}.csv", _csv([["method", *heat.columns], *heat.lines()]))
        for name, svg in files.items():
            write_text(self.folder(study) / f"{name}.svg", svg)
        return {name: Markup(svg) for name, svg in plots.items()}

    def _difference_plot(self, folder: Path, comparison: Comparison) -> Markup:
        """Draw which methods are told apart."""
        plot_differences(folder / "apart.svg", comparison)
        svg = themed((folder / "apart.svg").read_text()).replace("#ffffff", "none")
        svg = svg.replace("<svg ", '<svg fill="currentColor" ', 1)  # letters are shapes there
        write_text(folder / "apart.svg", svg)
        return Markup(svg)

    def _write(self, path: Path, template: str, **values: Any) -> None:
        page = self.environment.get_template(template).render(**self.common, **values)
        write_text(path, page)


def _plain_values(heat: HeatMap) -> list[list[float | None]]:
    return [[None if score is None else score.value for score in scores] for scores in heat.values]


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [[render.word(cell) if isinstance(cell, str) else cell for cell in line] for line in lines]
    )
    return out.getvalue()


def _percent_of_scale(value: float, scale: tuple[float, float]) -> str:
    """Return where a value lies on a scale, from 0 to 100."""
    low, high = scale
    return f"{100 * min(max((value - low) / (high - low), 0), 1):.1f}"


def _bare_number(word: str) -> str:
    """Return the number that a cell shows, without its interval; "" for other words."""
    number = re.fullmatch(r"([+-]?[\d.]+)( \[.*\])?", word)
    return number[1] if number else ""


def _heat_class(interval: Interval | None, metric: str) -> str:
    """Return the CSS class of a cell of a heat map: one of 11 colors, or none."""
    return "none" if interval is None else f"h{round(10 * min(max(interval.value / METRICS[metric].maximum, 0), 1))}"
