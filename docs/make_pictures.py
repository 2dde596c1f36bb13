"""Draw the manual's pictures from the demo, by the suite's own samplers, resizes and counts.

python docs/make_pictures.py data/demo                            # those of the guide to the protocols
python docs/make_pictures.py data/demo --run runs/emat-demo-…     # the front page's, from a finished 1-way 1-shot run
python docs/make_pictures.py data/demo --figure runs/insid3-demo-… runs/prototype-demo-…     # the manual's figure
python docs/make_pictures.py data/demo --supports runs            # the guide's figure of runs with several draws
python docs/make_pictures.py data/demo --curves runs              # the guide's figure of runs of several shots
python docs/make_pictures.py data/demo --take-home                # the guide's figure of an exported method
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from PIL import Image

from fsbench.data.annotations import SupportAnnotation
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import resize_image, resize_image_cv2
from fsbench.datamodules.datasets.demo import Demo
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.pages.explain.paper_figure import draw_paper_figure
from fsbench.predict.export import load_program
from fsbench.predict.predictor import Predictor
from fsbench.protocols.reading import load_segmentation
from fsbench.records.record import find_distinct_records, read_record
from fsbench.results.pictures.contact_sheet import choose
from fsbench.results.pictures.contrast import way_colors
from fsbench.results.pictures.masks import paint_slots
from fsbench.results.pictures.palette import WAY_COLORS
from fsbench.results.pictures.tiles import fit_image
from fsbench.results.studies.analyses import CURVES, SUPPORTS
from fsbench.results.studies.supports.sensitivity import sensitivity_tables
from fsbench.results.studies.sweep.curves import curve_tables
from fsbench.runner.engine.answering import evaluate_batch
from fsbench.runner.engine.restore import check_counts, reopen_at
from fsbench.scores.answers import count
from fsbench.scores.confusion import intersection_union

OUT = Path(__file__).parent / "pictures"
GREY, RED = "#888888", "#c81e1e"
SIDE = 150
"""Longer side of a painted image in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of the demo data set; drawn when absent")
    parser.add_argument("--run", type=Path, help="finished 1-way 1-shot run, for the front page's picture alone")
    parser.add_argument("--figure", type=Path, nargs="+", help="finished 1-way runs, for the manual's figure alone")
    parser.add_argument("--supports", type=Path, nargs="+", help="runs with several draws, for their figure alone")
    parser.add_argument("--curves", type=Path, nargs="+", help="runs of several shots, for their figure alone")
    parser.add_argument("--take-home", action="store_true", help="export a method, for the figure of its guide alone")
    options = parser.parse_args()
    data = Demo(options.root)
    OUT.mkdir(exist_ok=True)
    if options.run:
        return front_page(data, options.run)
    if options.figure:
        return paper_figure(options.figure)
    if options.supports:
        return SUPPORTS.save_figure(OUT / "supports.png", sensitivity_tables(find_distinct_records(options.supports)))
    if options.curves:
        return CURVES.save_figure(OUT / "curves.png", curve_tables(find_distinct_records(options.curves), ["shots"]))
    if options.take_home:
        return take_home(data)
    for picture in (episodes, drawing, void, resolution, settings, resizing, annotations):
        picture(data)


def photo(data: Demo, name: str) -> np.ndarray:
    with Image.open(data.image_path(name)) as image:
        return np.array(image.convert("RGB"))


def slots(data: Demo, name: str, classes: Sequence[int]) -> np.ndarray:
    return way_labels(data.label_map(name), classes)


def painted(image: np.ndarray, ways: np.ndarray, colors: np.ndarray = WAY_COLORS) -> np.ndarray:
    """Ways and void as in all pictures of the suite, at about the size at which they are shown."""
    return paint_slots(fit_image(image, (SIDE, SIDE)), ways, colors)


