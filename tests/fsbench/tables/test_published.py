"""Reported figures: every row of every file is understood, and what stands beside ours may stand there."""

import csv
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fsbench.cli.main import main
from fsbench.config.registry import aliases, config_files, names
from fsbench.config.shipped import published_scores, shipped_settings
from fsbench.data.dataset import ClassificationIndex
from fsbench.episodes.classification import draw_classification_manifest
from fsbench.episodes.manifest import read_manifest
from fsbench.errors import DataError
from fsbench.metrics.bootstrap import Interval
from fsbench.metrics.classification import ClassificationResult
from fsbench.paths import CONFIGS, REPOSITORY
from fsbench.records.record import Record, to_frame, write_record
from fsbench.tables.breakdowns import to_sheet
from fsbench.tables.formats import FORMATS
from fsbench.tables.published.match import match_published
from fsbench.tables.published.obstacles import why_not_comparable
from fsbench.tables.published.scores import FOLDER
from fsbench.tables.table import build_blocks
from methods.classifiers.published_settings import tuning_notes

FROZEN = REPOSITORY / "benchmarks/manifests/pascal"
EMAT = {"name": "emat", "type": "emat", "support_side": 20, "learning_rate": 1e-3, "presence_weight": 0.1}
DCAMA = {
    "name": "dcama", "type": "dcama", "support_background": "keep", "skip_scales": [4, 8],
    "skip_support": True, "attn_scales": [8, 16, 32], "support_pixels": "all", "learning_rate": 1e-3, "momentum": 0.9,
    "weight_decay": 1e-4,
}  # fmt: skip


@pytest.fixture(scope="module")
def figures():
    return published_scores()


@pytest.fixture(scope="module")
def reported(figures):
    """EMAT's mIoU on PASCAL, as if it were that of fold 0, with one digit."""
    wanted = ("EMAT", "pascal", "mIoU", "original")
    (paper,) = (f for f in figures if (f.method, f.dataset, f.metric, f.stated) == wanted)
    return replace(paper, fold="0", value=63.4, digits=1)


def run_of(header, method, backbone, weights="official x", identity=(), training=(), facts=(), origin="trained here"):
    """Contents of a run.json like the paper's, but for what is given.

    `training` changes the identity's entry of that name, `facts` what is recorded of the training besides (None: a
    checkpoint that tells none); without an `origin` the record is an older one."""
    shipped = shipped_settings(method["name"], header["dataset"])
    data = shipped["data"]["init_args"]
    trained = {key: data[key] for key in ("batch_size", "fill_to", "drop_last") if key in data}
    trained |= {key: value for key, value in shipped.get("run", {}).items() if value is not None}
    trained |= {"max_epochs": shipped["trainer"]["max_epochs"], "validation": "novel", "base_lists": "official"}
    trained |= dict(training)
    recorded = {
        "method": method, "backbone": {"name": backbone, "weights": weights}, "fold": header["fold"], "seed": 0,
        "image_size": data["image_size"], "precision": "32-true", "tf32": False, "training": trained,
    } | dict(identity)  # fmt: skip
    numbers = {key: recorded.get(key) for key in ("image_size", "precision", "tf32")}
    more = {"settings": trained, "method": method, "chosen_by": "val/mIoU"} | numbers
    more |= {"episodes": 1000, "official_episodes": 1000} | dict(facts or ())
    cost = {"trainable_parameters": 0, "episodes_per_second": 1.0, "peak_mib": 1.0}
    run = {"identity": recorded, "presence": "predicted", "cost": cost}
    return run if origin is None else run | {"weights": {"origin": origin, "training": None if facts is None else more}}


def frozen_manifest(fold=0, task="fscs-2way1shot-original", **header):
    protocol, *rest = task.split("-", 1)
    manifest = read_manifest(FROZEN / f"{protocol}-fold{fold}-{rest[0]}.jsonl.gz")
    return type(manifest)(manifest.header | header, manifest.episodes)


