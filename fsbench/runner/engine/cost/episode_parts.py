"""Measure which share of an episode's time backbone, head, loader and metric take, for any method.

Weights may be random, and the images are drawn unless a data set is named. Every image is decoded and encoded anew, so
the shares are those of an episode whose images no other episode has.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fsbench.base.errors import SettingsError
from fsbench.core.classifier import FeatureClassifier
from fsbench.core.evaluation import evaluate_batch
from fsbench.runner.config.build import parse_configuration
from fsbench.runner.config.compose import compose_values
from fsbench.runner.config.registry import choose_method, config_files, task_of
from fsbench.runner.engine.cost.drawn_files import draw_classification, draw_segmentation
from fsbench.runner.engine.cost.part_clock import PartClock

PARTS = ("loader", "backbone", "head", "metric")
"""Reading and resizing the episode's files, up to the device; forward passes of the network; all else that the method
does, gradients included; comparing with the truth and the rows of the record."""

WAYS, QUERIES = 5, 15
"""Numbers of a drawn episode of classification."""


@dataclass(frozen=True)
class EpisodeParts:
    """Where the time of an episode goes.

    Attributes:
        method: name in configs/methods.
        backbone: name of its backbone.
        image_size: side of the images in pixels.
        ways, shots: N and K.
        episodes: number of measured episodes.
        seconds: mean time of an episode.
        parts: mean seconds of each of `PARTS`; they add up to `seconds`.
    """

    method: str
    backbone: str
    image_size: int
    ways: int
    shots: int
    episodes: int
    seconds: float
    parts: dict[str, float]

    @property
    def percent(self) -> dict[str, float]:
        """Share of each part of the episode's time."""
        return {part: 100 * seconds / self.seconds if self.seconds else 0.0 for part, seconds in self.parts.items()}


def episode_parts(
    names: Sequence[str],
    shots: Sequence[int],
    weights: str | None = "random",
    device: torch.device | None = None,
    episodes: int = 3,
    backbone: str | None = None,
    image_size: int | None = None,
    dataset: str | None = None,
) -> Iterator[EpisodeParts]:
    """Measure each method with each number of shots, over several episodes after one that warms up.

    Args:
        names: methods of configs/methods.
        shots: numbers of shots, 1 or more.
        weights: weights of the backbone, as in `BackboneConfig`.
        device: where to measure; the CPU if None.
        episodes: measured episodes.
        backbone: backbone instead of the method's own.
        image_size: side of the images instead of the method's own.
        dataset: a data set of configs/data; None for drawn files of the size of PASCAL's images: 1-way with one query
            for segmentation, `WAYS` and `QUERIES` for classification.

    Raises:
        SettingsError: a name is unknown, or the method does not take the image size or the number of shots.
        DataError: the data set's files are unusable.
    """
    if min(shots) < 1:
        raise SettingsError(f"shots is {min(shots)}, expected 1 or more")
    device = device or torch.device("cpu")
    for name in names:
        for count in shots:
            with TemporaryDirectory() as folder:
                files = config_files(name, dataset or _any_dataset(name), backbone=backbone)
                settings = {
                    "data.shot": count,
                    "data.episodes": 1 + episodes,
                    "data.workers": 0,
                    "data.eval_batch_size": 1,
                    "data.cache_mib": 0,
                    "run.name": choose_method(name, backbone).name,
                    **(_draw(Path(folder), name, count) if dataset is None else {}),
                }
                given = {"data.image_size": image_size, "model.backbone.weights": weights}
                settings |= {key: value for key, value in given.items() if value is not None}
                composed = parse_configuration(compose_values(files, settings))
                method, data = composed.model, composed.datamodule
                method.check_image_size(data.image_size)
                method.check_shots(count, None)
                total = measure_parts(method, data, device, episodes, PartClock(device))
            parts = {part: total.get(part, 0.0) / episodes for part in PARTS}
            seconds = sum(parts.values())
            yield EpisodeParts(
                name, method.backbone.name, data.image_size, data.test.way, count, episodes, seconds, parts
            )


