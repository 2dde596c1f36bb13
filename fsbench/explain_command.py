"""`fsbench explain`: intermediate masks, the attention of a pixel, and t-SNE of features, of a finished run."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.errors import SettingsError

if TYPE_CHECKING:
    from fsbench.cell import Cell
    from fsbench.explain import Explained
    from fsbench.explain_pictures import Panel


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "explain", help="what a run's method saw: coarse masks, attention of a pixel, t-SNE of features"
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--episodes", type=int, help="look at so many test episodes (default: all)")
    parser.add_argument("--pictures", type=int, default=6, help="episodes drawn")
    parser.add_argument(
        "--pixel", metavar="Y,X", help="query pixel whose attention is drawn, as shares of height and width, e.g. "
        "0.5,0.5 (default: the middle of the object)",
    )  # fmt: skip
    parser.add_argument("--points", type=int, default=1000, help="pixels in the t-SNE; 0: none")
    parser.add_argument("--out", type=Path, help="folder for pictures and numbers (default: <run>/explain)")
    parser.set_defaults(function=_explain)


def _explain(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.explain import MaskScores, PixelSample, Remembers, explained, open_run
    from fsbench.explain_pictures import sheet
    from fsbench.files import make_folder, write_text

    pixel = _pixel(options.pixel)
    for name, least in (("episodes", 1), ("pictures", 1), ("points", 0)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            raise SettingsError(f"--{name} is {getattr(options, name)}, expected {least} or more")
    cell = open_run(options.run)
    out = make_folder(options.out or options.run / "explain")
    if isinstance(cell.method, Remembers):
        return _explain_memory(cell, out, options.episodes)
    scores, sample = MaskScores(cell), PixelSample(per_episode=50)
    rows: list[Sequence[Panel]] = []
    attention: list[Sequence[Panel]] = []
    the_class: int | None = None
    episodes = 0
    for seen in explained(cell, options.episodes):
        scores.add(seen)
        episodes += 1
        truth = seen.episode.known_truth()
        shows = bool((truth.label_maps[0] == 1).any())
        if shows and len(rows) < options.pictures:
            rows.append(_mask_row(seen))
            attention.append(_attention_row(cell, seen, pixel))
        number = int(truth.classes[0, 0])
        the_class = number if the_class is None and shows else the_class
        if shows and number == the_class and sum(map(len, sample.labels)) < options.points:
            sample.add(cell, seen.episode)
    numbers: dict[str, Any] = {"episodes": episodes, "masks": scores.table()}
    if rows:
        sheet(out / "masks.png", rows)
        sheet(out / "attention.png", attention)
    if options.points and sample.labels:
        name = cell.data.dataset.class_names[the_class - 1] if the_class else ""
        numbers["tsne"] = {"class": name, "pixels": _draw_tsne(out / "tsne.png", sample, options.points)}
    write_text(out / "explain.json", json.dumps(numbers, indent=2) + "\n")
    print(f"{'mask':8} {'mIoU':>7} {'FB-IoU':>7}   ({episodes} episodes)")
    for name, figures in numbers["masks"].items():
        print(f"{name:8} {figures['mIoU']:7.2f} {figures['FB-IoU']:7.2f}")
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir() if not path.name.startswith('.')))}")
    return 0


def _explain_memory(cell: "Cell", out: Path, episodes: int | None) -> int:
    """Of methods with a state: its similarity to the support while the query is read."""
    from fsbench.explain import memory
    from fsbench.explain_pictures import curves, sheet
    from fsbench.files import write_text

    found, done = memory(cell, episodes)
    numbers = {"episodes": done, "memory": {name: curve.tolist() for name, curve in found.items()}}
    write_text(out / "explain.json", json.dumps(numbers, indent=2) + "\n")
    panels = []
    for block in dict.fromkeys(name.partition(":")[0] for name in found):
        of_block = {k: v for k, v in found.items() if k.startswith(f"{block}:")}
        panels.append((f"{block}: similarity of the state to the support", curves(of_block, "query, as it is scanned")))
    if panels:
        sheet(out / "memory.png", [panels], tile=480)
    print(f"{'state':32} {'lowest':>7} {'mean':>7} {'end':>7}   ({done} episodes)")
    for name, curve in found.items():
        print(f"{name:32} {curve.min():7.3f} {curve.mean():7.3f} {curve[-1]:7.3f}")
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir() if not path.name.startswith('.')))}")
    return 0


def _pixel(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        y = x = -1.0
    if not (0 <= y < 1 and 0 <= x < 1):
        raise SettingsError(f"--pixel is '{text}', expected two numbers from 0 to below 1, e.g. 0.5,0.25")
    return y, x


def _mask_row(seen: "Explained") -> "list[Panel]":
    from fsbench.explain_pictures import QUERY, SUPPORT, heat, image_of, overlay

    episode = seen.episode
    support = image_of(episode.images[int(episode.support[0, 0, 0])])
    query = image_of(episode.images[int(episode.query[0])])
    truth = episode.known_truth().label_maps[0].cpu().numpy() == 1
    row = [
        ("support", overlay(support, episode.support_masks[0, 0, 0].cpu().numpy(), SUPPORT)),
        (f"{int(episode.episodes[0])}: truth", overlay(query, truth, QUERY)),
    ]
    for name, mask in seen.masks.items():
        if name in seen.sums:
            row.append((f"{name} sum", heat(seen.sums[name].cpu().numpy(), query)))
        row.append((name if name == "final" else f"{name} Otsu", overlay(query, mask.cpu().numpy() == 1, QUERY)))
    return row


def _attention_row(cell: "Cell", seen: "Explained", pixel: tuple[float, float] | None) -> "list[Panel]":
    import numpy as np

    from fsbench.explain_pictures import SUPPORT, heat, image_of, mark, overlay

    episode = seen.episode
    query = image_of(episode.images[int(episode.query[0])])
    side = query.shape[0]
    if pixel is None:
        truth = episode.known_truth().label_maps[0].cpu().numpy() == 1
        inside = np.argwhere(truth)
        middle = inside[np.abs(inside - inside.mean(0)).sum(1).argmin()]  # of the object's pixels, so inside it
        row, column = (int(i * side // n) for i, n in zip(middle, truth.shape, strict=True))
    else:
        row, column = int(pixel[0] * side), int(pixel[1] * side)
    method: Any = cell.method
    weights = method.attention_of(episode.without_truth(), row, column).cpu().numpy()
    panels = [(f"{int(episode.episodes[0])}: query", mark(query, row, column))]
    for shot, values in enumerate(weights):
        support = image_of(episode.images[int(episode.support[0, 0, shot])])
        mask = episode.support_masks[0, 0, shot].cpu().numpy()
        share = float(values[mask].sum() / values.sum())
        panels.append((f"support {shot + 1}", overlay(support, mask, SUPPORT)))
        panels.append((f"attention, {share:.0%} in mask", heat(values, support)))
    return panels


def _draw_tsne(path: Path, sample: Any, points: int) -> int:
    """Two scatter plots side by side; returns the number of points."""
    import numpy as np

    from fsbench.explain import tsne
    from fsbench.explain_pictures import scatter, sheet

    labels = np.concatenate(sample.labels)[:points]
    if len(labels) < 5:
        return 0
    panels = [
        (f"{name}: foreground red", scatter(tsne(np.concatenate(found)[:points]), labels))
        for name, found in sample.points.items()
    ]
    sheet(path, [panels], tile=480)
    return len(labels)