def support(data: Demo, episode: Episode, way: int, shot: int) -> np.ndarray:
    """A support image with the mask that the method gets: its own way alone."""
    name, number = episode.supports[way][shot], episode.classes[way]
    return painted(photo(data, name), np.where(data.label_map(name) == number, way + 1, 0))


def drawn(data: Demo, protocol: str, number: int = 60, **task: object) -> Sequence[Episode]:
    return load_segmentation(protocol).manifest(data, Task(0, episodes=number, **task)).episodes  # type: ignore[arg-type]


def panels(rows: int, columns: int, name: str, side: float = 1.5) -> Iterator[Iterator[pyplot.Axes]]:
    """Rows of axes without ticks; the picture is written when all are used, what stays empty is blank."""
    figure, grid = pyplot.subplots(rows, columns, figsize=(columns * side, rows * side * 1.17), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    yield from (iter(row) for row in grid)
    figure.tight_layout(pad=0.9, w_pad=0.5, h_pad=1.6)
    figure.savefig(OUT / name, dpi=110)
    pyplot.close(figure)
    with Image.open(OUT / name) as image:  # 256 colours, scattered so that none makes a band: a third of the size
        colours = image.convert("RGB").quantize(256)
        image.convert("RGB").quantize(256, palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(
            OUT / name, optimize=True
        )


def paper_figure(runs: Sequence[Path]) -> None:
    """The figure of `fsbench explain --figure`, smaller, as a JPEG: few colours would not be the errors' own."""
    with TemporaryDirectory() as folder:
        draw_paper_figure(runs, Path(folder) / "figure.png", [])
        with Image.open(Path(folder) / "figure.png") as image:
            image.convert("RGB").resize((1200, round(image.height * 1200 / image.width))).save(
                OUT / "figure.jpg", quality=82
            )


def show(axes: pyplot.Axes, image: np.ndarray, title: str, colour: str = "black", frame: str = "") -> None:
    axes.imshow(image, interpolation="antialiased")
    axes.set_title(title, fontsize=7.5, color=colour, pad=3)
    if frame:
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=frame, linewidth=2.5)


def names_of(data: Demo, numbers: Sequence[int]) -> list[str]:
    return [data.class_names[number - 1] for number in numbers]


def present(data: Demo, episode: Episode) -> list[int]:
    truth = data.label_map(episode.query)
    return [number for number in episode.classes if (truth == number).any()]


def episodes(data: Demo) -> None:
    """2-way 1-shot episodes of `fscs` whose query shows both ways, one, none."""
    found = {len(present(data, e)): e for e in reversed(drawn(data, "fscs", way=2))}
    for row, seen in zip(panels(3, 4, "episodes.png", 1.75), (2, 1, 0), strict=False):
        episode = found[seen]
        for way, name in enumerate(names_of(data, episode.classes)):
            show(next(row), support(data, episode, way, 0), f"way {way + 1}: {name}")
        query = photo(data, episode.query)
        show(next(row), query, f"query of episode {episode.number}")
        said = {2: "both ways", 1: names_of(data, present(data, episode) or [1])[0], 0: "neither way"}[seen]
        show(next(row), painted(query, slots(data, episode.query, episode.classes)), f"truth: {said}")


def drawing(data: Demo) -> None:
    """The first queries of each protocol, with the class that is asked for."""
    names = ("fscs", "hsnet", "pfenet")
    for row, protocol in zip(panels(3, 7, "drawing.png", 1.25), names, strict=False):
        for axes, episode in zip(row, drawn(data, protocol, 7), strict=True):
            there = bool(present(data, episode))
            image = painted(photo(data, episode.query), slots(data, episode.query, episode.classes))
            title = f"{protocol} {episode.number}\n{names_of(data, episode.classes)[0]}"
            show(axes, image, title, "black" if there else RED, "" if there else RED)


def iou(answer: np.ndarray, truth: np.ndarray, policy: str) -> float:
    counts = count(answer.astype(np.uint8), truth, 1)
    inside, union = intersection_union(counts[1], policy)
    return float(100 * inside / union)


def void(data: Demo) -> None:
    """An answer that is right but for the border band, under both rules."""
    episode = next(e for e in drawn(data, "hsnet") if 0.03 < share(data, e) < 0.08)
    truth = slots(data, episode.query, episode.classes)
    rows, columns = np.nonzero(truth == 1)
    top, left = max(rows.min() - 8, 0), max(columns.min() - 8, 0)
    window = (slice(top, rows.max() + 9), slice(left, columns.max() + 9))
    image, truth = photo(data, episode.query)[window], truth[window]
    near = np.zeros(truth.shape, bool)  # the object and the pixels within two of it
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            near |= np.roll(truth == 1, (dy, dx), (0, 1))
    answer = (near & ((truth == 1) | (truth == VOID))).astype(np.uint8)
    for row in panels(1, 4, "void.png", 1.75):
        show(next(row), image, "query")
        show(next(row), painted(image, truth), "truth, void band hatched")
        show(next(row), painted(image, answer), "answer: object with its band")
        axes = next(row)
        axes.set_title("IoU in percent", fontsize=7.5, pad=3)
        for y, policy, who in ((0.68, "background", "fscs"), (0.3, "ignore", "hsnet, pfenet")):
            axes.text(0.0, y, f"{who}\nvoid: {policy}", fontsize=8, transform=axes.transAxes)
            axes.text(0.68, y, f"{iou(answer, truth, policy):.1f}", fontsize=14, transform=axes.transAxes)


def share(data: Demo, episode: Episode) -> float:
    pixels, total = data.class_pixels(episode.query)
    return pixels.get(episode.classes[0], 0) / total


def resolution(data: Demo) -> None:
    """The same coarse answer of 24 x 24 cells, scored at the query's size and at 400 x 400."""
    found = [e for e in drawn(data, "hsnet", 200) if np.divide(*photo(data, e.query).shape[1::-1]) > 1.3]
    small, large = min(found, key=lambda e: share(data, e)), max(found, key=lambda e: share(data, e))
    for row, episode in zip(panels(2, 4, "resolution.png", 1.75), (small, large), strict=False):
        image, truth = photo(data, episode.query), slots(data, episode.query, episode.classes)
        cells = np.array(Image.fromarray(((truth == 1) * 255).astype(np.uint8)).resize((24, 24), Image.Resampling.BOX))
        show(next(row), painted(image, truth), f"truth, {100 * share(data, episode):.0f} % of the image")
        show(next(row), np.repeat(cells[..., None], 3, 2), "answer, 24 x 24 cells")
        for who, (height, width) in (("fscs, pfenet", truth.shape), ("hsnet", (400, 400))):
            soft = Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR)
            answer = (np.array(soft) > 127).astype(np.uint8)
            score = iou(answer, resize_labels(truth, height, width), "ignore")
            picture = np.array(Image.fromarray(image).resize((width, height)))
            show(next(row), painted(picture, answer), f"{who}: {width} x {height}\nIoU {score:.1f}")


