"""A method with its support, ready for any number of photos."""

import importlib
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsbench.catalogue import Recipe, method_recipe, read_recipe
from fsbench.checkpoints import load_checkpoint
from fsbench.episodes import EpisodeBatch
from fsbench.errors import DataError, SettingsError
from fsbench.files import sha256_file
from fsbench.metrics import presence_from_mask
from fsbench.predict.pipeline import ahead
from fsbench.predict.result import PREVIEW, Found, Result
from fsbench.predict.support import Support, SupportSet, stack_supports
from fsbench.preprocess import RESIZES, resize_labels
from fsbench.protocol import load_protocol
from fsbench.records import fingerprint

QUERY = "query"
"""Name of the query among the episode's images; the features of the others stay in memory."""
HUGE = 50_000_000
"""Photos of more pixels are decoded one at a time."""

photos: Any = importlib.import_module("datamodules.photos")  # by name: fsbench does not depend on the data sets
support_files: Any = importlib.import_module("datamodules.supports")


@dataclass(frozen=True)
class Loaded:
    """A photo as a method takes it: (3, S, S), its own height and width, and its preview."""

    name: str
    image: torch.Tensor
    size: tuple[int, int]
    preview: np.ndarray


class Predictor:
    """Segments photos by example.

    Args:
        method: of configs/methods; the prototype needs no checkpoint.
        checkpoint: ours or the authors'. One inside the folder of a run takes all settings from there.
        weights: file of the backbone's weights, or random.
        backbone: another backbone than the method's own; "demo" comes along, but knows little of real photos.
        dataset: settings that the method has for this data set, e.g. coco.
        image_size: another side of images than the method's own.
        device: cpu, cuda, cuda:1 …; auto takes a GPU if there is one.
        only_present: remove the pixels of classes that the method says are not present, from the mask of a method that
            decides both.
        megapixels: larger masks are computed at this size and enlarged.

    Raises SettingsError for settings that do not fit together, CheckpointError for missing or unfit weights.
    """

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
    ):
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.recipe = _recipe(method, dataset, self.checkpoint)
        if image_size is not None and image_size < 1:
            raise SettingsError(f"image_size is {image_size}, expected a number of pixels above 0")
        self.image_size = image_size or self.recipe.image_size
        self.resize = load_protocol(self.recipe.protocol).resize
        self.device = _device(device)
        self.only_present = only_present
        if not 0 < megapixels < math.inf:
            raise SettingsError(f"megapixels is {megapixels}, expected a number above 0")
        self.max_pixels = int(megapixels * 1e6)
        self.method = self.recipe.build(name=backbone, weights=None if weights is None else str(weights))
        self.method.nshot_strategy = self.recipe.nshot_strategy
        self._check_trained()
        self.method.check_image_size(self.image_size)
        self.method.to(self.device).eval()
        self.supports: list[Support] = []
        self._support: SupportSet | None = None
        self._huge = threading.Lock()

    def _check_trained(self) -> None:
        if self.checkpoint is not None:
            load_checkpoint(self.method, self.checkpoint)
        elif self.method.learns:
            raise SettingsError(
                f"{self.recipe.name} has to be trained; give its checkpoint (--ckpt FILE), or take the training-free "
                "prototype"
            )
        if self.method.calibrates:
            raise SettingsError(
                f"{self.recipe.name} is set to calibrate itself on base classes, of which there are none here; take "
                "another selection"
            )

    def support(self, name: str, pairs: Iterable[tuple[Any, Any]]) -> "Predictor":
        """Add labelled photos of the class `name`.

        Args:
            name: of the class.
            pairs: photos, files or (H, W, 3) uint8, each with its mask: a PNG, black and white or with one number, or
                an array (H, W) that is not 0 where the object is.

        Raises DataError for unusable files and where the sizes differ.
        """
        found: list[Support] = []
        for photo, mask in pairs:
            if isinstance(photo, np.ndarray):
                labels = (np.asarray(mask) != 0).astype(np.uint8)
                if labels.shape != photo.shape[:2]:
                    sizes = [f"{w}x{h}" for h, w in (photo.shape[:2], labels.shape)]
                    raise DataError(
                        f"a support photo is {sizes[0]} pixels and its mask {sizes[1]}; expected equal sizes"
                    )
                number = len(self.supports) + len(found)
                found.append(Support(f"support {number + 1}", photo, labels, {1: name}))
            elif isinstance(mask, np.ndarray):
                found.append(support_files.labelled(Path(photo), (mask != 0).astype(np.uint8), {1: name})[0])
            else:
                found += support_files.read_supports([(name, Path(photo), Path(mask))])[0]
        return self.add(found)

    def add(self, supports: Sequence[Support]) -> "Predictor":
        """Add what `datamodules.supports.read_supports` read."""
        self.supports += supports
        self._support = None
        self.method.backbone.cache.clear()
        return self

    def clear(self) -> "Predictor":
        """Without support, for another."""
        self.supports.clear()
        return self.add(())

    @property
    def support_set(self) -> SupportSet:
        """All supports as tensors on the device."""
        if self._support is None:
            made = stack_supports(self.supports, self.image_size, self.resize)
            self.method.check_shots(made.rows.shape[2], None)
            images, rows, labels = (tensor.to(self.device) for tensor in (made.images, made.rows, made.labels))
            self._support = replace(made, images=images, rows=rows, labels=labels)
        return self._support

    @property
    def classes(self) -> tuple[str, ...]:
        """Class number n of a label map is `classes[n - 1]`."""
        return self.support_set.classes

    @property
    def score_means(self) -> str:
        """What a class's score is."""
        return "share of the photo's pixels" if self.method.segments_only else "the method's own, of presence"

    def __call__(
        self, query: str | Path | Sequence[str | Path], refused: list[str] | None = None, threads: int = 2
    ) -> Iterator[Result]:
        """Results of a folder's photos (or of some photos) by name, one after the other.

        A photo that cannot be read raises DataError, or its message goes to `refused`.
        """
        paths = [query] if isinstance(query, str | Path) else query
        found, _ = photos.find_photos([Path(path) for path in paths], refused=refused)
        for loaded in self.loaded(found, threads):
            if isinstance(loaded, Loaded):
                yield self.predict(loaded)
            elif refused is None:
                raise loaded
            else:
                refused.append(str(loaded))

    def loaded(self, found: Iterable[Any], threads: int) -> Iterator[Loaded | DataError]:
        """Photos, decoded in threads ahead of their prediction; of a broken one, the error."""
        return ahead(self._try_load, found, threads)

    def _try_load(self, photo: Any) -> Loaded | DataError:
        try:
            photo.name.encode()
            height, width, _ = photos.photo_size(photo.path)
            if height * width <= HUGE:
                return self.load(photos.read_photo(photo.path)[0], photo.name)
            with self._huge:
                return self.load(photos.read_photo(photo.path)[0], photo.name)
        except DataError as error:
            return error
        except UnicodeEncodeError:
            return DataError(f"photo {photo.name!a} has a name that is not UTF-8; rename it")
        except OSError as error:  # not allowed, gone in the meantime
            return DataError(f"photo {photo.path} cannot be read ({error.strerror}); check the file")

    def load(self, pixels: np.ndarray, name: str = "photo") -> Loaded:
        """Of pixels (H, W, 3) uint8."""
        height, width = pixels.shape[:2]
        preview, longest = pixels, max(height, width)
        if longest > PREVIEW:
            import cv2

            size = (max(1, width * PREVIEW // longest), max(1, height * PREVIEW // longest))
            preview = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        return Loaded(name, RESIZES[self.resize][0](pixels, self.image_size), (height, width), preview)

    def predict(self, photo: Loaded | np.ndarray) -> Result:
        """Segment one photo, given as (H, W, 3) uint8 or as `load` made it."""
        photo = self.load(photo) if isinstance(photo, np.ndarray) else photo
        with torch.inference_mode():
            prediction = self.method._predict(self.episode(photo))
        self.method.backbone.cache.forget(QUERY)
        decided, score = prediction.decided, prediction.score
        if decided is None or score is None:
            decided, score = presence_from_mask(prediction.label_map, len(self.classes))
        label_map = prediction.label_map.to("cpu", torch.uint8).numpy()
        if label_map.shape != photo.size:
            label_map = resize_labels(label_map, *photo.size)
        said = list(zip(decided.tolist(), score.float().tolist(), strict=True))
        if self.only_present:
            keep = np.array([True, *(present for present, _ in said)] + [False] * (255 - len(said)))
            label_map = np.where(keep[label_map], label_map, 0).astype(np.uint8)
        found = tuple(
            Found(
                number, name, *known, int(np.count_nonzero(label_map == number))
            )  # bincount would take 8 bytes a pixel
            for number, (name, known) in enumerate(zip(self.classes, said, strict=True), 1)
        )
        return Result(photo.name, label_map, found, photo.preview)

    def episode(self, photo: Loaded) -> EpisodeBatch:
        """The episode whose query is the photo."""
        support = self.support_set
        return EpisodeBatch(
            images=torch.cat([photo.image[None].to(self.device), support.images]),
            image_names=[QUERY, *(f"support {row}" for row in range(len(support.images)))],
            query=torch.zeros(1, dtype=torch.int64, device=self.device),
            support=support.rows + 1,
            support_labels=support.labels,
            valid=torch.ones_like(support.rows, dtype=torch.bool),
            query_sizes=torch.tensor([self._mask_size(*photo.size)], device=self.device),
            episodes=torch.zeros(1, dtype=torch.int64, device=self.device),
            truth=None,
        )

    def _mask_size(self, height: int, width: int) -> tuple[int, int]:
        shrink = (self.max_pixels / (height * width)) ** 0.5
        return (height, width) if shrink >= 1 else (max(1, int(height * shrink)), max(1, int(width * shrink)))

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that a prediction depends on, as plain values, but for the device."""
        support = self.support_set
        return {
            "method": asdict(self.recipe) | {"backbone": self.method.backbone.name},
            "checkpoint": self.checkpoint and sha256_file(self.checkpoint),
            "weights": self.method.backbone.weights_id,
            "image_size": self.image_size,
            "only_present": self.only_present,
            "megapixels": self.max_pixels / 1e6,
            "classes": list(support.classes),
            "support": fingerprint([support.rows.tolist(), _digest(support.images), _digest(support.labels)]),
        }


def _digest(tensor: torch.Tensor) -> str:
    import hashlib

    return hashlib.sha256(tensor.cpu().numpy().tobytes()).hexdigest()


def _recipe(method: str, dataset: str | None, checkpoint: Path | None) -> Recipe:
    """Of the run that a checkpoint lies in, unless a data set is named; else of configs/methods."""
    config = checkpoint and checkpoint.resolve().parent.parent / "config.yaml"
    recipe = method_recipe(method, dataset)
    if config is None or dataset is not None or checkpoint is None or not config.is_file():
        return recipe
    of_run = read_recipe([config])
    if of_run.kind != recipe.kind:
        raise SettingsError(
            f"the checkpoint {checkpoint} is of a run of {of_run.name}, but the method is {method}; give the method "
            f"of the run: {of_run.name}"
        )
    return of_run


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(f"device is '{name}', expected auto, cpu, cuda or cuda:<number>") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device is '{name}', but torch sees {torch.cuda.device_count()} GPUs; expected cpu or auto"
        )
    return device