@pytest.fixture
def official(tmp_path):
    """official(method, backbone, fold, task) -> a record on frozen official episodes, an answer that is always the
    same: the way is found, and 300 pixels too much."""

    def make(
        method, backbone, fold=0, task="fscs-2way1shot-original", weights="official x", identity=(), **header
    ) -> Record:
        manifest = frozen_manifest(fold, task, **header)
        rows = [
            dict(
                episode=e.index, slot=slot, class_id=number, tp=700, pred=1000, gt=700, pred_void=0, void=0, valid=4000
            )
            | dict(present=True, decided=True, score=1.0, rom=0.0, rum=0.0)
            for e in manifest.episodes
            for slot, number in enumerate([0, *e.classes])
        ]
        folder = tmp_path / f"{method['name']}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        run = run_of(manifest.header, method, backbone, weights, identity)
        run["identity"]["manifest_sha256"] = manifest.sha256
        return write_record(folder, {"id": folder.name} | run, to_frame(rows, manifest))

    return make


@pytest.fixture(scope="module")
def tested():
    """tested(fold, task) -> the header of the frozen official episodes."""
    return cache(lambda *which: frozen_manifest(*which).header)


def test_every_row_of_every_file_is_understood(figures):
    assert len(figures) > 400
    by_source = {(f.method, f.backbone, f.dataset, f.fold, f.way, f.shot, f.stated, f.metric): f for f in figures}
    emat = by_source["EMAT", "DINOv2 ViT-S/14", "coco", "mean", 2, 1, "fully-augmented", "mIoU"]
    assert (emat.value, emat.protocol, emat.setting, emat.backbones) == (
        51.99, "fscs", "fully_augmented", ("dinov2_vits14",),
    )  # fmt: skip
    fss = by_source["DCAMA", "ResNet-50", "fss1000", "0", 1, 1, "main", "mIoU"]
    assert fss.protocol == "hsnet" and fss.value == 88.2
    seed = by_source["HMNet", "ResNet-50", "coco", "0", 1, 1, "4000 episodes, seed 3", "mIoU"]
    assert (seed.episodes, seed.seed, seed.protocol) == (4000, 3, "pfenet")
    scales = by_source["DCAMA", "Swin-B", "pascal", "mean", 1, 1, "skip_scales=4+8+16", "mIoU"]
    assert dict(scales.options)["skip_scales"] == (4, 8, 16) and dict(scales.options)["skip_support"] is True
    assert dict(by_source["HMNet", "VGG-16", "pascal", "mean", 1, 5, "with BAM ensemble", "mIoU"].options)["shots"] == 5
    assert len({f for f in figures if "(DCAMA authors" in f.method}) == 34  # though two files hold them
    assert not any(f.fold in ("std", "") for f in figures)


def test_rows_and_figures_can_be_counted(figures):
    """Independent of the reader: rows of the csv files that are scores of our methods, each once."""
    ours = {"EMAT", "CST*", "CST (pixel-level labels)", "HSNet", "HSNet (DCAMA authors re-impl.)", "DCAMA", "HMNet"}
    rows = {
        (*(row[key] for key in row),)
        for path in FOLDER.glob("*.csv")
        for row in csv.DictReader(path.open(newline=""))
        if row["method"] in ours
        and row["metric"] in ("mIoU", "FB-IoU", "accuracy", "ROM", "RUM")
        and row["dataset"] in ("PASCAL-5i", "COCO-20i", "FSS-1000")
        and row["fold"] not in ("std", "")
        and not row["setting"].endswith((": std", ": spread"))
        and not (row["method"] == "HSNet" and "iFSL" in row["source"])
    }
    with (FOLDER / "fort.csv").open(newline="") as file:
        images = [
            row
            for row in csv.DictReader(file)
            if row["metric"] == "accuracy_%" and row["method"] not in ("zero-shot", "CoOp", "Tip-Adapter-F", "PLOT++")
        ]
    assert len(figures) == len(rows) + len(images) > len(rows) + 200


def test_the_mapping_names_methods_and_options_there_are(figures):
    import yaml

    known, kinds = {}, {}
    for name in names("methods"):
        model = yaml.safe_load((CONFIGS / "methods" / f"{name}.yaml").read_text())["model"]
        kinds[name] = model["class_path"].rpartition(".")[2].lower()
        known.setdefault(kinds[name], set()).add(model["init_args"]["backbone"]["name"])
    for choice in aliases().values():
        known[kinds[choice.method]].add(choice.backbone)
    for path in (CONFIGS / "ablations").glob("*/*.yaml"):
        options = yaml.safe_load(path.read_text()).get("model", {}).get("init_args", {})
        if "backbone" in options:
            known[kinds[path.parent.name]].add(options["backbone"]["name"])
    used = {(f.kind, backbone) for f in figures for backbone in f.backbones}
    assert {kind for kind, _ in used} <= set(known)
    assert {pair for pair in used if pair[1] not in known[pair[0]]} == {("hsnet", "swin_base")}