def settings(data: Demo) -> None:
    """One 2-way 1-shot episode in the three settings of `fscs`: which supports and which ways the method gets."""
    kinds = ("original", "partially_augmented", "fully_augmented")
    by_kind = {kind: drawn(data, "fscs", 400, way=2, setting=kind) for kind in kinds}
    wanted = next(
        i
        for i, (partly, fully) in enumerate(zip(by_kind[kinds[1]], by_kind[kinds[2]], strict=True))
        if partly.augmented and len(fully.classes) == 3
    )
    for row, kind in zip(panels(3, 6, "settings.png", 1.45), kinds, strict=False):
        episode = by_kind[kind][wanted]
        for way, names in enumerate(episode.supports):
            name = names_of(data, episode.classes)[way]
            for shot in range(len(names)):
                words = kind.replace("_", " ") if way == shot == 0 else ""
                show(next(row), support(data, episode, way, shot), f"{words}\nway {way + 1}: {name}")


def resizing(data: Demo) -> None:
    """What becomes of a photo when it shrinks to a quarter with and without antialiasing."""
    name = next(e.query for e in drawn(data, "hsnet", 200) if share(data, e) > 0.25)
    image = photo(data, name)
    for row in panels(1, 3, "resizing.png", 2.0):
        show(next(row), image, f"{image.shape[1]} x {image.shape[0]}")
        for who, resize in (("fscs, hsnet: antialiased", resize_image), ("pfenet: not", resize_image_cv2)):
            pixels = resize(image, 32).permute(1, 2, 0).numpy().round().astype(np.uint8)
            show(next(row), pixels, f"{who}, 32 x 32")


