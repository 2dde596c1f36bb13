"""Conditions of a test in the closed vocabulary of the atlas: what must agree before two figures stand side by side.

The atlas (`benchmarks/published/atlas`) states them of published evaluation programs, a protocol of itself
(`Protocol.conditions`), so that a run of ours and a reported figure are compared in the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

NOT_STATED = "not stated"
"""A protocol, such as one of an installed package, that does not say."""
NOT_FOUND = "not found"
"""A published program was read and does not tell, or is not to be had."""
UNKNOWN = (NOT_STATED, NOT_FOUND)
OPEN: Mapping[str, tuple[str, ...]] = {"geometry": ("squash",), "compared_at": ("network input", "original")}
"""Condition -> words that leave open which of several rules a program has, such as resizing by PIL or by OpenCV."""


def is_unsure(condition: str, word: str) -> bool:
    """Return whether a word of the atlas leaves a condition of a test open, so that tests cannot be compared by it.

    >>> is_unsure("geometry", "squash"), is_unsure("geometry", "letterbox"), is_unsure("void", "not found")
    (True, False, True)
    """
    return word in UNKNOWN or word in OPEN.get(condition, ())


ImageLists = Literal[
    "hsnet", "pfenet", "bam", "panet", "oslsm", "mlc", "folders", "fss-1000 test", "fss-1000 val", "gfss", "own",
    "not found",
]  # fmt: skip
MinObject = Literal[
    "none", "by the list", "2048 by the list", "2048 query+support", "4096 query+support", "2048 list + support",
    "2048 per object", "1000 support only", "16384 support only", "not found",
]  # fmt: skip
EpisodeDraw = Literal[
    "list of pairs", "list of pairs, shuffled when through", "list of pairs, two shuffled copies appended",
    "list of images", "list of images in shuffled order", "image then class",
    "image then class, query allowed as support", "image then class, class by NumPy",
    "image then class, generator of the episode", "image then class, supports may repeat", "random image then class",
    "shuffled images then class", "class then image", "class then image, generator of the episode",
    "class then image, query last", "class then image, query first", "class then image, different supports",
    "class cycle", "class cycle in shuffled order", "fixed support set", "fixed support set, by trials",
    "fixed support set, by shuffling", "not found",
]  # fmt: skip
DependsOn = Literal[
    "no", "workers", "workers+network+torch", "file order", "gpus", "gpus, and batch through drop_last", "batch",
    "workers+gpus", "unseeded", "unseeded+workers", "not found",
]  # fmt: skip
ImageGeometry = Literal[
    "squash, PIL, labels torch", "squash, PIL, labels PIL", "squash, OpenCV", "squash", "letterbox",
    "letterbox, sides rounded", "letterbox, sides rounded down", "none", "collage", "not found",
]  # fmt: skip
ComparedAt = Literal[
    "network input, torch nearest", "network input, OpenCV nearest", "network input, PIL nearest",
    "network input, letterboxed", "network input", "original, square", "original, height and width",
    "original, label there and back", "original, from a 512 frame", "original", "answer size", "fixed 256",
    "fixed 512", "fixed 518", "fixed 1024", "not found",
]  # fmt: skip
Void = Literal["ignored", "background", "none", "not found"]
Metric = Literal[
    "class-pooled mIoU", "class-pooled mIoU, classes seen", "class-pooled mIoU, present only",
    "class-pooled mIoU, absent is an error", "class-pooled mIoU, best threshold", "pooled foreground IoU",
    "pooled over batches with background", "confusion with background", "confusion without background",
    "gfss, base with background, zero for absent", "gfss, base with background", "gfss, base without background",
    "mean Dice of scans", "not found",
]  # fmt: skip
FBIoU = Literal["pooled", "pooled, present only", "not computed", "mean of mIoU and background IoU", "not found"]


@dataclass(frozen=True)
class Conditions:
    """Conditions of a test on one data set, each a word that the atlas (table of programs) allows, or `NOT_STATED`.

    Attributes:
        task: kind of the test: FSS, FS-CS where queries may show none of the classes, CD-FSS across domains, GFSS.
        image_lists: whose lists of images, or of images and classes, the test goes through.
        min_object: pixels that an object must have for its image to take part.
        episode_draw: the order in which an episode's images are drawn, such as "image then class" or "class cycle".
        episodes_per_fold: the number of episodes that the program is asked for, or "all …" with that number; some
            programs evaluate one more.
        seeds: the seeds of the episodes.
        depends_on: what changes the episodes besides the seed, such as "workers" or "gpus"; "no" for nothing.
        geometry: how an image becomes the square that the network sees.
        compared_at: size at which prediction and ground truth are compared, such as "original".
        void: what pixels without a true class count as, "ignored" or "background"; "none" where the data set has none.
        metric: how the score that ranks methods is computed, such as "class-pooled mIoU".
        fb_iou: how FB-IoU is computed, such as "pooled", or "not computed".
    """

    task: str = NOT_STATED
    image_lists: str = NOT_STATED
    min_object: str = NOT_STATED
    episode_draw: str = NOT_STATED
    episodes_per_fold: str = NOT_STATED
    seeds: str = NOT_STATED
    depends_on: str = NOT_STATED
    geometry: str = NOT_STATED
    compared_at: str = NOT_STATED
    void: str = NOT_STATED
    metric: str = NOT_STATED
    fb_iou: str = NOT_STATED


class ListsAndDraw(NamedTuple):
    """A protocol's image lists, smallest object and episode draw on one data set, each a word of the atlas."""

    image_lists: str
    min_object: str
    episode_draw: str


ALL_EPISODES = {"fss1000": "all 2400"}
"""Number of episodes of a test that asks for each listed pair once, where the list is always the same."""

ATLAS_NAMES: Mapping[str, str] = {
    "pascal": "PASCAL-5i", "coco": "COCO-20i", "fss1000": "FSS-1000", "isaid": "iSAID-5i", "isaid512": "iSAID-5i",
    "isic": "ISIC2018", "deepglobe": "DeepGlobe", "lung": "Chest X-ray", "suim": "SUIM",
    "chaost2": "abdominal CT/MRI", "sabs": "abdominal CT/MRI",
}  # fmt: skip
"""Our data sets by the names of the atlas."""
WITHOUT_VOID = frozenset(
    (
        "coco", "coco_all", "deepglobe", "deepglobe_all", "isic", "isic_one", "isic_folds", "isic_listed", "lung",
        "lung_all", "lungcancer", "suim", "kvasir", "nucleus", "pothole", "weedmap", "industrial", "fss1000", "lvis",
        "paco_part", "pascal_part", "chaost2", "sabs", "cmr",
    )
)  # fmt: skip
"""Published data sets whose every pixel has a true class, so that no rule for void pixels changes a score."""