def test_verdicts(official, reported):
    record = official(EMAT, "dinov2_vits14")

    def verdict(low, high):
        (item,) = match_published("emat", "0", {"mIoU": Interval((low + high) / 2, low, high)}, [record], [reported])
        assert item.difference == pytest.approx((low + high) / 2 - 63.4)
        return item.verdict

    assert [verdict(63, 64), verdict(63.46, 65), verdict(60, 63.34), verdict(63.44, 65), verdict(60, 63.36)] == [
        "within the interval", "above", "below", "within the interval", "within the interval",
    ]  # fmt: skip


def test_why_not(official, reported):
    figures = [reported]
    scores = {"mIoU": Interval(50, 49, 51)}

    def why(record, *more):
        (item,) = match_published("emat", "0", scores, [record, *more], figures)
        assert item.difference is None
        return item.verdict.removeprefix("not comparable: ")

    assert why(official(EMAT, "dino_vits8")) == "backbone dino_vits8 instead of dinov2_vits14"
    assert why(official(EMAT, "dinov2_vits14", weights="random (seed 0)")) == "the backbone's weights are random"
    small = official(EMAT, "dinov2_vits14", requested=20, lists="derived")
    assert why(small) == "episodes 20 instead of 1000; image lists are derived instead of official"
    augmented = official(EMAT, "dinov2_vits14", task="fscs-2way1shot-partially-augmented")
    assert why(augmented) == "setting partially_augmented instead of original"
    assert why(official(EMAT, "dinov2_vits14"), small) == why(small)  # a mean is as good as its worst fold
    assert why(official(EMAT, "dinov2_vits14", seed=5)) == "test seed 5 instead of none"
    assert why(official(EMAT, "dinov2_vits14", empty=False)) == "queries are never empty"
    other = official(EMAT | {"support_side": 12}, "dinov2_vits14")
    assert not match_published("emat", "0", scores, [other], figures)  # another method


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"identity": {"image_size": 400}}, ["image size 400 instead of 700"]),
        ({"identity": {"precision": "bf16-mixed"}}, ["precision bf16-mixed instead of 32-true"]),
        ({"identity": {"precision": "32"}}, []),  # another name of the same
        ({"identity": {"tf32": True}}, ["TF32 on instead of off"]),
        ({"identity": {"tf32": None}}, ["TF32 not recorded"]),
        ({"training": {"max_epochs": 40}}, ["epochs 40 instead of 80"]),
        ({"training": {"batch_size": 4}}, ["effective batch 4 instead of 27"]),
        # of runs whose batch was that of a process
        ({"training": {"batch_size": 9, "processes": 3}}, []),
        ({"training": {"batch_size": 3, "processes": 3, "accumulate_grad_batches": 3}}, []),
        ({"training": {"batch_size": 9, "processes": 1}}, ["effective batch 9 instead of 27"]),
        ({"training": {"fill_to": 3}}, ["fill_to 3 instead of 1"]),
        ({"paper": {"micro_batch": 2}}, ["micro-batch not recorded"]),
        ({"paper": {"micro_batch": 2}, "training": {"division": {"processes": 1, "micro_batch": 8}}},
         ["micro-batch 8 instead of 2"]),
        ({"paper": {"micro_batch": 2}, "training": {"division": {"processes": 4, "micro_batch": 2}}}, []),
        ({"training": {"validation": "base"}}, ["validation on classes base instead of novel"]),
        ({"training": {"training_shot": 5}}, ["training_shot 5 instead of 1"]),
        ({"training": {"limit_train_batches": 4}}, ["limit_train_batches 4 instead of none"]),
        ({"training": {"patience": 5}}, ["patience 5 instead of none"]),
        ({"paper": {"first_validation": 26, "middle_validation": 101, "patience": 100}},
         ["first_validation 0 instead of 26", "middle_validation none instead of 101", "patience none instead of 100"]),
        ({"paper": {"patience": 100}, "training": {"patience": 100}}, []),
        ({"training": {"lr_scheduler": {"class_path": "x"}}}, ["another lr_scheduler than the method's"]),
        ({"training": {"base_lists": "derived"}}, ["training lists are derived instead of official"]),
        ({"facts": {"episodes": 100}}, ["validation episodes 100 instead of 1000"]),
        ({"facts": {"chosen_by": "val/FB-IoU"}}, ["choice of the checkpoint val/FB-IoU instead of val/mIoU"]),
        ({"method": EMAT | {"learning_rate": 0.01}}, ["learning_rate 0.01 instead of 0.001"]),
        ({"method": EMAT | {"nshot_strategy": "average"}}, ["nshot_strategy average instead of none"]),
        ({"which": (1,)}, ["fold 1 instead of 0"]),
        ({"which": (0, "fscs-1way1shot-original")}, ["way 1 instead of 2"]),
        # checkpoints: the authors' is the paper's, another run's tells of its training, or not
        ({"origin": "the authors' checkpoint", "facts": None, "training": {"max_epochs": 1}}, []),
        ({"origin": "the authors' checkpoint", "identity": {"image_size": 400}}, ["image size 400 instead of 700"]),
        ({"origin": "the authors' checkpoint", "variant": "stated beside the checkpoint"}, []),
        ({"origin": "the authors' checkpoint", "variant": "taken on trust"},
         ["variant of the authors' checkpoint taken on trust"]),
        ({"origin": "another run"}, []),
        ({"origin": "another run", "facts": None}, ["training of the checkpoint not recorded"]),
        ({"origin": "another run", "facts": {"precision": "16-mixed"}},
         ["precision of the training 16-mixed instead of 32-true"]),
        ({"origin": "another run", "facts": {"method": EMAT | {"learning_rate": 0.01}}},
         ["learning_rate 0.01 instead of 0.001"]),
        ({"origin": "nothing trained", "facts": None}, ["nothing was trained"]),
        # records made before these facts were kept
        ({"origin": None}, ["choice of the checkpoint not recorded", "validation episodes not recorded"]),
        ({"origin": None, "training": {"checkpoint_sha256": "0"}}, ["checkpoint's origin not recorded"]),
        ({"origin": None, "identity": {"training": None}}, ["nothing was trained"]),
        ({"identity": {"image_size": 400, "tf32": True, "precision": "16"}, "training": {"max_epochs": 1}},
         ["image size 400 instead of 700", "precision 16-mixed instead of 32-true", "TF32 on instead of off",
          "epochs 1 instead of 80"]),
    ],
)  # fmt: skip
def test_each_difference_is_named(tested, reported, changes, expected):
    paper = replace(
        reported, made_with=replace(reported.made_with, batch=27, training=tuple(changes.get("paper", {}).items()))
    )
    wanted = {"batch_size": 27, "fill_to": 1, "drop_last": False} | changes.get("training", {})
    header = tested(*changes.get("which", ()))
    given = {"method": EMAT, "backbone": "dinov2_vits14", **changes, "training": wanted}
    for key in ("which", "paper"):
        given.pop(key, None)
    variant = given.pop("variant", None)
    record = Record(Path("a run"), run_of(header, **given) | {"checkpoint_variant": variant})
    record.__dict__["header"] = header  # as if it were read
    assert why_not_comparable(record, paper) == expected