def annotations(data: Demo) -> None:
    """The supports of three episodes with what stands in place of their masks under each annotation."""
    kinds: tuple[SupportAnnotation, ...] = ("mask", "box", "point", "scribble")
    for row, episode in zip(panels(3, len(kinds), "drawn-annotations.png"), drawn(data, "hsnet", 3), strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            batch = load_episode(data, episode, LoadingConfig(2 * SIDE, annotation=kind))
            image = batch.images[int(batch.support[0, 0, 0])].permute(1, 2, 0).numpy()
            title = f"{names_of(data, episode.classes)[0]}: {kind}"
            show(axes, painted(image, batch.support_labels[0, 0, 0].numpy()), title)


def take_home(data: Demo) -> None:
    """Photos that were marked, and others with the masks of the exported file."""
    chosen = [e for e in drawn(data, "pfenet", 400, way=1) if e.classes == (16,)]
    pairs = {e.query: slots(data, e.query, e.classes) for e in chosen}
    names = list(pairs)[:6]
    predictor = Predictor("prototype", dataset="demo", device="cpu")
    predictor.support("thing", [(photo(data, name), pairs[name]) for name in names[:3]])
    with TemporaryDirectory() as folder:
        predictor.export(Path(folder, "thing.onnx"))
        run = load_program(Path(folder, "thing.onnx"), "onnx")
    for row, shown in zip(panels(2, 3, "take-home.png", 1.75), (names[:3], names[3:]), strict=True):
        for axes, name in zip(row, shown, strict=True):
            image, marked = photo(data, name), name in names[:3]
            labels = pairs[name] == 1 if marked else run(image)[0]
            show(axes, painted(image, labels.astype(np.uint8)), "marked" if marked else "found by the file")


def front_page(data: Demo, run: Path) -> None:
    """Eight test episodes spread evenly over the list: the marked support, the truth and the prediction."""
    record = read_record(run)
    assert record is not None, f"{run} is no finished run"
    chosen = {episode.number: episode for episode in choose(record.manifest.episodes)}
    experiment, batches = reopen_at(record, chosen)
    with torch.inference_mode():
        evaluated = (evaluate_batch(experiment.method, experiment.data.protocol, batch) for batch in batches)
        results = {result.episode: result for one in evaluated for result in one}
    check_counts(record, results.values())
    drawn_episodes = list(chosen.values())
    pairs = zip(drawn_episodes[::2], drawn_episodes[1::2], strict=True)
    for row, pair in zip(panels(4, 6, "../demo.png", 1.5), pairs, strict=False):
        for episode in pair:
            name, result = names_of(data, episode.classes)[0], results[episode.number]
            shot, query = episode.supports[0][0], photo(data, episode.query)
            truth = slots(data, episode.query, episode.classes) == 1
            answer = result.label_map == 1
            mask, image = data.label_map(shot) == episode.classes[0], photo(data, shot)
            marked, colors = painted(image, mask, way_colors(image, mask, 1)), way_colors(query, truth, 1)
            show(next(row), marked, f"support: {name}")
            show(next(row), painted(query, truth, colors), "truth" if truth.any() else "truth: not there")
            show(next(row), painted(query, answer, colors), "predicted" if answer.any() else "predicted: none")


if __name__ == "__main__":
    matplotlib.use("agg")
    main()
