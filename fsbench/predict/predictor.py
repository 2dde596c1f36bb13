"""`fsbench.Predictor`: a method with its support, which segments any number of images."""

import copy
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fsbench.base.environment import check_environment
from fsbench.base.errors import DataError, FsbenchError, SettingsError
from fsbench.base.files import fingerprint, sha256_file
from fsbench.base.generators import steady
from fsbench.base.own_modules import own_modules
from fsbench.base.tensor_cache import digest
from fsbench.base.terminal import print_note
from fsbench.base.version import __version__
from fsbench.core.answering import asked
from fsbench.core.global_state import kept_global_state
from fsbench.core.prediction import Instances, array
from fsbench.core.query_maps import HasQueryMaps
from fsbench.data.batch import EpisodeBatch, Hints, ImageKeys, image_key, normalise
from fsbench.data.dataset import VOID
from fsbench.data.image_io import read_upright
from fsbench.data.label_maps import resize_labels
from fsbench.data.transforms import own_pixels
from fsbench.predict.images import (
    LoadedImage,
    QueryImage,
    find_images,
    load_image,
    pixels_digest,
    prefetch_map,
    read_image_file,
)
from fsbench.predict.leave_one_out import ClassCheck, leave_one_out
from fsbench.predict.result import ClassPresence, ImageResult, image_instances, palette
from fsbench.predict.supports import (
    MOST_ASKED,
    NO_CLASS,
    Support,
    SupportSet,
    read_negatives,
    read_supports,
    stack_supports,
)
from fsbench.predict.tiles import Tile, label_by_tiles, objects_at_tile_size
from fsbench.protocols.reading import load_segmentation
from fsbench.protocols.view import input_rule, own_rule
from fsbench.results.pictures.sheet import Panel
from fsbench.results.pictures.steps import step_panels
from fsbench.runner.config.backbone_choice import AUTO
from fsbench.runner.config.parse import ParsedRun
from fsbench.runner.config.registry import task_of
from fsbench.runner.config.run_config import NO_DATASET, RunConfig
from fsbench.runner.config.stored import parse_stored
from fsbench.runner.engine.answering import choose_device
from fsbench.runner.engine.checkpoint import load_checkpoint
from fsbench.scores.answers import SegmentationAnswer, presence_from_mask

if TYPE_CHECKING:
    from fsbench.predict.export import Agreement, Format


