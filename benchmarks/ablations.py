"""Train EMAT's ablations and show their score, time and memory, as a table and a figure of the manual.

    python -m benchmarks.ablations --dataset demo
    python -m benchmarks.ablations --dataset pascal --data-root data/pascal --fold 0,1,2,3 -- --trainer.devices=4
    python -m benchmarks.ablations --dataset demo --figure docs/pictures/ablations.png

What its paper asks: whether a channel of the correlation should compare a head or a whole layer of the ViT, or the last
layer alone, and what computing the heads of its attention together costs. Each is a file of configs/ablations/emat.
Runs are found again in `--runs`; arguments behind `--` go to every run, in LightningCLI's form. A training step and a
test episode are then timed in turns, without the frozen backbone, whose features are kept.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.speed.harness import Case, clock_of, device_name, measure
from fsbench.base.paths import CONFIGS
from fsbench.records.record import Record
from fsbench.results.sheets.markdown import markdown
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table, score_cell
from fsbench.runner.config.run_config import RunConfig, run_configs
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.grid.bench import bench
from fsbench.scores.estimate import Estimate
from fsbench.scores.trainings import Trained, estimates

VARIANTS = {
    "each head of each layer": None,
    "each layer": "layers",
    "each head of the last layer": "last_layer",
    "heads one after the other": "sequential",
}
"""Names of the variants, and their files of configs/ablations/emat; None for EMAT itself."""
COLUMNS = [
    Column("EMAT with"),
    Column("mIoU", Form.FIGURE, metric="mIoU"),
    *(
        Column(head, Form.COUNT)
        for head in ("learned parameters", "training step, ms", "MiB", "test episode, ms", "MiB")
    ),
]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data-root")
    parser.add_argument("--fold", default="0", help="number, or several with commas")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--figure", type=Path, help="file of the figure (.png, .svg, .pdf)")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns")
    parser.add_argument("extra", nargs="*", help="arguments of every run")
    options = parser.parse_args(argv)
    found: dict[str, list[Record]] = {}
    requests: dict[str, RunConfig] = {}
    for name, file in VARIANTS.items():
        own = [] if file is None else [f"--config={CONFIGS / 'ablations' / 'emat' / file}.yaml"]
        folds = run_configs(
            {"fold": [int(fold) for fold in options.fold.split(",")]},
            method="emat",
            dataset=options.dataset,
            runs=options.runs,
            data_root=options.data_root,
            extra=(*own, *options.extra),
        )
        requests[name] = folds[0]
        records, failures = bench(folds)
        if failures:
            print(f"{name}: {failures[0]}", file=sys.stderr)
            return 1
        found[name] = list(records)
    costs = measure_costs(requests, options.repeats)
    print(table(found, costs))
    if options.figure:
        draw(found, costs, options.figure)
    return 0


def score(records: Sequence[Record]) -> Estimate:
    """Return mIoU over the folds of a variant, with its interval."""
    runs = [record.protocol.statistics(record.episodes, record.header) for record in records]
    return estimates(Trained.once(runs))["mIoU"].these


class Costs(NamedTuple):
    """Seconds and MiB of a training step, and of a test episode, beyond what the backbone takes."""

    step_seconds: float
    step_mib: float
    episode_seconds: float
    episode_mib: float


def measure_costs(requests: Mapping[str, RunConfig], repeats: int) -> dict[str, Costs]:
    """Measure a training step and a test episode of each variant on the first fold, in turns.

    Seconds are those of the processor in all threads, which other programs hardly change; on a GPU those of the clock.
    """
    calls = {name: step_and_episode(request) for name, request in requests.items()}
    rows = [
        measure(Case(what, {name: pair[part] for name, pair in calls.items()}), DEVICE, repeats)
        for part, what in enumerate(("training step", "test episode"))
    ]
    return {
        step.path: Costs(step.seconds, step.peak_mib or 0.0, episode.seconds, episode.peak_mib or 0.0)
        for step, episode in zip(*rows, strict=True)
    }


def step_and_episode(request: RunConfig) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return a training step with first weights and the answer to a test episode, features of the backbone kept."""
    alone = replace(request, extra=(*request.extra, "--data.loading.workers=0", "--data.loading.eval_batch_size=1"))
    experiment = Experiment(alone.parse())
    method: Any = experiment.method.to(DEVICE)
    batch = next(iter(experiment.data.train_dataloader())).to(DEVICE)
    (episode,) = next(iter(experiment.data.test_dataloader())).to(DEVICE).split()

    def step() -> None:
        method.train()
        method.zero_grad()
        method.losses_of_step(batch)["loss"].backward()

    def answer() -> None:
        method.eval()
        with torch.inference_mode():
            method.answer(episode)

    return step, answer


def table(found: Mapping[str, Sequence[Record]], costs: Mapping[str, Costs]) -> str:
    """Return the variants side by side in Markdown."""
    lines = []
    for name, records in found.items():
        parameters, cost = records[0].run.cost.trainable_parameters, costs[name]
        numbers = (parameters, 1000 * cost.step_seconds, cost.step_mib, 1000 * cost.episode_seconds, cost.episode_mib)
        lines.append(Line([Cell(name), score_cell(score(records)), *map(Cell, numbers)]))
    clock = f"{clock_of(DEVICE)[0]} seconds, {device_name(DEVICE)}"
    return markdown([Sheet("EMAT's ablations", [Table(COLUMNS, lines)], notes=[clock])])


def draw(found: Mapping[str, Sequence[Record]], costs: Mapping[str, Costs], path: Path) -> None:
    """Draw score, time and memory of the variants into `path`."""
    # spared until it is needed
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names, places = list(found), range(len(found))
    values = [score(records) for records in found.values()]
    errors = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
    panels = {
        "mIoU and its 95% interval": [value.value for value in values],
        "training step, ms": [1000 * costs[name].step_seconds for name in names],
        "training step, MiB": [costs[name].step_mib for name in names],
        "test episode, ms": [1000 * costs[name].episode_seconds for name in names],
    }
    figure, axes = pyplot.subplots(2, 2, figsize=(7, 4), sharey=True, constrained_layout=True)
    for number, (panel, (title, numbers)) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        panel.barh(places, numbers, xerr=None if number else errors, color="#4477aa", ecolor="#222222", height=0.6)
        panel.set_title(title, fontsize=11)
        panel.tick_params(labelsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_yticks(places, names)
    axes[0, 0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
