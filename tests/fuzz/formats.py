"""File formats that users hand in: for each a valid file, and the reader that takes it."""

import base64
import gzip
import io
import json
import pickle
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from PIL import Image

from fsbench.base.errors import RecordError
from fsbench.base.paths import CONFIGS
from fsbench.data.coco_json import read_instances
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest, read_manifest
from fsbench.data.episodes.task import Task
from fsbench.data.image_io import read_label_map, read_mask, read_pixels, read_upright
from fsbench.data.rle import encode_ways
from fsbench.data.volume_io import read_volume
from fsbench.datamodules.datasets.folder import read_description
from fsbench.datamodules.kinds.class_folders import rows
from fsbench.datamodules.kinds.mask_folder import read_names
from fsbench.datamodules.lists.image_list import read_list
from fsbench.datamodules.prepare.sbd import read_sbd
from fsbench.datamodules.prepare.unpack import unpack
from fsbench.networks.weights.files import check_keys, read_weights
from fsbench.predict.folder import PredictionJournal, write_coco, write_scores
from fsbench.predict.images import QueryImage
from fsbench.predict.supports import read_supports
from fsbench.protocols.kit.answers import Answers, AnswersError, line_of
from fsbench.protocols.kit.kit import check_kit, read_kit
from fsbench.protocols.kit.reader import check_answers
from fsbench.protocols.reading import load_protocol, read_protocol
from fsbench.records.checked_jsonl import checked_line
from fsbench.records.journal import Journal
from fsbench.records.predictions import read_predictions, write_predictions
from fsbench.records.record import Record
from fsbench.records.run import FileState
from fsbench.records.tables import count_schema, read_parquet
from fsbench.runner.grid.spec import read_grid
from fsbench.scores.answers import SOFT_SIDE
from tests.datamodules.datasets import test_object_annotations as annotations
from tests.footers import flagged
from tests.fsbench.runs import HEADER, some_header, some_run
from tests.nifti import nifti
from tests.png_file import png_of

PIXELS = np.random.RandomState(0).randint(0, 255, (9, 12, 3)).astype(np.uint8)


@dataclass(frozen=True)
class Format:
    """A format: the name of its files, a valid one as a tree of values or as bytes, how a tree is written, a reader."""

    name: str
    valid: Any
    read: Callable[[Path], Any]
    write: Callable[[Any], bytes] = bytes


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value).encode()


def _lines(value: Any) -> bytes:
    return b"".join(_json(line) + b"\n" for line in (value if isinstance(value, list) else [value]))


def _picture(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _manifest() -> list[Any]:
    episodes = tuple(Episode(i, f"q{i}", 1, (1,), (("s",),)) for i in range(3))
    with tempfile.TemporaryDirectory() as folder:
        Manifest(HEADER | {"class_names": {"1": "a"}}, episodes).write(Path(folder) / "m.jsonl")
        return [json.loads(line) for line in (Path(folder) / "m.jsonl").read_text().splitlines()]


def _labelme() -> dict[str, Any]:
    mask = base64.b64encode(_picture("png", PIXELS[:4, :5, 0])).decode()
    shapes = [
        {"label": "cat", "points": [[1, 1], [8, 1], [8, 7]], "shape_type": "polygon"},
        {"label": "dog", "points": [[2, 2], [5.5, 6]], "shape_type": "rectangle"},
        {"label": "cat", "points": [[4, 4], [6, 4]], "shape_type": "circle"},
        {"label": "cow", "points": [[1, 1], [5, 4]], "shape_type": "mask", "mask": mask},
        {"label": "cow", "points": [[1, 1], [5, 1], [6, 4], [2, 4]], "shape_type": "oriented_rectangle"},
    ]
    picture = base64.b64encode(_picture("jpeg")).decode()
    return {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 9, "imageWidth": 12, "imageData": picture}


def _coco() -> dict[str, Any]:
    rle = {"size": [9, 12], "counts": [50, 8, 50]}
    shapes = ([[1, 1, 8, 1, 8, 7]], rle)
    return {
        "images": [{"id": 5, "file_name": "a.jpg", "height": 9, "width": 12}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 5, "category_id": 1 + 6 * n, "iscrowd": 0, "segmentation": shape}
            | {"bbox": [1, 1, 7, 6], "area": 20}
            for n, shape in enumerate(shapes)
        ],
    }


