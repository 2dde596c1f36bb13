"""Analyses of finished runs: what the supports' choice, their annotation and numbers such as K do."""

from fsbench.results.sheets.drawing import ROW_NAME, most_lines
from fsbench.results.studies.analysis import Analysis
from fsbench.results.studies.annotations import layout as annotations_layout
from fsbench.results.studies.annotations import plot as annotations_plot
from fsbench.results.studies.annotations.losses import AnnotationTable
from fsbench.results.studies.supports import layout as supports_layout
from fsbench.results.studies.supports import plot as supports_plot
from fsbench.results.studies.supports.sensitivity import SensitivityTable
from fsbench.results.studies.sweep import layout as sweep_layout
from fsbench.results.studies.sweep import plot as sweep_plot
from fsbench.results.studies.sweep.curves import CurveTable

SUPPORTS = Analysis[SensitivityTable](
    "supports",
    supports_layout.to_sheet,
    supports_plot.panels,
    height=lambda table: 1.6 + 0.15 * (2 + most_lines(table.methods, ROW_NAME)) * len(table.methods),
    width=4.5,
    named_rows=True,
)
ANNOTATIONS = Analysis[AnnotationTable](
    "annotations",
    annotations_layout.to_sheet,
    annotations_plot.panels,
    height=lambda table: 1.5 + (0.65 + 0.15 * most_lines(table.methods, ROW_NAME)) * len(table.methods),
    width=7.0,
    named_rows=True,
)
CURVES = Analysis[CurveTable](
    "curves",
    sweep_layout.to_sheet,
    sweep_plot.panels,
    height=lambda table: (
        3.4 + 0.2 * most_lines([curve.method for curve in table.curves], sweep_plot.LEGEND_NAME) * len(table.curves)
    ),
    width=3.4,
    named_rows=False,
)