def test_boxes_are_compared_with_boxes(official, reported, figures):
    of_masks, of_boxes = (
        official(EMAT, "dinov2_vits14"),
        official(EMAT, "dinov2_vits14", 1, identity={"support_annotation": "bbox"}),
    )
    masks = [replace(reported, fold=str(fold)) for fold in (0, 1)]
    boxes = [replace(paper, annotation="bbox") for paper in masks]
    assert why_not_comparable(of_masks, masks[0]) == why_not_comparable(of_boxes, boxes[1]) == []
    assert why_not_comparable(of_masks, boxes[0]) == ["support annotation mask instead of bbox"]
    assert why_not_comparable(of_boxes, masks[1]) == ["support annotation bbox instead of mask"]
    hmnet = {f.stated: (f.annotation, f.doubt) for f in figures if f.source == "HMNet paper Table 5"}
    assert hmnet == {"support label: mask": ("mask", ""), "support label: bounding box": ("bbox", "")}


def test_a_study_of_batches_has_its_own_batches_and_rates(figures):
    study = {f.stated: f for f in figures if f.source == "DCAMA supplement section A" and f.stated.startswith("batch=")}
    assert {stated: (f.made_with.batch, f.doubt) for stated, f in study.items()} == {
        "batch=48;lr=0.001": (48, ""), "batch=24;lr=0.001": (24, ""), "batch=24;lr=0.0005": (24, ""),
    }  # fmt: skip
    half = dict(study["batch=24;lr=0.0005"].options)
    assert (half["learning_rate"], half["weight_decay"]) == (5e-4, 5e-5)
    assert "learning_rate" not in dict(study["batch=24;lr=0.001"].options)


