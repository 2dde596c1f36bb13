"""How far the choices that users trip over across domains and on iSAID-5i move figures: named switches of data sets,
test and training.

A row is one setting of a switch; its change is that from the switch's first setting, which is the field's.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.protocols.drawn_domains import prepare_drawn
from benchmarks.protocols.single_run import record_or_reason
from fsbench.records.record import Record
from fsbench.results.tables.formats import markdown
from fsbench.results.tables.layout import Sheet
from fsbench.runner.grid.bench import Request
from fsbench.scores.ifa_figure import IFA_FIGURE


@dataclass(frozen=True)
class Setting:
    """A setting of a switch.

    Attributes:
        switch: what is chosen.
        words: the setting.
        dataset, protocol: names.
        validation: what chooses a checkpoint.
        score: what is read of the run.
        has_source: methods are trained on PASCAL; else on the data set itself.
    """

    switch: str
    words: str
    dataset: str
    protocol: str = "cdfss"
    validation: str = "source"
    score: str = "mIoU"
    has_source: bool = True


SETTINGS = [
    Setting("ISIC's classes", "three (isic)", "isic"),
    Setting("ISIC's classes", "one (isic_one)", "isic_one"),
    Setting("FSS-1000's classes", "test (cdfss)", "fss1000"),
    Setting("FSS-1000's classes", "validation (cdfss_ifa)", "fss1000", "cdfss_ifa"),
    Setting("DeepGlobe's crops", "the field's (deepglobe)", "deepglobe"),
    Setting("DeepGlobe's crops", "all (deepglobe_all)", "deepglobe_all"),
    Setting("X-rays", "Shenzhen (lung)", "lung"),
    Setting("X-rays", "both hospitals (lung_all)", "lung_all"),
    Setting("figure, DeepGlobe", "mIoU (cdfss_ifa)", "deepglobe", "cdfss_ifa"),
    Setting("figure, DeepGlobe", f"{IFA_FIGURE} (cdfss_ifa)", "deepglobe", "cdfss_ifa", score=IFA_FIGURE),
    Setting("checkpoint, ISIC", "chosen on the source (--data.validation source)", "isic"),
    Setting("checkpoint, ISIC", "on the target's test (--data.validation novel)", "isic", validation="novel"),
    Setting("iSAID's program", "GF-SAM's (isaid)", "isaid", "isaid", has_source=False),
    Setting("iSAID's program", "SDM's, void is background (isaid_sdm)", "isaid", "isaid_sdm", has_source=False),
    Setting("iSAID's program", "R2Net's patches of 512 (isaid_r2net)", "isaid512", "isaid_r2net", has_source=False),
]
"""Settings in the order of the table; the first of a switch is what its others are compared with."""


def measure_switches(methods: Sequence[Sequence[str]], options: argparse.Namespace) -> str:
    """Evaluate methods under every setting and return the table in Markdown, with the reasons of absent figures.

    Args:
        methods: name, or name=checkpoint, then arguments of its runs; without a checkpoint, a method that learns is
            trained on PASCAL for each setting.
        options: of the command line; without a folder of data, they are drawn.
    """
    names = [name.partition("=")[0] for name, *_ in methods]
    lines = [["switch", "setting", *(f"{name} (change)" for name in names)]]
    first: dict[tuple[str, str], float] = {}
    reasons: list[str] = []
    for setting in SETTINGS:
        cells = [setting.switch, setting.words]
        for name, method in zip(names, methods, strict=True):
            outcome = _evaluate(setting, method, options)
            if isinstance(outcome, str):
                reasons.append(f"{setting.switch}, {setting.words}, {name}: {outcome}")
                cells.append("-")
                continue
            value = outcome.run.scores[setting.score]
            if (setting.switch, name) in first:
                cells.append(f"{value:.1f} ({value - first[setting.switch, name]:+.1f})")
            else:
                first[setting.switch, name] = value
                cells.append(f"{value:.1f}")
        lines.append(cells)
    origin = "" if options.data_root else "drawn images: they show that the switches work, and nothing of real data"
    return markdown([Sheet("Scores by switch", [("", lines)], [*filter(None, [origin]), *dict.fromkeys(reasons)])])


def _evaluate(setting: Setting, named: Sequence[str], options: argparse.Namespace) -> Record | str:
    """Return the record, or the reason why there is none."""
    method, _, checkpoint = named[0].partition("=")
    if setting.switch.startswith("checkpoint") and checkpoint:
        return "its checkpoint is chosen already"
    request = Request(
        methods=[method],
        dataset=setting.dataset,
        runs=options.runs,
        protocol=setting.protocol,
        checkpoint=checkpoint or None,
        data_root=str(_root(setting.dataset, options)),
        lists=options.lists if setting.dataset == "fss1000" else [],
        extra=[*_source(setting, options), *named[1:], *options.extra],
    )
    outcome = record_or_reason(request)
    if isinstance(outcome, str) or not setting.switch.startswith("checkpoint"):
        return outcome
    return outcome if outcome.run.made.checkpoint is not None else "it is not trained"


def _source(setting: Setting, options: argparse.Namespace) -> list[str]:
    """Return the arguments that say what methods are trained on, where that is another data set."""
    if not setting.has_source:
        return []
    return [
        "--data.source=fsbench.datamodules.datasets.pascal.PascalAll",
        f"--data.source.root={_root('pascal', options)}",
        f"--data.validation={setting.validation}",
    ]


def _root(dataset: str, options: argparse.Namespace) -> Path:
    """Return the folder of a data set: below the given one, or drawn beside the runs."""
    if options.data_root:
        return Path(options.data_root).expanduser() / {"isic_one": "isic"}.get(dataset, dataset)
    return prepare_drawn(Path(options.runs) / "drawn", dataset)
