"""Train EMAT's ablations and show their score, time and memory, as a table and a figure of the manual.

    python -m benchmarks.ablations --dataset demo
    python -m benchmarks.ablations --dataset pascal --data-root data/pascal --fold 0,1,2,3 -- --trainer.devices=4
    python -m benchmarks.ablations --dataset demo --figure docs/pictures/ablations.png

What its paper asks: whether a channel of the correlation should compare a head or a whole layer of the ViT, or the last
layer alone, and what computing the heads of its attention together costs. Each is a file of configs/ablations/emat.
Runs are found again in `--runs`; arguments behind `--` go to every run, in LightningCLI's form.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fsbench.grid.bench import Request, bench
from fsbench.metrics.bootstrap import Interval, intervals
from fsbench.paths import CONFIGS
from fsbench.records.record import Record
from fsbench.tables.formats import markdown
from fsbench.tables.layout import Sheet

VARIANTS = {
    "each head of each layer": None,
    "each layer": "layers",
    "each head of the last layer": "last_layer",
    "heads one after the other": "sequential",
}
"""Names of the variants, and their files of configs/ablations/emat; None for EMAT itself."""
COLUMNS = ["EMAT with", "mIoU", "learned parameters", "training s", "training MiB", "test s", "test MiB"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data-root")
    parser.add_argument("--fold", default="0", help="number, or several with commas")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--figure", type=Path, help="file of the figure (.png, .svg, .pdf)")
    parser.add_argument("extra", nargs="*", help="arguments of every run")
    options = parser.parse_args(argv)
    found: dict[str, list[Record]] = {}
    for name, file in VARIANTS.items():
        own = [] if file is None else [f"--config={CONFIGS / 'ablations' / 'emat' / file}.yaml"]
        folds = tuple(int(fold) for fold in options.fold.split(","))
        request = Request(
            ["emat"], options.dataset, folds, options.runs, data_root=options.data_root, extra=[*own, *options.extra]
        )
        records, failures = bench(request)
        if failures:
            print(f"{name}: {failures[0]}", file=sys.stderr)
            return 1
        found[name] = list(records)
    print(table(found))
    if options.figure:
        draw(found, options.figure)
    return 0


def score(records: Sequence[Record]) -> Interval:
    """Return mIoU over the folds of a variant, with its interval."""
    return intervals([record.protocol.statistics(record.episodes, record.header) for record in records])["mIoU"]


def costs(records: Sequence[Record]) -> tuple[float, float, float, float]:
    """Return seconds and peak MiB of the training, and of the test, means over the folds of a variant."""
    made, test = [record.run.made for record in records], [record.run.cost for record in records]
    columns = (
        [part.training_seconds or 0.0 for part in made],
        [part.training_peak_mib or 0.0 for part in made],
        [part.evaluation_seconds or 0.0 for part in test],
        [part.peak_mib or 0.0 for part in test],
    )
    first, second, third, fourth = (sum(column) / len(column) for column in columns)
    return first, second, third, fourth


def table(found: Mapping[str, Sequence[Record]]) -> str:
    """Return the variants side by side in Markdown."""
    rows = [COLUMNS]
    for name, records in found.items():
        value, parameters = score(records), records[0].run.cost.trainable_parameters
        numbers = [f"{number:,.0f}" for number in costs(records)]
        rows.append([name, f"{value.value:.1f} [{value.low:.1f}, {value.high:.1f}]", f"{parameters:,}", *numbers])
    return markdown([Sheet("EMAT's ablations", [("", rows)], [])])


def draw(found: Mapping[str, Sequence[Record]], path: Path) -> None:
    """Draw score, time and memory of the variants into `path`."""
    # spared until it is needed
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names, places = list(found), range(len(found))
    values = [score(records) for records in found.values()]
    all_costs = [costs(records) for records in found.values()]
    panels = {
        "mIoU": [value.value for value in values],
        "training, s": [seconds for seconds, _, _, _ in all_costs],
        "training, MiB": [peak for _, peak, _, _ in all_costs],
        "test, s": [seconds for _, _, seconds, _ in all_costs],
    }
    figure, axes = pyplot.subplots(1, len(panels), figsize=(11, 2.2), sharey=True, constrained_layout=True)
    for panel, (title, numbers) in zip(axes, panels.items(), strict=True):
        errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]] if title == "mIoU" else None
        panel.barh(places, numbers, xerr=errors, color="#4477aa", ecolor="#222222", height=0.6)
        panel.set_title(title, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(places, names)
    axes[0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