def test_the_papers_settings_are_those_that_are_shipped(figures):
    """Read from the composed configuration, with what the mapping says of a single row."""
    main = [f for f in figures if not f.stated.startswith("batch=")]  # a study has other batches
    settings = {(f.method, f.backbone, f.dataset, f.shot): f.made_with for f in main}
    assert settings["EMAT", "DINOv2 ViT-S/14", "pascal", 1].image_size == 700
    assert settings["CST (pixel-level labels)", "DINO ViT-S/8", "pascal", 1].epochs == 2000
    batches = {
        ("EMAT", "DINOv2 ViT-S/14", "pascal", 1): 27, ("CST*", "DINOv2 ViT-S/14", "coco", 1): 36,
        ("CST (pixel-level labels)", "DINO ViT-S/8", "pascal", 1): 12, ("DCAMA", "Swin-B", "pascal", 1): 48,
        ("DCAMA", "ResNet-50", "coco", 5): 48, ("DCAMA", "ResNet-101", "fss1000", 1): 40,
        ("HSNet", "ResNet-101", "pascal", 1): 20, ("HSNet", "ResNet-101", "coco", 1): 40,
        ("HMNet", "ResNet-50", "pascal", 1): 8, ("HMNet", "ResNet-50", "coco", 5): 16,
    }  # fmt: skip
    assert {row: settings[row].batch for row in batches} == batches
    dcama = [settings["DCAMA", "Swin-B", name, 1] for name in ("pascal", "coco", "fss1000")]
    assert [paper.epochs for paper in dcama] == [1000, 500, 1000]
    assert [paper.validation for paper in dcama] == ["novel", "novel", "held_out"]
    assert dict(dcama[0].method)["weight_decay"] == 1e-4
    hmnet = [settings["HMNet", "ResNet-50", name, shot] for name in ("pascal", "coco") for shot in (1, 5)]
    assert [(paper.image_size, paper.epochs) for paper in hmnet] == [(473, 300), (473, 300), (633, 75), (633, 75)]
    assert [dict(paper.training).get("training_shot", 1) for paper in hmnet] == [1, 5, 1, 5]
    assert [dict(paper.training)["augmentation"] for paper in hmnet] == ["pascal", "pascal", "coco", "coco"]
    rules = [[dict(p.training)[k] for k in ("first_validation", "middle_validation", "patience")] for p in hmnet]
    assert rules == [[26, 101, 100]] * 2 + [[26, 26, 75]] * 2
    ours = settings["HSNet (DCAMA authors re-impl.)", "Swin-B", "pascal", 1]
    assert ours.image_size == 384 and settings["HSNet", "ResNet-101", "pascal", 1].image_size == 400
    swin = settings["FT", "iBOT Swin-T/7 IN1K", "cub", 1]
    assert dict(swin.method)["learning_rate"] == 5e-5 and swin.tf32 is False


