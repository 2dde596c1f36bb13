"""Reported figures: every row of every file is understood, with the settings that it was made with."""

import csv
import shutil
from pathlib import Path

import pytest

from fsbench.base.errors import DataError
from fsbench.base.paths import CONFIGS
from fsbench.results.published.scores import FOLDER
from fsbench.runner.config.registry import aliases, names
from fsbench.runner.papers.results import published_scores


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
    ours = {
        "EMAT",
        "CST*",
        "CST (pixel-level labels)",
        "HSNet",
        "HSNet (DCAMA authors re-impl.)",
        "DCAMA",
        "HMNet",
        "HDMNet",
        "BAM",
        "PFENet",
        "SANSA",
        "GF-SAM",
        "Matcher",
        "PerSAM",
        "PerSAM-F",
        "FSS-SAM3",
        "SegGPT",
        "DIaM",
        "VRP-SAM",
        "PATNet",
        "IFA",
        "ABCDFSS",
    }
    repeated = ("BAM", "HDMNet", "PFENet", "SANSA", "VRP-SAM")  # by later papers, beside their own rows
    rows = {
        (*(row[key] for key in row),)
        for path in [*FOLDER.glob("*.csv"), FOLDER / "atlas" / "figures.csv"]
        for row in csv.DictReader(path.open(newline=""))
        if row["method"] in ours
        and not (row["method"] in repeated and row["method"].lower() != path.stem)
        and path.name != "cdfss.csv"  # IFA's, which stand in its own file
        and (path.name != "figures.csv" or row["method"] == "HSNet")
        and row["metric"]
        in (
            "mIoU",
            "FB-IoU",
            "accuracy",
            "ROM",
            "RUM",
            "base mIoU",
            "novel mIoU",
            "mean of base and novel",
            "IFA figure",
        )
        and row["dataset"] not in ("PerSeg", "COCO-20i -> PASCAL", "overall", "mean of 4", "")
        and row["setting"] != "authors log"
        and row["fold"] not in ("std", "")
        and not row["setting"].endswith((": std", ": spread"))
        and not (row["method"] == "HSNet" and "iFSL" in row["source"])
        and not (row["method"] == "HSNet" and "uniform lists" in row["setting"])
    }
    with (FOLDER / "fort.csv").open(newline="") as file:
        images = [
            row
            for row in csv.DictReader(file)
            if row["metric"] == "accuracy_%" and row["method"] not in ("zero-shot", "CoOp", "Tip-Adapter-F", "PLOT++")
        ]
    assert len(figures) == len(rows) + len(images) > len(rows) + 200


def test_rows_of_one_table_may_be_of_several_tests(figures):
    """By data set or method where a file has several; methods that are not trained ask for no training."""
    tests = {(f.method, f.dataset, f.protocol, f.configuration) for f in figures if not f.made_with.trained}
    assert tests >= {
        ("GF-SAM", "coco", "incontext", "gf_sam"), ("GF-SAM", "isic", "cdfss", "gf_sam"),
        ("Matcher", "coco", "incontext518", "matcher"), ("PerSAM-F", "pascal", "incontext", "persam_f"),
        ("FSS-SAM3", "coco", "fss_sam3", "sam3_canvas"), ("FSS-SAM3", "coco", "fss_sam3", "sam3_canvas_names"),
        ("SegGPT", "coco", "hsnet", "seggpt"), ("DIaM", "pascal10i", "gfss", "diam"),
    }  # fmt: skip
    assert not {f.method for f in figures if f.made_with.trained} & {method for method, *_ in tests}
    wanted = ("DIaM", "coco", "mean", 1, "mIoU-mean")
    (diam,) = (f for f in figures if (f.method, f.dataset, f.fold, f.shot, f.metric) == wanted)
    assert (diam.way, diam.row, dict(diam.conditions)["metric"]) == (
        1, "diam/coco-20i/resnet-50", "gfss, base without background",
    )  # fmt: skip
    assert all(f.row for f in figures if f.method == "Matcher" and not f.doubt)


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
    known = {figure.method for figure in figures if figure.made_with.tf32 is not None}
    assert known == {"DCAMA"} and dcama[0].tf32 is False  # whose GPUs had none; of others they are not named
    hmnet = [settings["HMNet", "ResNet-50", name, shot] for name in ("pascal", "coco") for shot in (1, 5)]
    assert [(paper.image_size, paper.epochs) for paper in hmnet] == [(473, 300), (473, 300), (633, 75), (633, 75)]
    assert [dict(paper.training).get("training_shot", 1) for paper in hmnet] == [1, 5, 1, 5]
    assert [dict(paper.training)["augmentation"] for paper in hmnet] == ["pascal", "pascal", "coco", "coco"]
    rules = [[dict(p.training)[k] for k in ("first_validation", "middle_validation", "patience")] for p in hmnet]
    assert rules == [[26, 101, 100]] * 2 + [[26, 26, 75]] * 2
    ours = settings["HSNet (DCAMA authors re-impl.)", "Swin-B", "pascal", 1]
    assert ours.image_size == 384 and settings["HSNet", "ResNet-101", "pascal", 1].image_size == 400
    swin = settings["FT", "iBOT Swin-T/7 IN1K", "cub", 1]
    assert dict(swin.method)["learning_rate"] == 5e-5


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("EMAT,DINOv2", "EMAT2,DINOv2", "emat.csv, line 8: method is 'EMAT2', which mapping.yaml does not know"),
        ("original,acc", "orig,acc", "emat.csv, line 2: setting is 'orig', which mapping.yaml does not know"),
        ("backbone,", "trunk,", "emat.csv differs in the columns backbone, trunk; expected method, backbone, dataset"),
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


def test_a_figure_of_insid3_belongs_to_the_released_basis(tmp_path):
    folder = Path(shutil.copytree(FOLDER, tmp_path / "published"))
    with (folder / "incontext.csv").open("a") as file:
        file.write("INSID3,DINOv3 ViT-L/16,COCO-20i,0,1,1,,mIoU,50.0,a table of tomorrow\n")
    mapping = (folder / "mapping.yaml").read_text()
    (folder / "mapping.yaml").write_text(mapping.replace("{released log: {},", '{"": {}, released log: {},'))
    (found,) = [score for score in published_scores(folder) if score.method == "INSID3"]
    assert (found.protocol, found.backbones) == ("incontext", ("dinov3_vitl16",))
    stated = {"basis_coordinates": "released_cuda"}
    assert dict(found.options) == stated and found.made_with.image_size == 1024
