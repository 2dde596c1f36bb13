"""A protocol: the choices that make two figures comparable, written down in `configs/protocols/*.yaml`."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from fsbench.data.dataset import SegmentationIndex, VoidPolicy
from fsbench.episodes.settings import SETTINGS, unknown_setting
from fsbench.episodes.task import EpisodeTask
from fsbench.errors import SettingsError
from fsbench.files import read_yaml
from fsbench.paths import CONFIGS
from fsbench.plugins import named_files

Sampler = Literal["fscs", "hsnet", "pfenet", "incontext", "fssdino"]
Resize = Literal["pil", "cv2", "frame"]
OTHERS = "others"
"""Key of a per-dataset setting that holds for data sets that are not named."""


@dataclass(frozen=True)
class Protocol:
    """`fsbench protocols` says what follows from each choice.

    Attributes:
        name, version: together part of every record's identity; the version grows when a choice changes.
        sampler: rule that draws the episodes.
        seed: of the sampler; None where every episode is seeded with its own index.
        streams: by data set, number of random streams that take turns (loader processes of the official program).
        episodes: by data set, number of test and of validation episodes, or "all" for one per listed pair.
            Size-restricted settings have their own, smaller number.
        ways: "any" number of classes in an episode, or "one".
        empty_queries: whether a query may show none of its episode's classes.
        settings: evaluation settings that are defined.
        resize: how images and masks become S x S.
        query_size: resolution of the metrics: the query's "original" size, the method's "input" size, or S for S x S
            pixels.
        void: what void pixels count as.
        shots: who turns K shots into one answer.
        presence: how presence follows from the mask for methods that only segment.
        averaging: what is summed before intersections are divided by unions.
        fb_iou: the foreground of FB-IoU: the classes' intersections and unions "pooled", or the mean over "classes",
            which is the metric FB-IoU-classes.
        frame: side in pixels of the padded square in which prediction and truth lie before they are stretched to the
            query's original size; None where they lie over the image itself.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    version: int
    summary: str
    sampler: Sampler
    seed: int | None
    streams: dict[str, int]
    episodes: dict[str, int | Literal["all"]]
    ways: Literal["any", "one"]
    empty_queries: bool
    settings: Literal["fscs", "original"]
    resize: Resize
    query_size: Literal["original", "input"] | int
    void: VoidPolicy
    shots: Literal["method"]
    presence: Literal["any_pixel"]
    averaging: Literal["class_sums"]
    fb_iou: Literal["pooled", "classes"] = "pooled"
    frame: int | None = None

    def episode_count(self, dataset: str, pairs: int) -> int:
        """Number of episodes on `dataset`, whose list has `pairs` (image, class) pairs."""
        count = self.episodes.get(dataset, self.episodes[OTHERS])
        return pairs if count == "all" else count

    def check(self, index: SegmentationIndex, task: EpisodeTask) -> None:
        """Raise SettingsError for an unknown fold, way, shot or setting and for what the protocol does not define."""
        index.check_fold(task.fold)
        if task.setting not in SETTINGS:
            raise SettingsError(unknown_setting(task.setting))
        if self.settings == "original" and task.setting != "original":
            raise SettingsError(f"protocol {self.name} has no setting '{task.setting}'; choose original, or fscs")
        if self.ways == "one" and task.way > 1:
            raise SettingsError(f"protocol {self.name} is 1-way, found way {task.way}; choose WAY=1, or fscs")
        if self.seed is None and task.seed is not None:
            raise SettingsError(f"protocol {self.name} seeds episodes by their index; found test seed {task.seed}")
        if task.seed is not None and not 0 <= task.seed < 2**32:
            raise SettingsError(f"test seed is {task.seed}, expected 0 to {2**32 - 1}")
        for name, value in (("way", task.way), ("shot", task.shot), ("episodes", task.episodes)):
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}, expected 1 or more")


def protocol_names() -> list[str]:
    """Return the names of the protocols of fsbench and of installed packages."""
    return sorted(named_files("protocols", CONFIGS))


@cache
def load_protocol(name: str) -> Protocol:
    """The protocol `name` of `configs/protocols`. Raises SettingsError for an unknown name or a bad value."""
    if name not in protocol_names():  # a record's is anybody's, and no path
        raise SettingsError(f"unknown protocol '{name[:100]}'; there are: {', '.join(protocol_names())}")
    return read_protocol(named_files("protocols", CONFIGS)[name].path)


def read_protocol(path: Path) -> Protocol:
    """Read the protocol of a YAML file. Raises SettingsError unless every key is there with an allowed value."""
    protocol: Protocol = read_yaml(path, Protocol, "a protocol")
    if protocol.version < 1 or not (protocol.seed is None or 0 <= protocol.seed < 1 << 32):
        raise SettingsError(
            f"{path}: version is {protocol.version} and seed {protocol.seed}, expected a version from 1 and a seed "
            "from 0 to 4294967295 or nothing"
        )
    if isinstance(protocol.query_size, int) and protocol.query_size < 1:
        raise SettingsError(f"{path}: query_size is {protocol.query_size}, expected 'original', 'input' or 1 or more")
    framed = protocol.resize == "frame" and protocol.query_size == "original" and (protocol.frame or 0) > 0
    if not framed and (protocol.frame is not None or protocol.resize == "frame"):
        raise SettingsError(
            f"{path}: resize is '{protocol.resize}', query_size {protocol.query_size} and frame {protocol.frame}; "
            "expected a frame from 1 with resize 'frame' and query_size 'original', or none of it"
        )
    for key in ("streams", "episodes"):
        few = {name: count for name, count in getattr(protocol, key).items() if count != "all" and count < 1}
        if few:
            raise SettingsError(f"{path}: {key} is {few}, expected 1 or more")
        if OTHERS not in getattr(protocol, key):
            datasets = ", ".join(getattr(protocol, key))
            raise SettingsError(f"{path}: {key} has {datasets}, expected an entry '{OTHERS}', too")
    return protocol