def test_differences_are_a_note_under_the_table(official, figures, capsys, tmp_path):
    changed = {"identity": {"image_size": 400, "precision": "bf16-mixed"}}
    for fold in range(4):
        official(EMAT, "dinov2_vits14", fold, **changed)
    words = "image size 400 instead of 700; precision bf16-mixed instead of 32-true"
    for form in ("text", "markdown", "latex"):
        assert main(["table", str(tmp_path), "--no-trivial", "--published", "--format", form]) == 0
        text = capsys.readouterr().out
        assert text.count("not comparable (1)") == 2 and text.count(f"(1) differs from the reported one: {words}") == 1
    assert main(["table", str(tmp_path), "--no-trivial", "--published", "--format", "csv"]) == 0
    rows = [row for row in csv.DictReader(capsys.readouterr().out.splitlines()) if row["part"] == "reported"]
    assert [row["notes"] for row in rows] == [f"original: not comparable: {words}"] * 2
    assert main(["table", str(tmp_path), "--no-trivial", "--published", "--format", "json"]) == 0
    (block,) = json.loads(capsys.readouterr().out)
    assert [(item["difference"], item["differs"]) for item in block["published"]] == [(None, words.split("; "))] * 2


def test_a_table_has_the_reported_means(official, figures):
    records = [official(EMAT, "dinov2_vits14", fold) for fold in range(4)]
    (block,) = build_blocks(records, published=figures)
    assert {(item.fold, item.metric, item.reported.value) for item in block.published} == {
        ("mean", "mIoU", 63.38), ("mean", "accuracy", 82.70),
    }  # fmt: skip
    (iou, accuracy) = sorted(block.published, key=lambda item: item.metric == "accuracy")
    assert iou.verdict == "above" and iou.difference == pytest.approx(70 - 63.38) and accuracy.verdict == "above"
    caption, grid = to_sheet(block).parts[-1]
    assert caption == "reported beside measured" and len(grid) == 3
    assert next(line for line in grid if line[2] == "mIoU")[3:8] == [
        "70.00 [70.00, 70.00]", "63.38", "+6.62", "above", "EMAT, DINOv2 ViT-S/14, fscs, original",
    ]  # fmt: skip


def test_what_can_be_compared_hides_what_cannot(official, figures):
    (block,) = build_blocks([official(DCAMA, "swin_base", task="hsnet-1way1shot-original")], published=figures)
    assert [(x.reported.stated, x.reported.backbone, x.metric) for x in block.published] == [("main", "Swin-B", "mIoU")]
    ablated = official(DCAMA | {"support_background": "zero"}, "swin_base", task="hsnet-1way1shot-original")
    (block,) = build_blocks([ablated], published=figures)
    assert [x.reported.stated for x in block.published] == ["support_background=zero"]
    other = official(DCAMA, "swin_base", task="fscs-1way1shot-original")
    (block,) = build_blocks([other], published=figures)
    assert {(x.reported.backbone, x.verdict) for x in block.published} == {
        ("Swin-B", "not comparable: protocol fscs instead of hsnet")  # ResNets differ in more
    }
    other = official(DCAMA, "resnet101_v1", task="hsnet-1way1shot-original")
    (block,) = build_blocks([other], published=figures)
    assert {(x.reported.backbone, *x.differs) for x in block.published} == {
        (printed, f"backbone resnet101_v1 instead of {ours}")
        for printed, ours in (("Swin-B", "swin_base"), ("ResNet-50", "resnet50"), ("ResNet-101", "resnet101"))
    }


def test_on_the_command_line(official, tmp_path, capsys):
    official(DCAMA, "swin_base", task="hsnet-1way1shot-original")
    assert main(["table", str(tmp_path), "--no-trivial", "--published"]) == 0
    text = capsys.readouterr().out
    assert "reported beside measured" in text and "DCAMA ECCV2022 Table 1" in text
    assert main(["table", str(tmp_path), "--no-trivial", "--published", "--format", "csv"]) == 0
    rows = [row for row in csv.DictReader(capsys.readouterr().out.splitlines()) if row["part"] == "reported"]
    assert [(row["fold"], row["metric"], row["value"], row["notes"]) for row in rows] == [
        ("0", "mIoU", "72.2", "main: below")
    ]
    assert main(["table", str(tmp_path), "--no-trivial"]) == 0
    assert "reported" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("EMAT,DINOv2", "EMAT2,DINOv2", "emat.csv, line 8: method is 'EMAT2', which mapping.yaml does not know"),
        ("original,acc", "orig,acc", "emat.csv, line 2: setting is 'orig', which mapping.yaml does not know"),
        (
            "backbone,",
            "trunk,",
            "emat.csv has the columns dataset, fold, method, metric, setting, shot, source, trunk",
        ),
    ],
)
def test_names_that_are_not_known_are_refused(tmp_path, before, after, expected):
    folder = Path(shutil.copytree(FOLDER, tmp_path / "published"))
    text = (folder / "emat.csv").read_text()
    (folder / "emat.csv").write_text(text.replace(before, after, 1))
    with pytest.raises(DataError) as refused:
        published_scores(folder)
    assert expected in str(refused.value)
    (folder / "emat.csv").unlink()
    with pytest.raises(DataError, match=r"emat\.csv: either not in"):
        published_scores(folder)