class Predictor:
    """Segments images by a few labelled examples.

    Args:
        method: Name of a method of configs/methods; "prototype" needs no checkpoint.
        checkpoint: File of the method's weights, from a training with fsbench or from the method's authors. If it lies
            in the folder of a run, all settings are taken from that run.
        weights: File of the backbone's weights, or "random".
        backbone: Name of another backbone than the method's own. "demo" comes with fsbench, but is poor on real photos;
            "auto" takes EfficientNet-lite0 of `fsbench[photos]` if the weights of the method's own backbone are
            missing.
        dataset: Data set for which the method's settings are taken, e.g. "coco"; None for the settings of the
            checkpoint's run, or the method's default.
        image_size: Side in pixels of the square images that the method gets; None for the method's own.
        device: "cpu", "cuda", "cuda:1" …; "auto" takes a GPU if there is one.
        only_present: Whether pixels of a class are removed where the class is predicted to be absent: by the threshold
            on its presence score if `leave_one_out` found one, otherwise by the method's own decision.
        megapixels: Largest size of a computed mask, in millions of pixels; masks of larger images are computed at this
            size and enlarged.
        tiles: Whether images whose longer side is more than twice `image_size` are predicted in overlapping square
            tiles of that side, so that small objects are found; single objects are then not told apart. Of labelled
            images of that size, the part around the marked object is shown to the method.

    Raises:
        SettingsError: settings do not fit together.
        CheckpointError: weights are missing or do not fit.

    Examples:
        >>> import fsbench
        >>> episode = fsbench.load_test("demo", protocol="pfenet", episodes=5)[0]
        >>> support = episode.supports[0][0]
        >>> predictor = fsbench.Predictor("prototype", dataset="demo", device="cpu")
        >>> predictor = predictor.support("grid", [(support.image, support.mask == 1)])
        >>> (result,) = predictor(episode.query_file)
        >>> result.mask("grid").shape, result.mask("grid").dtype
        ((144, 115), dtype('bool'))
    """

    @kept_global_state()
    def __init__(
        self,
        method: str = "prototype",
        *,
        checkpoint: str | Path | None = None,
        weights: str | Path | None = None,
        backbone: str | None = None,
        dataset: str | None = None,
        image_size: int | None = None,
        device: str = "auto",
        only_present: bool = False,
        megapixels: float = 16.0,
        tiles: bool = False,
    ):
        check_environment()
        self.checkpoint = Path(checkpoint) if checkpoint else None
        composed = compose_run(method, dataset, self.checkpoint, backbone, None if weights is None else str(weights))
        self.settings: dict[str, Any] = composed.config.as_dict()
        self.name: str = self.settings["run"]["name"]
        data = composed.data_arguments
        if image_size is not None and image_size < 1:
            raise SettingsError(f"image_size is {image_size}, expected a number of pixels above 0")
        self.image_size = image_size or data["image_size"]
        self.resize = input_rule(
            load_segmentation(data["test"]["protocol"]).view.resize,
            own_rule(data.get("input_resize", "protocol"), None),
        )
        self.device = choose_device(device)
        self.only_present = only_present
        if not 0 < megapixels < math.inf:
            raise SettingsError(f"megapixels is {megapixels}, expected a number above 0")
        self.max_pixels = int(megapixels * 1e6)
        self.tiles = tiles
        self.method = composed.build_method()
        self.method.nshot_strategy = self.settings["run"]["nshot_strategy"]
        self.method.keeps_instances = True
        if self.checkpoint is not None:
            load_checkpoint(self.method, self.checkpoint, image_size=self.image_size)
        elif self.method.learns:
            raise SettingsError(
                f"{self.name} has to be trained; give its checkpoint (--ckpt FILE), or take the training-free prototype"
            )
        if self.method.needs.before_test:
            raise SettingsError(
                f"{self.name} {self.method.needs.before_test}, which predict cannot do; choose settings of the method "
                "without that"
            )
        self.method.check_image_size(self.image_size)
        self.method.to(self.device).eval()
        self.supports: list[Support] = []
        self.negatives: list[Support] = []
        self.checks: dict[str, ClassCheck] = {}
        self._support_set: SupportSet | None = None
        self._labelled: dict[str, list[Support]] | None = None
        self._told = set[str]()

    def support(self, name: str, pairs: Iterable[tuple[Any, Any]]) -> "Predictor":
        """Add labelled images of one class, and return the predictor itself.

        Args:
            name: Name of the class.
            pairs: (image, mask) pairs. An image is a file or an array (H, W, 3) uint8. A mask is a PNG file, in black
                and white or with one number for the object, or an array (H, W) that is not 0 on the object; beside 1
                alone, 255 is void.

        Raises:
            DataError: a file or an array is unusable, or image and mask differ in size.
        """
        return self.add(self._read_pairs(name, pairs))

    def negative(self, photos: Iterable[Any]) -> "Predictor":
        """Add images without any of the classes, or regions that belong to no class, and return the predictor itself.

        Photos show which presence scores occur where a class is absent (see `leave_one_out`). Pixels that match a
        marked region better than any class become background.

        Args:
            photos: Images (files or arrays (H, W, 3) uint8), or pairs of an image and a mask of the region in the forms
                that `support` accepts.

        Raises:
            DataError: a file is unusable, or image and mask differ in size.
        """
        added: list[Support] = []
        for given in photos:
            if isinstance(given, tuple):
                added += self._read_pairs(NO_CLASS, [given], len(added))
            elif isinstance(given, np.ndarray):
                pixels = _rgb(given).copy()
                added.append(Support(self._next_name(len(added)), pixels, np.zeros(pixels.shape[:2], np.uint8), {}))
            else:
                negatives, notes = read_negatives([str(given)])
                added += negatives
                for note in notes:
                    print_note(note)
        return self.add((), added)

    def _next_name(self, pending: int) -> str:
        """Return the name of an array, where `pending` others are about to be added."""
        return f"support {len(self.supports) + len(self.negatives) + pending + 1}"

    def _read_pairs(self, name: str, pairs: Iterable[tuple[Any, Any]], pending: int = 0) -> list[Support]:
        added: list[Support] = []
        for image, mask in pairs:
            if not isinstance(image, np.ndarray) and not isinstance(mask, np.ndarray):
                supports, notes = read_supports([(name, Path(image), Path(mask))])
                added += supports
                for note in notes:
                    print_note(note)
                continue
            is_file = not isinstance(image, np.ndarray)
            image_name = str(image) if is_file else self._next_name(pending + len(added))
            pixels = read_upright(Path(image))[0] if is_file else _rgb(image).copy()
            labels = (np.asarray(mask) != 0).astype(np.uint8)
            if {*np.unique(mask).tolist()} - {0} == {1, VOID}:  # as of an episode's support
                labels[np.asarray(mask) == VOID] = VOID
            if labels.shape != pixels.shape[:2]:
                raise DataError(
                    f"a support photo has the shape {pixels.shape} and its mask {labels.shape}; expected a mask of the "
                    "photo's height and width"
                )
            added.append(Support(image_name, pixels, labels, {1: name}))
        return added

    def add(self, supports: Sequence[Support], negatives: Sequence[Support] = ()) -> "Predictor":
        """Add labelled images, and images without the classes (negatives); return the predictor itself.

        Args:
            supports: Labelled images, as `read_supports` returns them; one that shows no class is a negative.
            negatives: Images without the classes, as `read_negatives` returns them.
        """
        names: dict[tuple[tuple[int, ...], str], str] = {}

        def named(support: Support) -> Support:
            """Give a photo that is here already, under whatever name, the name that it has."""
            key = support.pixels.shape, pixels_digest(support.pixels)
            return replace(support, image_name=names.setdefault(key, support.image_name))

        marked = [one for one in supports if one.classes]
        unmarked = [one for one in supports if not one.classes]
        return self._take(
            [named(one) for one in (*self.supports, *marked)],
            [named(one) for one in (*self.negatives, *negatives, *unmarked)],
        )

    def clear(self) -> "Predictor":
        """Remove all supports and negatives."""
        self.method.backbone.cache.clear()
        return self._take([], [])

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told:
            print_note(sentence)
        self._told.add(sentence)

    def _take(self, supports: list[Support], negatives: list[Support]) -> "Predictor":
        self.supports, self.negatives = supports, negatives
        self.checks = {}
        self._support_set = self._labelled = None
        return self

    def leave_one_out(self) -> dict[str, ClassCheck]:
        """Segment each labelled image with the others as supports; return IoUs and presence scores by class.

        At most ten photos with a class and ten without it are predicted. If presence scores separate photos with and
        without a class, later results decide by a threshold on the score whether an image shows the class; until then
        they make no statement on presence (`ClassPresence.tells` is False).

        Returns:
            {class name: how well the class was found}.
        """
        checks = leave_one_out(self.supports, self.negatives, self._predict_without_itself)
        self.checks = checks
        return checks

    def _predict_without_itself(self, photo: Support) -> ImageResult:
        """Predict a labelled photo with the others as supports and negatives."""
        supports, negatives, checks = self.supports, self.negatives, self.checks
        kept = ([one for one in given if one.image_name != photo.image_name] for given in (supports, negatives))
        try:
            return self._take(*kept).predict(photo.pixels)
        finally:
            self._take(supports, negatives)
            self.checks = checks

    def share_in_negatives(self) -> float | None:
        """Return the share (0 to 1) of pixels in negatives' marked regions that are still predicted as a class.

        The regions belong to no class, so 0 is best. At most ten photos are segmented, each with the other photos as
        supports and negatives. None if fewer than two photos have a marked region, if the only support's photo has
        one, or if the method cannot segment a photo without its own labels.
        """
        marked: dict[str, list[Support]] = {}
        for one in self.negatives:
            if one.classes:
                marked.setdefault(one.image_name, []).append(one)
        shown = {one.image_name for one in self.supports}
        if len(marked) < 2 or (len(shown) == 1 and shown <= marked.keys()):
            return None
        taken = []
        for regions in list(marked.values())[:MOST_ASKED]:
            try:
                found = self._predict_without_itself(regions[0]).label_map > 0
            except FsbenchError:  # the method takes no other number of supports, or cannot answer this photo
                return None
            taken += [found[np.isin(one.labels, [*one.classes])] for one in regions]
        return float(np.concatenate(taken).mean())

    @property
    def support_set(self) -> SupportSet:
        """All supports, resized and grouped by class, as tensors on the device."""
        if self._support_set is None:
            supports, negatives = self.supports, self.negatives
            if self.tiles:
                supports, negatives = (
                    [part for one in given for part in objects_at_tile_size(one, self.tile_side)]
                    for given in (supports, negatives)
                )
            stacked = stack_supports(supports, self.image_size, self.resize, negatives)
            self.method.check_shots(stacked.rows.shape[2], None)
            images, rows, labels = (tensor.to(self.device) for tensor in (stacked.images, stacked.rows, stacked.labels))
            self._support_set = replace(stacked, images=images, rows=rows, labels=labels)
        return self._support_set

    @property
    def tile_side(self) -> int:
        """Side of tiles in pixels; larger images are predicted in tiles, if the predictor makes tiles."""
        return 2 * self.image_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; number n of a label map is `classes[n - 1]`."""
        return self.support_set.classes

    @property
    def thresholds(self) -> list[float | None]:
        """For each class, the presence score above which an image shows it; None if no threshold was found."""
        return [self.checks[name].threshold if name in self.checks else None for name in self.classes]

    @property
    def score_meaning(self) -> str:
        """What a class's presence score means, in a few words.

        An example is "how sure the method is that a photo shows it".
        """
        own = self.method.predicts_presence
        return "how sure the method is that a photo shows it" if own else "share of the photo's pixels with the class"

    def __call__(
        self, query: str | Path | Sequence[str | Path], refused: list[str] | None = None, threads: int = 2
    ) -> Iterator[ImageResult]:
        """Segment the images of folders and single images, one by one, sorted by name.

        Labelled images are predicted, too (see `own_labels`). An image that cannot be read raises DataError; with
        `refused`, its message is appended there instead.
        """
        paths = [query] if isinstance(query, str | Path) else query
        images = find_images([Path(path) for path in paths], refused=refused)
        for loaded in self.load_images(images, threads):
            if isinstance(loaded, LoadedImage):
                yield self.predict(loaded)
            elif refused is None:
                raise loaded
            else:
                refused.append(str(loaded))

    def load_images(self, images: Iterable[QueryImage], threads: int) -> Iterator[LoadedImage | DataError]:
        """Decode images in threads ahead of prediction, in order; an unreadable image yields a DataError."""
        read = partial(
            read_image_file,
            side=self.image_size,
            resize=self.resize,
            tile_side=self.tile_side if self.tiles else None,
            labelled={one.pixels.shape[:2] for one in (*self.supports, *self.negatives)},
        )
        return prefetch_map(read, images, threads)

    def own_labels(self, image: LoadedImage) -> ImageResult | None:
        """Return an image's labels if it is one of the labelled images, whatever its name; None for any other image.

        These are the masks of its supports together, later ones over earlier ones. A negative without marked regions
        shows none of the classes.

        Args:
            image: The image, as `load_images` decodes it.
        """
        if self._labelled is None:
            self._labelled = {}
            for one in (*self.supports, *(one for one in self.negatives if not one.classes)):
                self._labelled.setdefault(pixels_digest(one.pixels), []).append(one)
        labelled = [one for one in self._labelled.get(image.digest, []) if one.labels.shape == image.size]
        if not labelled:
            return None
        label_map = np.zeros(image.size, np.uint8)
        for one in labelled:
            label_map[(one.labels == VOID) & (label_map == 0)] = VOID
            for number, name in one.classes.items():
                label_map[one.labels == number] = self.classes.index(name) + 1
        pixels = [int(np.count_nonzero(label_map == number)) for number in range(1, len(self.classes) + 1)]
        classes = tuple(
            ClassPresence(number, name, marked > 0, float(marked > 0), marked)
            for number, (name, marked) in enumerate(zip(self.classes, pixels, strict=True), 1)
        )
        return ImageResult(image.name, label_map, classes, image.preview, labelled=True)

    def predict(self, image: LoadedImage | np.ndarray, steps: bool = False) -> ImageResult:
        """Segment one image.

        Args:
            image: The image, (H, W, 3) uint8, or decoded by `load_images`.
            steps: Whether the method's intermediate steps are drawn, too.
        """
        image = self._load(image) if isinstance(image, np.ndarray) else image
        panels: list[Panel] = []
        instances: Instances | None = None
        if image.whole is None:
            answer, instances = self._ask(image, panels if steps else None)
        else:
            answer = self._ask_by_tiles(image.name, image.whole)
        label_map = own = answer.label_map
        if answer.present is None or answer.score is None:
            decided, scores = presence_from_mask(label_map, len(self.classes))
        else:
            decided, scores = answer.present, answer.score
        present = [
            bool(own_decision) if threshold is None else score > threshold
            for own_decision, score, threshold in zip(decided, scores.tolist(), self.thresholds, strict=True)
        ]
        if label_map.shape != image.size:
            label_map = resize_labels(label_map, *image.size)
        if self.only_present:
            kept = np.array([True, *present] + [False] * (255 - len(present)))
            label_map = np.where(kept[label_map], label_map, 0).astype(np.uint8)
        classes = tuple(
            # bincount would take 8 bytes a pixel
            ClassPresence(
                number, name, is_there, score, int(np.count_nonzero(label_map == number)), threshold is not None
            )
            for number, (name, is_there, score, threshold) in enumerate(
                zip(self.classes, present, scores.tolist(), self.thresholds, strict=True), 1
            )
        )
        objects = () if instances is None else image_instances(instances, own, label_map)
        return ImageResult(image.name, label_map, classes, image.preview, objects, tuple(panels))

    def _ask(
        self, image: LoadedImage, panels: list[Panel] | None = None
    ) -> tuple[SegmentationAnswer, Instances | None]:
        """Return the method's answer about the classes, without negatives' regions, and the single objects it found.

        The pictures of its intermediate steps are appended to `panels`, if given.
        """
        episode = self.episode(image)
        try:
            with asked(), steady(self.name, self._tell_once):
                prediction = self.method.predict_shots(episode)
                if panels is not None and isinstance(self.method, HasQueryMaps):
                    panels += step_panels(self.method, episode, image.preview, palette()[1:])
        finally:  # whatever happens, the photo takes no room
            if episode.image_keys[0] not in self.support_set.image_keys:
                self.method.backbone.cache.forget(episode.image_keys[0])
        answer = prediction.answer(f"{self.name} on {image.name}", soft=False)
        classes = len(self.classes)
        own = replace(
            answer,
            label_map=np.where(answer.label_map > classes, 0, answer.label_map).astype(np.uint8),
            present=None if answer.present is None else answer.present[:classes],
            score=None if answer.score is None else answer.score[:classes],
        )
        return own, prediction.instances

    def _ask_by_tiles(self, name: str, pixels: np.ndarray) -> SegmentationAnswer:
        """Return the answers about an image's tiles as one: a class is present if it is in one of the tiles."""
        present, scores = [], []

        def label(tile: Tile) -> np.ndarray:
            loaded = load_image(pixels[tile], self.image_size, self.resize, name)
            answer, _ = self._ask(loaded)
            present.append(answer.present)
            scores.append(answer.score)
            return resize_labels(answer.label_map, *loaded.size)

        label_map = label_by_tiles((pixels.shape[0], pixels.shape[1]), self.tile_side, len(self.classes), label)
        return SegmentationAnswer(label_map, _largest(present), _largest(scores))

    def export(
        self,
        out: str | Path,
        *,
        format: "Format" = "onnx",
        images: Iterable[str | Path | np.ndarray] = (),
        force: bool = False,
    ) -> "Agreement":
        """Write the method with its supports to one ONNX or PyTorch file that runs without fsbench.

        The file takes an image (H, W, 3) uint8 as `image` and gives `labels` (H, W) uint8, and for each class `present`
        int8 and `score` float32. `present` is -1 and `score` NaN unless `leave_one_out` shows that scores separate
        photos with and without the class; it is run first if that has not been done. The file's predictions are
        compared with the method's own on the supports and on `images`: 99.9 % of the labels of each image must be
        equal, and the other pixels within 0.001 of the threshold. The file computes masks at the image's full size,
        also above `megapixels`.

        Args:
            out: The file; an ONNX file gets a script beside it, under its name with `.py`, that runs it with numpy,
                Pillow and onnxruntime alone.
            format: "onnx" (`.onnx`) or "torch" (`.pt2`, an `ExportedProgram`).
            images: Further images to compare, files or (H, W, 3) uint8.
            force: Replace existing files.

        Returns:
            How well the predictions of the file and of the method agree.

        Raises:
            SettingsError: the method cannot be exported, a package is missing, or a file is there already.
            NumericsError: the file's predictions differ from the method's by more than these limits.
        """
        # torch's exporter takes a second
        from fsbench.core.export import ImageGraph, check_exportable, with_supports
        from fsbench.predict.export import check_target, write_checked

        out = Path(out)
        check_target(out, format, force)
        if self.tiles:
            raise SettingsError("the predictor makes tiles of large images, which a file does not; leave out tiles")
        support = self.support_set
        check_exportable(self.method, support.rows.shape[2], self.resize)
        if not self.checks:
            self.leave_one_out()
        compared = {one.image_name: one.pixels for one in self.supports}
        for number, image in enumerate(images, 1):
            if isinstance(image, np.ndarray):
                compared[f"image {number}"] = image
            else:
                compared[str(image)] = read_upright(Path(image))[0]
        whole = copy.copy(self)
        whole.max_pixels = sys.maxsize  # a file computes masks at no other size than the image's
        part = with_supports(self.method, whole.episode(self._load(self.supports[0].pixels)))

        def margin(image: np.ndarray) -> np.ndarray:
            pixels = normalise(self._load(image).pixels.to(self.device))
            with torch.inference_mode():
                return array(part(pixels, (image.shape[0], image.shape[1])).margin.float())

        about = {
            "classes": json.dumps(support.classes),
            "palette": palette()[: len(support.classes) + 1].tobytes().hex(),
            "method": self.name,
            "score": self.score_meaning,
            "fsbench": __version__,
            "identity": json.dumps(self.identity),
        }
        graph = ImageGraph(part, self.thresholds, self.image_size, self.resize, self.only_present)
        return write_checked(graph, out, format, about, whole.predict, margin, compared)

    def _load(self, pixels: np.ndarray) -> LoadedImage:
        return load_image(_rgb(pixels), self.image_size, self.resize, tile_side=self.tile_side if self.tiles else None)

    @property
    def shows_steps(self) -> bool:
        """Whether the method can draw its intermediate steps."""
        return isinstance(self.method, HasQueryMaps)

    def episode(self, image: LoadedImage) -> EpisodeBatch:
        """Build a one-episode batch from the supports and the query `image`, without truth."""
        support = self.support_set
        inside = own_pixels(image.size, self.image_size, self.resize)
        scale = (self.max_pixels / (image.size[0] * image.size[1])) ** 0.5
        size = image.size if scale >= 1 else tuple(max(1, int(side * scale)) for side in image.size)
        images = torch.cat([image.pixels[None].to(self.device), support.images])
        return EpisodeBatch(
            images=images,
            image_names=[image.name, *support.image_names],
            query=torch.zeros(1, dtype=torch.int64, device=self.device),
            support=support.rows + 1,
            support_labels=support.labels,
            valid=torch.ones_like(support.rows, dtype=torch.bool),
            query_sizes=torch.tensor([size], device=self.device),
            episodes=torch.zeros(1, dtype=torch.int64, device=self.device),
            truth=None,
            hints=[Hints(class_names=(*support.classes, *support.regions))],
            counted_pixels=None if inside is None else inside.to(self.device),
            keyed=ImageKeys(images, [image_key(image.pixels), *support.image_keys]),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything, except the device, on which a prediction depends, as {name: value} that can be written as JSON.

        Names include "method", "checkpoint", "weights", "image_size", "classes", "support" (a fingerprint of the
        supports) and, for a method of one's own, "code" (one of its file and of one's own modules that it imports).
        """
        support, unmeasured = self.support_set, {} if self.checks else {"no_check": True}
        arguments = {key: value for key, value in self.settings["model"]["init_args"].items() if key != "backbone"}
        own_code = own_modules(*(type(part).__module__ for part in (self.method, *self.method.backbone.networks)))
        code = {"code": fingerprint(sorted(own.sha256 for own in own_code.values()))} if own_code else {}
        return {
            "method": {
                "name": self.name,
                "kind": self.method.registry_name,
                "arguments": arguments,
                "backbone": self.method.backbone.name,
                **self.method.backbone.identity_settings,
                "resize": self.resize,
                "nshot_strategy": self.method.nshot_strategy,
            },
            "checkpoint": self.checkpoint and sha256_file(self.checkpoint),
            "weights": self.method.backbone.weights_id,
            **code,
            "image_size": self.image_size,
            "only_present": self.only_present,
            "megapixels": self.max_pixels / 1e6,
            "tiles": self.tiles,
            "classes": list(support.classes),
            **unmeasured,
            "support": fingerprint(
                [
                    support.rows.tolist(),
                    digest(support.images),
                    digest(support.labels),
                    *(pixels_digest(one.pixels) for one in self.negatives),
                    *(pixels_digest(part) for one in self.supports for part in (one.pixels, one.labels)),
                ]
            ),
        }


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """Return an image as it is; DataError for another form."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DataError(f"an image is {pixels.dtype} of shape {pixels.shape}; expected uint8 of shape (H, W, 3), RGB")
    return pixels