def _read_coco(path: Path) -> None:
    instances = read_instances(path, "0", ["cat", "dog"])
    for name in instances.file_names:
        instances.paint(name)


def _read_coco_supports(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Image.new("RGB", (12, 9)).save(Path(folder) / "a.jpg")
        read_supports([str(path)], root=Path(folder))


def _matlab() -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, {"GTcls": {"Segmentation": PIXELS[..., 0] % 21}}, do_compression=True)
    return file.getvalue()


def _archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/b.txt", "x" * 500)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode=f"w:{kind}", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a/" + "long" * 40)
        info.size = 500
        tar.addfile(info, io.BytesIO(b"x" * 500))
    return file.getvalue()


def _unpack(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unpack(path, Path(folder) / "out", str)


def _views(make: Callable[[Path], Any], file: str) -> Any:
    """Return the reader of one annotation file of a data set of views, whose other files `make` writes."""

    def read(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root)
            shutil.copyfile(path, root / file)
            data = type(make(root / "other"))(str(root))
            manifest = load_protocol("incontext").manifest(data, Task(0, episodes=4))
            for name in manifest.image_names:
                data.label_map(name), data.class_number(name), data.class_pixels(name), data.crop(name)
                data.image_path(name).is_file()
            list(data.faults())

    return read


def _made(make: Callable[[Path], Any], file: str) -> Any:
    """Return the content of one file that `make` writes."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        content = (Path(folder) / file).read_bytes()
    return json.loads(content) if file.endswith(".json") else pickle.loads(content)


def _paco(root: Path) -> Any:
    box: list[float] = [1.6, 1.2, 2.9, 3.5]
    return annotations.paco(root, {image: [annotations.annotation(box)] for image in (7, 8, 9)})


PARTS, PART_LIST = "VOC2010/Annotations_Part_json_merged_part_classes/a.json", "VOC2010/all_obj_part_to_image.json"
PACO, LVIS = "paco/paco_part_val.pkl", "lvis_val.pkl"
VIEWS = {
    "part": (annotations.pascal_part, PARTS), "part list": (annotations.pascal_part, PART_LIST),
    "paco": (_paco, PACO), "lvis": (annotations.lvis, LVIS),
}  # fmt: skip
"""Data sets whose images are views: what makes one, and its file that is mutated."""
IDENTITY = "ab" * 32


def _journal() -> bytes:
    lines = [checked_line({"identity": IDENTITY})]
    lines += [checked_line([{"episode": n, "slot": 0, "tp": n}], IDENTITY) for n in range(4)]
    return "".join(lines).encode()


def _read_journal(path: Path) -> None:
    journal = Journal(path.parent, IDENTITY)
    journal.done(), journal.damaged()


def _checked(value: Any) -> bytes:
    """Return the lines of a journal whose checksums are right, whatever they hold."""
    return "".join(map(checked_line, value if isinstance(value, list) else [value])).encode()


PREDICTED = {"method": {"name": "prototype", "shot": 1}, "support": "ab", "image_size": 48}


def _predicted() -> list[Any]:
    found = {
        "number": 1,
        "name": "cat",
        "present": True,
        "score": 0.5,
        "tells": True,
        "pixels": 2,
        "runs": {"bbox": [0, 0, 2, 1], "counts": "021"},
    }
    entry = {"photo": "a.png", "height": 2, "width": 3, "classes": [found], "stamp": [1, 2, 3, 4]}
    return [{"identity": PREDICTED}, entry, entry | {"photo": "b.png"}]


def _read_predicted(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        shutil.copyfile(path, out / path.name)
        journal = PredictionJournal(out, PREDICTED)
        for name in ("a.png", "c.png"):
            journal.has(QueryImage(name, out / name), steps=False)
        write_coco(out / "annotations.json", list(journal.entries.values()), {"cat": 1}, "x")
        write_scores(out / "scores.csv", list(journal.entries.values()))
        journal.lines.close()
        PredictionJournal(out, PREDICTED, force=True).lines.close()


def _parquet() -> bytes:
    file = io.BytesIO()
    rows = {"class_id": [0, 1, 0, 1], "tp": 2, "gt": 3, "present": True, "rom": 0.1, "rum": 0.1, "query": "a"}
    types = count_schema(some_header()).types()
    pl.DataFrame(_counted().to_dict() | rows).select(list(types)).cast(types).write_parquet(file)
    return file.getvalue()


def _read_counts(path: Path) -> None:
    read_parquet(path, count_schema(some_header()))


def _counted() -> pl.DataFrame:
    """Counts of one way in two episodes of 2 x 3 pixels."""
    rows = {"episode": [0, 0, 1, 1], "slot": [0, 1, 0, 1], "pred": 3, "pred_void": 0, "valid": 6, "void": 0}
    kinds = {"episode": pl.Int32, "slot": pl.Int16, "score": pl.Float32}
    return pl.DataFrame(rows | {"decided": True, "score": 0.5}).cast(kinds)


def _predictions() -> bytes:
    (rle,) = encode_ways(np.array([[1, 1, 0], [1, 0, 0]], dtype=np.uint8), 1)
    soft = base64.b64encode(zlib.compress(bytes(SOFT_SIDE**2))).decode()
    attention = base64.b64encode(zlib.compress(bytes(8 + SOFT_SIDE**2))).decode()
    way = {"size": [2, 3], "rle": rle, "soft": soft, "attention": attention}
    kept = [(episode, 1, True, way) for episode in (0, 1)]
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(Path(folder), kept, _counted(), "soft")
        return (Path(folder) / "predictions.parquet").read_bytes()


def _read_predictions(path: Path) -> None:
    record = Record(path.parent, some_run(files={path.name: FileState.of(path).as_json()}))
    record.__dict__["every_episode"] = _counted()
    stored = read_predictions(record)
    assert stored is not None
    for episode in (0, 1):
        stored.label_map(episode), stored.soft_masks(episode), stored.attention(episode)


def _refusing(write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return `write` with a ValueError, which means that there is no such file, for whatever libraries refuse."""

    def written(value: Any) -> bytes:
        try:
            return write(value)
        except (Exception, pl.exceptions.PanicException) as error:
            raise ValueError(str(error)) from error

    return written


PNG = {"header": [12, 9, 8, 0, 0, 0, 0], "rows": [[0, *row] for row in (PIXELS[..., 0] % 3).tolist()],
       "order": ["IHDR", "IDAT", "IEND"]}  # fmt: skip
"""A label map by its chunks, so that sums are right whatever its rows and chunks are."""


def _png(value: Any) -> bytes:
    header = struct.pack(">IIBBBBB", *value["header"])
    data = {"IHDR": header, "IDAT": zlib.compress(b"".join(map(bytes, value["rows"])))}
    return png_of(*((name.encode(), data.get(name, b"")) for name in value["order"]))


VOLUME = {"axes": [3, 2, 2], "scale": [1.0, 0.0], "voxels": [0.0, 1.0, 2.0, 0.5] * 3}


def _volume(value: Any) -> bytes:
    return nifti(np.array(value["voxels"], np.float32), value["axes"], scale=tuple(value["scale"]))


def _sorted_counts(value: Any) -> bytes:
    return flagged(_parquet(), value["column"], bool(value["descending"]))


WEIGHTS = {"a.weight": ["float32", [0.5, 1.0]], "a.count": ["int64", 3]}


def _weights(value: Any) -> bytes:
    state = {name: torch.tensor(numbers).to(getattr(torch, kind)) for name, (kind, numbers) in value.items()}
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _read_weights(path: Path) -> None:
    own = {"a.weight": torch.zeros(2), "a.count": torch.tensor(0)}
    check_keys(own, read_weights(path), "the weights")


ASKED: dict[int, dict[str, Any]] = {
    0: {"ways": 2, "size": [9, 12], "queries": None},
    1: {"ways": 1, "size": None, "queries": None},
    2: {"ways": 3, "size": None, "queries": 4},
}
KIT: dict[str, Any] = {
    "format": "fsbench kit", "version": 1, "test": IDENTITY, "dataset": "d", "protocol": "fscs", "protocol_version": 1,
    "fold": 0, "way": 1, "shot": 1, "setting": "original", "seed": None, "episodes": 3, "draws": 1, "empty": True,
    "drop_small": False, "lists": "official", "copied_images": False, "files": {"kit.json": IDENTITY},
}  # fmt: skip
ASKED_LINES = [
    {"number": 0, "size": [9, 12], "query": {"image": "a.jpg"}, "supports": [[{"image": "b.jpg"}], []]},
    {"number": 1, "size": None, "query": {"image": "a.jpg", "crop": [0, 1, 0, 1]}, "supports": [[]]},
    {"number": 2, "queries": [{"image": "c.jpg"}] * 4, "supports": [[], [], []]},
]


def _answers(of_classes: bool = False) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder, Answers(Path(folder) / "a.fsa", IDENTITY) as answers:
        if of_classes:
            answers.add(2, labels=[1, 3, 2, 2])
        else:
            answers.add(0, PIXELS[..., 0] % 3, presence=[True, False], score=[0.5, 0.25])
            answers.add(1, PIXELS[:5, :5, 0] % 2, presence=[True], score=[0.75])
        lines = (Path(folder) / "a.fsa").read_bytes().splitlines()
    return [json.loads(line.partition(b" ")[2]) for line in lines]


def _answer_lines(value: Any) -> bytes:
    """Return lines whose checksums are right, whatever they hold."""
    return b"".join(map(line_of, value if isinstance(value, list) else [value]))


def _read_answers(path: Path) -> None:
    answers = check_answers([path], IDENTITY, ASKED, partial=True)
    list(answers)


def _resume(path: Path) -> None:
    """Go on with a file of answers, and with the episodes of a kit."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, Path(folder) / path.name)
        (Path(folder) / "kit.json").write_text(json.dumps(KIT))
        (Path(folder) / "episodes.jsonl").write_bytes(
            path.read_bytes() if path.name == "episodes.jsonl" else _lines(ASKED_LINES)
        )
        try:
            with Answers(Path(folder) / "a.fsa", folder) as answers:
                goes_on = bool(answers.done)
                for number, asked in ASKED.items():
                    if number not in answers.done and asked["queries"] is None:
                        ways = asked["ways"]
                        told = {"presence": [False] * ways, "score": [0.5] * ways} if goes_on else {}
                        answers.add(number, np.zeros(asked["size"] or (4, 4), int), **told)
            with Answers(Path(folder) / "a.fsa", folder) as again:
                assert again.done == answers.done
        except AnswersError as error:
            raise RecordError(str(error)) from None


def _read_kit(path: Path) -> None:
    check_kit(path.parent, read_kit(path.parent))


def _presence_table(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, Path(folder) / path.name)
        Image.new("L", (12, 9)).save(Path(folder) / "0.png")
        check_answers([Path(folder)], IDENTITY, ASKED, partial=True)


def _answer_picture(path: Path) -> None:
    check_answers([path.parent], IDENTITY, ASKED, partial=True)


def _read_images_list(path: Path) -> None:
    read_list(path, path.parent)


GRID = {"methods": ["emat"], "datasets": ["demo"], "folds": [0], "shots": [1, 5], "seeds": [3], "fast": True}
FOLDER = {"name": "x", "classes": ["a", "b"], "folds": [["a"], [2]], "min_pixels": 4, "augment_threshold": 0.1}
LIST = {"label_names": ["a", "b"], "image_names": ["a/1.jpg", "b/2.jpg"], "image_labels": [0, 1], "sha256": None}
PROTOCOL = yaml.safe_load((CONFIGS / "protocols" / "fscs.yaml").read_text())

FORMATS = {
    "grid": Format("grid.yaml", GRID, lambda path: read_grid([path]), _yaml),
    "protocol": Format("protocol.yaml", PROTOCOL, read_protocol, _yaml),
    "folds": Format("folds.yaml", FOLDER, read_description, _yaml),
    "manifest": Format("m.jsonl", _manifest(), read_manifest, _lines),
    "manifest.gz": Format("m.jsonl.gz", gzip.compress(_lines(_manifest())), read_manifest),
    "labelme": Format("a.json", _labelme(), lambda path: read_supports([str(path)]), _json),
    "coco": Format("instances.json", _coco(), _read_coco, _json),
    "coco supports": Format("a.json", _coco(), _read_coco_supports, _json),
    "image list": Format("list.json", LIST, _read_images_list, _json),
    "names": Format("train.txt", b"a\nb.jpg\nc/d.png\n", read_names),
    "rows": Format("list.txt", b"# x\na 1 2 b\nc 2 3 d e\n", partial(rows, columns=4, form="a b c d")),
    "jpeg": Format("a.jpg", _picture("jpeg"), read_pixels),
    "png": Format("a.png", _picture("png"), read_upright),
    "tiff": Format("a.tif", _picture("tiff"), read_upright),
    "webp": Format("a.webp", _picture("webp"), read_pixels),
    "gif": Format("a.gif", _picture("gif", PIXELS[..., 0] % 3), read_pixels),
    "painted": Format("p.png", _picture("png", PIXELS // 128 * np.array([255, 0, 0], np.uint8)), read_mask),
    "label map": Format("l.png", _picture("png", PIXELS[..., 0]), read_label_map),
    "mask": Format("m.png", _picture("png", (PIXELS[..., 0] > 99) * np.uint8(255)), read_mask),
    "matlab": Format("a.mat", _matlab(), read_sbd),
    "tar": Format("a.tar", _archive(""), _unpack),
    "tar.gz": Format("a.tar.gz", _archive("gz"), _unpack),
    "zip": Format("a.zip", _archive("zip"), _unpack),
    "journal": Format("part-1-a.jsonl", _journal(), _read_journal),
    "predicted": Format("journal.jsonl", _predicted(), _read_predicted, _checked),
    "predictions": Format("predictions.parquet", _predictions(), _read_predictions),
    "answers": Format("a.fsa", _answers(), _read_answers, _answer_lines),
    "answers of classes": Format("a.fsa", _answers(of_classes=True), _read_answers, _answer_lines),
    "answers bytes": Format("a.fsa", _answer_lines(_answers()), _read_answers),
    "answers resumed": Format("a.fsa", _answer_lines(_answers()[:2]), _resume),
    "answers presence": Format("presence.csv", b"number,way,presence,score\n0,1,1,0.5\n0,2,0,0.25\n", _presence_table),
    "answers picture": Format("0.png", _picture("png", PIXELS[..., 0] % 3), _answer_picture),
    "kit": Format("kit.json", KIT, _read_kit, _json),
    "kit episodes": Format("episodes.jsonl", ASKED_LINES, _resume, _lines),
    "counts": Format("episodes.parquet", _parquet(), _read_counts),
    "counts sorted": Format(
        "episodes.parquet",
        {"column": "slot", "descending": False},
        _read_counts,
        _refusing(_sorted_counts),
    ),
    "png chunks": Format("a.png", PNG, read_label_map, _refusing(_png)),
    "volume": Format("a.nii", VOLUME, read_volume, _refusing(_volume)),
    "weights": Format("a.pth", WEIGHTS, _read_weights, _refusing(_weights)),
    **{
        name: Format(Path(file).name, _made(make, file), _views(make, file), _json if "json" in file else pickle.dumps)
        for name, (make, file) in VIEWS.items()
    },
}
"""By name."""