@pytest.fixture
def classified(tmp_path):
    """classified(method, backbone, sizes, **task) -> a record of 20-way 1-shot episodes of "cub", all answers right."""

    class Index(ClassificationIndex):
        name, origin = "cub", "derived"

        def __init__(self, sizes):
            self.class_names = tuple(f"class {n}" for n in range(len(sizes)))
            self.images = tuple(tuple(map(str, range(size))) for size in sizes)

        def image_path(self, name):
            return Path(name)

    def make(
        method, backbone="dino_vitb16", smallest=50, remarks=(), lists="derived", image_size=224, precision="32-true",
        **task,
    ) -> Record:  # fmt: skip
        settings = {"way": 20, "shot": 1, "queries": 15, "episodes": 2000, "seed": 0, "min_class_size": None} | task
        index = Index([smallest] * 30)
        index.origin = lists
        manifest = draw_classification_manifest(index, **settings)
        right = np.arange(20).repeat(settings["queries"]).reshape(20, -1)
        rows = [
            row
            for e in manifest.episodes
            for row in ClassificationResult(e.index, tuple(c + 1 for c in e.classes), right).rows()
        ]
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        identity = {
            "method": {"name": "m", **method}, "backbone": {"name": backbone, "weights": "official"}, "fold": 0,
            "seed": 0, "image_size": image_size, "manifest_sha256": manifest.sha256, "training": None,
            "precision": precision, "tf32": False,
        }  # fmt: skip
        cost = {"trainable_parameters": 0, "episodes_per_second": 1.0, "peak_mib": 1.0}
        run = {"id": folder.name, "identity": identity, "presence": "predicted", "cost": cost, "remarks": remarks}
        return write_record(folder, run, to_frame(rows, manifest))

    return make


def test_classification_beside_its_paper(classified, figures):
    def beside_it(record, *scores):
        low, high = scores or (57.9, 58.1)
        return match_published("m", "all", {"accuracy": Interval((low + high) / 2, low, high)}, [record], figures)

    solver = {"type": "frozenclassifier", "solver": "metaoptnet"}
    with (FOLDER / "fort.csv").open(newline="") as file:
        printed = {
            float(row["value"])
            for row in csv.DictReader(file)
            if (row["method"], row["backbone"], row["dataset"], row["shot"])
            == ("MetaOptNet", "DINO ViT-B/16 IN1K", "CUB", "1")
        }
    found = beside_it(classified(solver))
    assert {item.reported.value for item in found} == printed and all(item.difference is not None for item in found)

    def why(*arguments, **task):
        found = beside_it(classified(*arguments, **task))
        of_backbone = [item for item in found if "dino_vitb16" in item.reported.backbones]
        (verdict,) = {item.verdict if item.difference is None else "" for item in of_backbone}
        return verdict.removeprefix("not comparable: ")

    assert (
        why(solver, smallest=40) == "30 small classes are not repeated up to 50 images as the authors' "
        "(--data.min_class_size=50)"
    )
    assert why(solver, smallest=40, min_class_size=50) == ""
    assert why(solver, episodes=3) == "episodes 3 instead of 2000"
    assert why(solver, queries=5) == "queries 5 instead of 15"
    assert why(solver, lists="given, incomplete") == "the list of images is not complete"
    assert why(solver, lists="given") == ""
    assert why(solver, image_size=128) == "image size 128 instead of 224"
    assert why(solver, precision="bf16-mixed") == "precision bf16-mixed instead of 32-true"
    for low, high, verdict in ((57.1, 57.2, "above"), (57.05, 57.35, "within"), (56.65, 56.93, "within")):
        (item,) = [item for item in beside_it(classified(solver), low, high) if item.reported.value == 57.0]
        assert item.verdict.startswith(verdict)  # 57.0 may be 57.05; 57.2 - sqrt(2) * 0.15 is 56.99
    doubtful = [f for f in figures if f.doubt and f.protocol == "fort"]
    assert {f.dataset for f in doubtful if "CLIP" not in f.backbone} == {"aircraft", "pets"}
    clip = [f for f in figures if f.method == "MetaOptNet" and "CLIP" in f.backbone]
    assert len(clip) == 8 and {f.doubt for f in clip} == {"whether CLIP's features were normalised was never released"}
    tuned = {"type": "finetuned", "tuning": "lora", "head": "metaoptnet", "temperature": 20.0}
    assert "are not published" in why(tuned | {"alpha": 0.5}, remarks=["hyper-parameters are not published"])
    names = {
        alpha: {item.reported.method for item in beside_it(classified(tuned | {"alpha": alpha}))}
        for alpha in (0.0, 0.5)
    }
    assert names == {0.0: {"LoRA"}, 0.5: {"LoRA+FORT"}}