def _largest(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the largest of arrays, number by number; None if one is None."""
    there = [value for value in values if value is not None]
    return np.max(there, axis=0) if len(there) == len(values) else None


def compose_run(
    method: str, dataset: str | None, checkpoint: Path | None, backbone: str | None, weights: str | None
) -> ParsedRun:
    """Return a method's settings: those of the run whose folder holds its checkpoint, else those of configs/methods.

    No network is built. The settings have a note if "auto" became another backbone than the method's own.

    Args:
        method: name or alias of a method.
        dataset: data set for which the method's settings are taken, instead of the run's data set; None for no change.
        checkpoint: file of the method's weights.
        backbone: name of a backbone instead of the method's own; "auto" takes one whose weights are installed if the
            weights of the method's own are missing.
        weights: file of the backbone's weights, or "random".

    Raises:
        SettingsError: a name is unknown, the method classifies images, or the checkpoint's run is of another method.
    """
    backbone = None if checkpoint and backbone == AUTO else backbone
    given = None if checkpoint is None else str(checkpoint)
    own_run = RunConfig(method, dataset or NO_DATASET, backbone=backbone, weights=weights, checkpoint=given)
    if task_of("methods", own_run.choice.method) != "segmentation":
        raise SettingsError(f"{method} classifies images; expected a method that segments (see: fsbench list)")
    if own_run.backbone_note:
        print_note(own_run.backbone_note)
    composed = own_run.parse(build=False)
    if checkpoint is None or dataset is not None:
        return composed
    config = checkpoint.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        return composed
    own = {"model.backbone.name": backbone, "model.backbone.weights": weights}
    run = parse_stored(config, {key: value for key, value in own.items() if value is not None}, build=False)
    if run.config.model.class_path != composed.config.model.class_path:
        name = run.config.run.name
        raise SettingsError(
            f"the checkpoint {checkpoint} is of a run of {name}, but the method is {method}; give the method of the "
            f"run: {name}"
        )
    return run
