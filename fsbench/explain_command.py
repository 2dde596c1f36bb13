"""`fsbench explain`: intermediate masks, the attention of a pixel, and t-SNE of features, of a finished run."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME",
        help="class of the t-SNE, e.g. aeroplane (default: that of the first query that shows one)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for pictures and numbers (default: <run>/explain)")
    parser.set_defaults(function=_explain)


def _explain(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.explain import Looks, MaskScores, PixelSample, Remembers, explained, open_run
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
    if isinstance(cell.method, Looks):
        return _explain_attention(cell, out, options.episodes or 1, options.pictures)
    the_class = _class_number(cell, options.class_name)
    scores, sample = MaskScores(cell), PixelSample(per_episode=50)
    rows: list[Sequence[Panel]] = []
    attention: list[Sequence[Panel]] = []
    drawn: list[dict[str, Any]] = []
    episodes = 0
    for seen in explained(cell, options.episodes):
        scores.add(seen)
        episodes += 1
        truth = seen.episode.known_truth()
        if not bool((truth.label_maps[0] == 1).any()):
            continue
        if len(rows) < options.pictures:
            looked = _look_at_pixel(cell, seen, pixel)
            rows.append(_mask_row(seen))
            attention.append(looked.panels)
            drawn.append(
                {
                    "episode": int(seen.episode.episodes[0]),
                    "otsu_thresholds": seen.thresholds,
                    "pixel": looked.pixel,
                    "attention_in_mask": looked.shares,
                }
            )
        number = int(truth.classes[0, 0])
        the_class = the_class or number
        if number == the_class and sum(map(len, sample.labels)) < options.points:
            sample.add(cell, seen.episode)
    numbers: dict[str, Any] = {"episodes": episodes, "masks": scores.table(), "drawn": drawn}
    if rows:
        sheet(out / "masks.png", rows)
        sheet(out / "attention.png", attention)
    if options.points and the_class:
        name = cell.data.dataset.class_names[the_class - 1]
        numbers["tsne"] = {"class": name, "pixels": _draw_tsne(out, sample, options.points)}
    write_text(out / "explain.json", json.dumps(numbers, indent=2) + "\n")
    print(f"{'mask':8} {'mIoU':>7} {'FB-IoU':>7}   ({episodes} episodes)")
    for name, figures in numbers["masks"].items():
        print(f"{name:8} {figures['mIoU']:7.2f} {figures['FB-IoU']:7.2f}")
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir() if not path.name.startswith('.')))}")
    return 0


def _class_number(cell: "Cell", name: str | None) -> int | None:
    """The class's number in the data set; raises SettingsError unless the test is about it."""
    if name is None:
        return None
    names = {found: int(number) for number, found in cell.data.manifest.header["class_names"].items()}
    if name not in names:
        raise SettingsError(f"--class is '{name}', expected one of the run's: {', '.join(names)}")
    return names[name]


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


def _explain_attention(cell: "Cell", out: Path, episodes: int, pictures: int) -> int:
    """Of methods that tune their attention: FORT's key patches, and the last attention before tuning and after."""
    from itertools import islice

    from fsbench.explain_pictures import heat, image_of, sheet
    from fsbench.files import write_text

    method: Any = cell.method
    data: Any = cell.data
    rows: list[Sequence[Panel]] = []
    shares: dict[str, list[float]] = {"before": [], "after": []}
    batches = islice(data.test_dataloader(), episodes)
    for episode in (one for batch in batches for one in batch):
        seen = method.look(episode)
        key = seen.focus > 0
        for name, found in shares.items():
            found += (getattr(seen, name) * key).sum((1, 2)).tolist()
        names = [data.dataset.class_names[number - 1] for number in episode.classes]
        for row, label in enumerate(episode.labels(key.device).tolist()):
            if len(rows) < pictures:
                image = image_of(episode.images[row])
                maps = {"key patches": seen.focus, "attention before": seen.before, "attention after": seen.after}
                drawn = [(name, heat(part[row].cpu().numpy(), image)) for name, part in maps.items()]
                rows.append([(names[label], image), *drawn])
    numbers = {name: sum(found) / len(found) for name, found in shares.items()}
    write_text(out / "explain.json", json.dumps({"supports": len(shares["before"]), "on_key_patches": numbers}) + "\n")
    sheet(out / "attention.png", rows)
    print(f"share of the last attention on the key patches, mean of {len(shares['before'])} supports:")
    print(f"before tuning {numbers['before']:.3f}, after {numbers['after']:.3f}")
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
    query = image_of(episode.images[int(episode.query[0])])
    truth = episode.known_truth().label_maps[0].cpu().numpy() == 1
    row = [
        (f"support {shot + 1}", overlay(image_of(episode.images[image]), mask.cpu().numpy(), SUPPORT))
        for shot, (image, mask) in enumerate(
            zip(episode.support[0, 0].tolist(), episode.support_masks[0, 0], strict=True)
        )
    ]
    row.append((f"{int(episode.episodes[0])}: truth", overlay(query, truth, QUERY)))
    for name, mask in seen.masks.items():
        if name in seen.sums:
            row.append((f"{name} sum", heat(seen.sums[name].cpu().numpy(), query)))
        row.append((name if name == "final" else f"{name} Otsu", overlay(query, mask.cpu().numpy() == 1, QUERY)))
    return row


class _Looked(NamedTuple):
    """Where a query's pixel (row, column) looks: the share of its attention in each support's mask, and pictures."""

    pixel: tuple[int, int]
    shares: list[float]
    panels: "list[Panel]"


def _look_at_pixel(cell: "Cell", seen: "Explained", pixel: tuple[float, float] | None) -> _Looked:
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
    panels, shares = [(f"{int(episode.episodes[0])}: query", mark(query, row, column))], []
    for shot, values in enumerate(weights):
        support = image_of(episode.images[int(episode.support[0, 0, shot])])
        mask = episode.support_masks[0, 0, shot].cpu().numpy()
        shares.append(float(values[mask].sum() / weights.sum()))
        panels.append((f"support {shot + 1}", overlay(support, mask, SUPPORT)))
        panels.append((f"attention, {shares[-1]:.0%} in mask", heat(values, support)))
    return _Looked((row, column), shares, panels)


def _draw_tsne(out: Path, sample: Any, points: int) -> int:
    """Scatter plots side by side, and their points as a table; returns the number of points."""
    import numpy as np

    from fsbench.explain import tsne
    from fsbench.explain_pictures import scatter, sheet
    from fsbench.files import write_text

    labels = np.concatenate([np.zeros(0, int), *sample.labels])[:points]
    if len(labels) < 5:
        return 0
    placed = {name: tsne(np.concatenate(found)[:points]) for name, found in sample.points.items()}
    panels = [(f"{name}: foreground red", scatter(at, labels)) for name, at in placed.items()]
    sheet(out / "tsne.png", [panels], tile=480)
    lines = [
        f"{name},{int(label)},{x:.6g},{y:.6g}"
        for name, at in placed.items()
        for label, (x, y) in zip(labels, at, strict=True)
    ]
    write_text(out / "tsne.csv", "\n".join(["features,foreground,x,y", *lines]) + "\n")
    return len(labels)
