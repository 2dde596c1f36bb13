"""`fsbench explain`: what finished runs predicted and attended to, in single episodes."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.base.class_file import name_class_files
from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder, write_text
from fsbench.base.files.figures import check_figure
from fsbench.base.terminal import print_line
from fsbench.cli.options import add_class_files
from fsbench.runner.config.limits import check_replaced, whole

if TYPE_CHECKING:
    from fsbench.pages.explain.episodes import EpisodePanels

EPISODES = 6
"""Episodes of a run that are drawn where none are named."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=Path, nargs="+", help="folders of finished runs; several only with --figure or --episode"
    )
    parser.add_argument(
        "--episode", type=whole(0), action="append", default=[], metavar="N",
        help="draw this test episode: supports, query, truth, every run's masks and IoU, and what its method shows of "
        "itself; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--episodes", type=_episode_choice, metavar="COUNT|N,N,...",
        help=f"a number: draw so many test episodes of one run, spread evenly over its test (default: {EPISODES}); "
        "numbers with commas: draw these episodes, like --episode",
    )  # fmt: skip
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="write a figure for a paper (.pdf, .svg, or .png of 300 dpi) from "
        "the predictions that the runs kept. A column is an episode; the rows are supports, truth, and every run's "
        "prediction and errors. Default: 8 episodes, from the first run's lowest IoU to its highest",
    )  # fmt: skip
    parser.add_argument(
        "--pixel", metavar="Y,X", help="query pixel whose attention is drawn, as shares of height and width, e.g. "
        "0.5,0.5 (default: the middle of the object)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for pictures and numbers (default: <first run>/explain)")
    add_class_files(parser)
    parser.set_defaults(function=_explain)


def _explain(options: argparse.Namespace, extra: list[str]) -> int:
    name_class_files(options.method)
    pixel = _parse_pixel(options.pixel)
    out = options.out or options.run[0] / "explain"
    if isinstance(options.episodes, list):
        options.episode, options.episodes = [*options.episode, *options.episodes], None
    if options.figure:
        check_replaced(options.figure, "--figure", "figure of fsbench", check_figure)
        return _draw_figure(options)
    if options.episode:
        return _explain_episodes(options, pixel, out)
    if len(options.run) > 1:
        raise SettingsError(
            f"{len(options.run)} runs were given; expected one, or --episode N to compare episodes, or --figure FILE"
        )
    _explain_some_episodes(options, pixel, out)
    print_line(f"{out}: episodes.png, explain.json")
    return 0


def _draw_figure(options: argparse.Namespace) -> int:
    # torch: seconds, which help and refused options do without
    from fsbench.pages.explain.paper_figure import EPISODES as OF_FIGURE
    from fsbench.pages.explain.paper_figure import draw_paper_figure

    chosen, folders = list(dict.fromkeys(options.episode)), list(dict.fromkeys(options.run))
    make_folder(options.figure.parent)
    figure = draw_paper_figure(folders, options.figure, chosen, options.episodes or OF_FIGURE)
    for label, ious in figure.ious.items():
        values = ", ".join(f"{number}: {_percent(of_ways)}" for number, of_ways in ious.items())
        print_line(f"{label:32} IoU {values}")
    width, height = figure.size
    print_line(f"{options.figure}: {len(figure.episodes)} episodes, {width:.2f} x {height:.2f} inches")
    return 0


def _percent(ious: Sequence[float | None]) -> str:
    return " ".join("–" if iou is None else f"{100 * iou:.2f}" for iou in ious)


def _explain_episodes(options: argparse.Namespace, pixel: tuple[float, float] | None, out: Path) -> int:
    """Compare single episodes of runs."""
    # torch: seconds, which help and refused options do without
    from fsbench.pages.explain.episodes import compare_episodes, write_episode_sheet

    episodes, notes = compare_episodes(list(dict.fromkeys(options.run)), list(dict.fromkeys(options.episode)), pixel)
    make_folder(out)
    numbers: list[dict[str, Any]] = []
    for number, episode in episodes.items():
        write_episode_sheet(out / f"episode-{number:06d}.png", episode)
        _print_episode(number, episode)
        standing = {"not_counted": episode.standing} if episode.standing else {}
        facts: dict[str, Any] = {"episode": number, **standing, "classes": episode.classes}
        numbers += [facts | {"method": label, **one.numbers} for label, one in episode.predictions.items()]
    write_text(out / "episodes.json", json.dumps(numbers, indent=2) + "\n")
    for note in notes:
        print_line(f"fsbench: {note}", sys.stderr)
    print_line("colours of errors: correct white, false alarm amber, missed blue, other class purple, void hatched")
    print_line(f"{out}: {', '.join(f'episode-{number:06d}.png' for number in episodes)}, episodes.json")
    return 0


def _explain_some_episodes(options: argparse.Namespace, pixel: tuple[float, float] | None, out: Path) -> None:
    # torch: seconds, which help and refused options do without
    from fsbench.pages.explain.episodes import explain_episodes

    episodes, notes = explain_episodes(options.run[0], out, options.episodes or EPISODES, pixel)
    for number, episode in episodes.items():
        _print_episode(number, episode)
    for note in notes:
        print_line(f"fsbench: {note}", sys.stderr)


def _print_episode(number: int, episode: "EpisodePanels") -> None:
    """Print an episode's classes, and the IoU and the decision of every method."""
    standing = f" ({episode.standing}: not counted in any score)" if episode.standing else ""
    print_line(f"episode {number}: {', '.join(episode.classes)}{standing}")
    for label, prediction in episode.predictions.items():
        ious = ", ".join(_percent([iou]) for iou in prediction.iou)
        presence = ", ".join("present" if present else "not present" for present in prediction.present)
        print_line(f"  {label:32} IoU {ious}   {presence}")


def _episode_choice(text: str) -> int | list[int]:
    """Parse --episodes: how many, or numbers of episodes with commas."""
    if "," not in text:
        return whole(1)(text)
    return [whole(0)(number.strip()) for number in text.split(",") if number.strip()]


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