def measure_parts(method: Any, data: Any, device: torch.device, episodes: int, clock: PartClock) -> dict[str, float]:
    """Evaluate 1 + `episodes` episodes as a run does; return the seconds of each part in all but the first.

    Args:
        method: the method, with cached features that this forgets.
        data: a data module that loads in this process.
        device: where the method runs.
        episodes: number of measured episodes.
        clock: what credits the time.

    Raises:
        SettingsError: the data module has fewer episodes.
    """
    method = method.to(device).eval()
    data.needs = method.needs
    if isinstance(method, FeatureClassifier):
        method.data = data  # images are asked for one by one, and encoded without the store of features
    loader = data.test_dataloader()
    if len(loader) < 1 + episodes:
        raise SettingsError(f"the data set has {len(loader)} episodes, expected {1 + episodes}; ask for fewer")
    batches = iter(loader)
    with ExitStack() as stack:
        stack.enter_context(clock.wrap_methods("backbone", method.backbone, *method.backbone.encoders))
        stack.enter_context(_copies_credited(method.backbone, clock))
        if method.task == "segmentation":
            stack.enter_context(clock.wrap_methods("head", method, "predict_shots"))
        else:
            stack.enter_context(clock.wrap_methods("head", method, "classify"))
            stack.enter_context(clock.wrap_methods("loader", data, "image"))
        _evaluate_one(method, data.protocol, batches, device, clock)
        clock.restart()
        for _ in range(episodes):
            _evaluate_one(method, data.protocol, batches, device, clock)
        return clock.seconds()


def _evaluate_one(method: Any, protocol: Any, batches: Iterator[Any], device: torch.device, clock: PartClock) -> None:
    """Load the next episode, predict it, and make the rows of its record."""
    method.backbone.cache.clear()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    with clock.part("metric"), torch.inference_mode():
        with clock.part("loader"):
            batch = method.transfer_batch_to_device(next(batches), device, 0)
        for result in evaluate_batch(method, protocol, batch):
            result.rows()


@contextmanager
def _copies_credited(backbone: Any, clock: PartClock) -> Iterator[None]:
    """Credit the forward passes of copies of the network, which methods tune in every episode, to the backbone."""
    new_copy = getattr(backbone, "new_copy", None)
    if new_copy is None:
        yield
        return

    def credited_copy(*arguments: Any) -> Any:
        copy = new_copy(*arguments)
        for name in ("forward", "forward_intermediates"):
            if hasattr(copy, name):
                setattr(copy, name, clock.wrap("backbone", getattr(copy, name)))
        return copy

    backbone.new_copy = credited_copy
    try:
        yield
    finally:
        del backbone.new_copy


def _any_dataset(method: str) -> str:
    """Return the data set of configs/data for any folder that suits a method."""
    return "folder" if task_of("methods", choose_method(method).method) == "segmentation" else "imagefolder"


def _draw(folder: Path, method: str, shots: int) -> dict[str, Any]:
    """Draw the files of episodes of a method; return the settings that name them."""
    settings: dict[str, Any] = {"data.dataset.root": str(folder)}
    if _any_dataset(method) == "folder":
        draw_segmentation(folder, images=shots + 3)
        return settings | {"data.way": 1, "data.empty_masks": False}  # both classes are in every image
    draw_classification(folder, WAYS, images=shots + QUERIES)
    return settings | {"data.way": WAYS, "data.queries": QUERIES}


HEAD = ("method", "backbone", "image", "way", "shots", "part", "seconds", "percent")


def part_rows(measured: Sequence[EpisodeParts]) -> list[list[str]]:
    """Return the table of parts as text, its head first; the whole follows each episode's parts."""
    rows = [list(HEAD)]
    for m in measured:
        task = [m.method, m.backbone, str(m.image_size), str(m.ways), str(m.shots)]
        rows += [[*task, part, f"{m.parts[part]:.4f}", f"{m.percent[part]:.1f}"] for part in m.parts]
        rows.append([*task, "episode", f"{m.seconds:.4f}", "100.0"])
    return rows


def plain(measured: Sequence[EpisodeParts]) -> list[dict[str, Any]]:
    """Return the parts as plain values for JSON."""
    return [asdict(m) | {"percent": m.percent} for m in measured]
