"""Pages and files of a report from its studies."""

import csv
import hashlib
import io
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fsbench import __version__, layout, render
from fsbench.compare import Comparison
from fsbench.compare_layout import lay_out as lay_out_comparison
from fsbench.consequences import LABELS, choices
from fsbench.files import write_text
from fsbench.protocol import load_protocol
from fsbench.report.collect import Study
from fsbench.report.costs import COSTS, costs_of, devices
from fsbench.report.curves import curves_of
from fsbench.report.episodes import IOU_MEANING
from fsbench.report.gallery import Pictures
from fsbench.report.matrix import cells
from fsbench.report.plots import cost_plot, curve_plot, heat_plot, size_plot
from fsbench.report.provenance import anchors, run_cards, table_command
from fsbench.report.views import class_heat, fold_heat, gallery_data, score_scale
from fsbench.scores import digits, sign, top
from fsbench.stats import Interval

TEMPLATES = Path(__file__).with_name("templates")


class Pages:
    """Writes into `folder`; names of files follow from numbers alone, never from what a record says."""

    def __init__(self, folder: Path, studies: Sequence[Study], command: str, refused: Sequence[str]):
        self.root = folder
        self.studies = studies
        self.environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        style, script = ((TEMPLATES / name).read_text() for name in ("style.css", "report.js"))
        self.common = {
            "style": Markup(style), "script": Markup(script), "style_hash": _hash(style), "script_hash": _hash(script),
            "command": command, "refused": refused, "version": __version__, "studies": studies,
        }  # fmt: skip
        self.environment.filters |= {
            "sign": sign,
            "top": top,
            "digits": digits,
            "figure": layout.figure,
            "place": _place,
            "level": _level,
            "bare": _bare,
        }

    def folder(self, study: Study) -> Path:
        return self.root / f"study-{study.number}"

    def index(self) -> None:
        best = {}
        for study in self.studies:
            metric = study.block.metrics[0]
            best[study.number] = [(r.method, r.scores[metric]) for r in study.shown_rows if metric in r.scores]
        self._write(self.root / "index.html", "index.html", up="", best=best)

    def study(self, study: Study, pictures: Pictures) -> None:
        folder, up = self.folder(study), "../"
        metric = study.block.metrics[0]
        sheet = layout.lay_out(study.block, ["size"])
        write_text(folder / "table.csv", render.render([study.block], "csv"))
        write_text(folder / "table.tex", render.render([study.block], "latex", ["size"]))
        plots = self._plots(study, metric)
        comparison, remark = study.pairing.result()
        if comparison is not None:
            words = lay_out_comparison(comparison)
            write_text(folder / "comparison.tex", render.latex([words]))
            write_text(folder / "comparison.csv", _csv([line for _, grid in words.parts for line in [*grid, []]]))
            if comparison.alike and len(comparison.methods) <= 30:
                plots["apart"] = self._apart(folder, comparison)
        published = next((grid for caption, grid in sheet.parts if caption == "reported beside measured"), [])
        header = study.records[0].header
        protocol = None if study.classifies else load_protocol(header["protocol"])
        self._write(
            folder / "index.html", "study.html", up=up, study=study, metric=metric, plots=plots,
            comparison=comparison, remark=remark, cells=cells, published=published,
            notes=sheet.notes, anchors=anchors(study), folds=fold_heat(study, metric),
            classes=class_heat(study, metric),
            scales={m: score_scale(study.block, m) for m in study.block.metrics},
            costs=costs_of(study, metric), cost_names=COSTS, devices=devices(study), protocol=protocol, labels=LABELS,
            choices=choices(protocol) if protocol else {}, table_command=table_command,
            manifests={r.header["fold"]: r.manifest_sha256 for r in study.records}, header=header,
        )  # fmt: skip
        self._write(folder / "runs.html", "runs.html", up=up, study=study, cards=run_cards(study))
        if study.classifies:
            return
        data, lines = gallery_data(study, pictures)
        write_text(folder / "episodes.csv", _csv(lines))
        self._write(
            folder / "gallery.html", "gallery.html", up=up, study=study, data=data, missing=pictures.missing,
            meaning=IOU_MEANING,
        )  # fmt: skip

    def _plots(self, study: Study, metric: str) -> dict[str, Markup]:
        made: dict[str, str] = {}
        costs = costs_of(study, metric)
        for kind in COSTS:
            if sum(cost.values.get(kind) is not None for cost in costs) > 0:
                made[f"cost-{kind}"] = cost_plot(costs, kind, metric, f"{study.number}{kind}")
        if any(metric in cell.scores for row in study.shown_rows for cell in row.by_size.values()):
            made["sizes"] = size_plot(study.shown_rows, metric, f"{study.number}sizes")
        curves = curves_of(study.methods)
        if curves:
            made["curves"] = curve_plot(curves, f"{study.number}curves")
        files = dict(made)
        for name, heat in (("folds", fold_heat(study, metric)), ("classes", class_heat(study, metric))):
            if heat.columns:
                plain = [[None if i is None else i.value for i in line] for line in heat.values]
                files[name] = heat_plot(heat.rows, heat.columns, plain, metric, f"{study.number}{name}")
                write_text(self.folder(study) / f"{name}.csv", _csv([["method", *heat.columns], *heat.lines()]))
        for name, svg in files.items():
            write_text(self.folder(study) / f"{name}.svg", svg)
        return {name: Markup(svg) for name, svg in made.items()}

    def _apart(self, folder: Path, comparison: Comparison) -> Markup:
        from fsbench.compare_layout import plot
        from fsbench.report.plots import themed

        plot(folder / "apart.svg", comparison)
        svg = themed((folder / "apart.svg").read_text()).replace("#ffffff", "none")
        svg = svg.replace("<svg ", '<svg fill="currentColor" ', 1)  # letters are shapes there
        write_text(folder / "apart.svg", svg)
        return Markup(svg)

    def _write(self, path: Path, template: str, **values: Any) -> None:
        page = self.environment.get_template(template).render(**self.common, **values)
        write_text(path, page)


def _hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [[render.word(cell) if isinstance(cell, str) else cell for cell in line] for line in lines]
    )
    return out.getvalue()


def _place(value: float, scale: tuple[float, float]) -> str:
    """Where a value lies on a scale, from 0 to 100."""
    low, high = scale
    return f"{100 * min(max((value - low) / (high - low), 0), 1):.1f}"


def _bare(word: str) -> str:
    """The number that a cell shows, without its interval; "" of other words."""
    found = re.fullmatch(r"([+-]?[\d.]+)( \[.*\])?", word)
    return found[1] if found else ""


def _level(interval: Interval | None, metric: str) -> str:
    """The class of a cell of a heat map: one of 11 colours."""
    return "none" if interval is None else f"h{round(10 * min(max(interval.value / top(metric), 0), 1))}"