SAME_IMAGES = "intervals and tests refer to other episodes of the same images"
TOO_NARROW = "intervals of fewer than 50 episodes are too narrow"


@pytest.mark.parametrize(("episodes", "few"), [(49, True), (50, False)])
def test_intervals_of_classification_say_which_episodes_they_are_about(classified, tmp_path, capsys, episodes, few):
    solvers = [{"type": "frozenclassifier", "solver": solver, "name": solver} for solver in ("nn", "svm")]
    for solver in solvers:
        classified(solver, episodes=episodes, queries=1)
    for command, forms in (("table", FORMATS), ("compare", ("text", "markdown", "latex", "json"))):
        for form in forms:
            given = ["--metrics", "accuracy"] if command == "compare" else ["--no-trivial"]
            assert main([command, str(tmp_path), *given, "--format", form]) == 0
            text = capsys.readouterr().out
            assert SAME_IMAGES in text and (TOO_NARROW in text) == few, (command, form)


def test_remarks_on_hyper_parameters():
    """None for the authors' own commands, which the configurations are."""
    from types import SimpleNamespace as Plain

    import yaml

    def said(name, dataset, shot=1, **other):
        options = {"tuning": "head", "head": "default" if name == "lp" else "metaoptnet", "temperature": 1.0}
        options |= {"optimiser": "sgd"} if name == "lp" else {}
        for path in config_files(name, dataset):
            if path.parent.name in ("methods", "backbones"):
                options |= yaml.safe_load(path.read_text())["model"]["init_args"]
        options |= other
        schedule = Plain(**{key: options.get(key, 0) for key in ("learning_rate", "alpha", "tau")})
        schedule.optimiser, schedule.temperature = options["optimiser"], options["temperature"]
        method = Plain(
            schedule=schedule, backbone=Plain(**options["backbone"]), tuning=options["tuning"],
            epochs=options["epochs"], patches=options.get("patches"), head_kind=options["head"],
            gradient_weight=options.get("gradient_weight"), prompt_draw=options.get("prompt_draw"),
        )  # fmt: skip
        return tuning_notes(method, Plain(shot=shot, dataset=Plain(name=dataset)))

    vit, swin = ("ft", "lora", "ssf", "fort", "fort_lora", "fort_ssf"), ("ft_swin", "fort_swin", "fort_ssf_swin")
    assert not any(said(name, "cub") for name in (*vit, *swin, "vpt", "lp"))
    assert not said("lora", "cub", head="default", temperature=1.0)
    changes = {"optimiser": "sgd"}, {"temperature": 1.0}, {"head": "protonet"}, {"head": "default"}, {"epochs": 9}
    assert all("other than the published" in said("lora", "cub", **change)[0] for change in changes)
    assert "other than the published" in said("vpt", "cub", prompt_draw="episode")[0]
    assert "other than the published" in said("fort", "cub", gradient_weight=0.5)[0]
    assert "other than the published" in said("lp", "cub", epochs=21)[0]
    assert "are not published" in said("lp", "cub", shot=5)[0] and "are not published" in said("lp", "cars")[0]
    assert not any(said(name, "pets") for name in vit)
    for unknown in (said("fort", "cub", shot=5), said("ft", "cars"), said("fort_swin", "pets"), said("vpt", "pets")):
        assert "are not published" in unknown[0]
