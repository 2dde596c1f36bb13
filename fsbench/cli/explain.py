"""`fsbench explain`: what finished runs predicted and attended to, in one episode or over all of a run's."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.config.class_file import name_class_files
from fsbench.config.limits import whole
from fsbench.errors import SettingsError
from fsbench.files import make_folder, write_text
from fsbench.terminal import print_line

if TYPE_CHECKING:
    from fsbench.engine.experiment import Experiment


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("explain", help="draw what finished runs predicted and attended to")
    parser.add_argument("run", type=Path, nargs="+", help="folders of finished runs; several with --episode")
    parser.add_argument(
        "--episode", type=whole(0), action="append", default=[], metavar="N",
        help="draw this test episode: supports, query, truth, every run's masks and IoU, and what its method shows of "
        "itself; may be repeated",
    )  # fmt: skip
    parser.add_argument("--episodes", type=whole(1), help="look at so many test episodes (default: all)")
    parser.add_argument("--pictures", type=whole(1, 1000), default=6, help="episodes drawn")
    parser.add_argument(
        "--pixel", metavar="Y,X", help="query pixel whose attention is drawn, as shares of height and width, e.g. "
        "0.5,0.5 (default: the middle of the object)",
    )  # fmt: skip
    parser.add_argument("--points", type=whole(0, 10**6), default=1000, help="pixels in the t-SNE; 0: none")
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME",
        help="class of the t-SNE, e.g. aeroplane (default: that of the first query that shows one)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for pictures and numbers (default: explain in the first run)")
    parser.add_argument(
        "--method", action="append", default=[], metavar="FILE.py:Class",
        help="of runs whose method or data set is a class in a file: that file, whose code is run; may be repeated",
    )  # fmt: skip
    parser.set_defaults(function=_explain)


def _explain(options: argparse.Namespace, extra: list[str]) -> int:
    name_class_files(options.method)
    from fsbench.explain.capabilities import HasScanMemory, HasTunedAttention, open_run  # imports torch

    pixel = _parse_pixel(options.pixel)
    out = options.out or options.run[0] / "explain"
    if options.episode:
        return _explain_episodes(options, pixel, out)
    if len(options.run) > 1:
        raise SettingsError(f"{len(options.run)} runs were given; expected one, or --episode N to compare episodes")
    experiment = open_run(options.run[0])
    make_folder(out)
    if isinstance(experiment.method, HasScanMemory):
        _explain_memory(experiment, options, out)
    elif isinstance(experiment.method, HasTunedAttention):
        _explain_tuned_attention(experiment, options, out)
    else:
        _explain_masks(experiment, options, pixel, out)
    print_line(f"{out}: {', '.join(sorted(path.name for path in out.iterdir() if not path.name.startswith('.')))}")
    return 0


def _explain_episodes(options: argparse.Namespace, pixel: tuple[float, float] | None, out: Path) -> int:
    """Compare single episodes of runs."""
    # heavy: other commands spare it
    from fsbench.explain.episodes import compare_episodes, write_episode_sheet

    episodes, notes = compare_episodes(list(dict.fromkeys(options.run)), list(dict.fromkeys(options.episode)), pixel)
    make_folder(out)
    numbers = []
    for number, episode in episodes.items():
        write_episode_sheet(out / f"episode-{number:06d}.png", episode)
        print_line(f"episode {number}: {', '.join(episode.classes)}")
        for label, prediction in episode.predictions.items():
            numbers.append({"episode": number, "method": label, "classes": episode.classes, **prediction.numbers})
            ious = ", ".join("–" if iou is None else f"{100 * iou:.2f}" for iou in prediction.iou)
            presence = ", ".join("present" if present else "not present" for present in prediction.present)
            print_line(f"  {label:32} IoU {ious}   {presence}")
    write_text(out / "episodes.json", json.dumps(numbers, indent=2) + "\n")
    for note in notes:
        print_line(f"fsbench: {note}", sys.stderr)
    print_line("pixels beside the IoU: right green, false alarms orange, missed blue, another way's purple, void white")
    print_line(f"{out}: {', '.join(f'episode-{number:06d}.png' for number in episodes)}, episodes.json")
    return 0


def _explain_memory(experiment: "Experiment", options: argparse.Namespace, out: Path) -> None:
    # heavy: other commands spare it
    from fsbench.explain.scan_memory import explain_memory

    curves, episodes = explain_memory(experiment, out, options.episodes)
    print_line(f"{'state':32} {'lowest':>7} {'mean':>7} {'end':>7}   ({episodes} episodes)")
    for name, curve in curves.items():
        print_line(f"{name:32} {curve.min():7.3f} {curve.mean():7.3f} {curve[-1]:7.3f}")


def _explain_tuned_attention(experiment: "Experiment", options: argparse.Namespace, out: Path) -> None:
    # heavy: other commands spare it
    from fsbench.explain.tuned_attention import explain_tuned_attention

    shares = explain_tuned_attention(experiment, out, options.episodes or 1, options.pictures)
    print_line(f"share of the last attention on the key patches, mean of {shares.supports} supports:")
    print_line(f"before tuning {shares.before:.3f}, after {shares.after:.3f}")


def _explain_masks(
    experiment: "Experiment", options: argparse.Namespace, pixel: tuple[float, float] | None, out: Path
) -> None:
    # heavy: other commands spare it
    from fsbench.explain.masks import MaskOptions, explain_masks

    chosen = MaskOptions(options.episodes, options.pictures, pixel, options.points, options.class_name)
    numbers = explain_masks(experiment, out, chosen)
    print_line(f"{'mask':8} {'mIoU':>7} {'FB-IoU':>7}   ({numbers['episodes']} episodes)")
    for name, scores in numbers["masks"].items():
        print_line(f"{name:8} {scores['mIoU']:7.2f} {scores['FB-IoU']:7.2f}")


def _parse_pixel(text: str | None) -> tuple[float, float] | None:
    """Parse --pixel: two shares from 0 to below 1."""
    if text is None:
        return None
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        y = x = -1.0
    if not (0 <= y < 1 and 0 <= x < 1):
        raise SettingsError(f"--pixel is '{text}', expected two numbers from 0 to below 1, e.g. 0.5,0.25")
    return y, x
