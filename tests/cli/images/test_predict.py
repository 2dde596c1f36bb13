"""`fsbench predict` as its users have it: folders, resumption, kills, broken photos, files that other programs read."""

import contextlib
import csv
import fcntl
import io
import json
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from fsbench.cli.main import main
from fsbench.core.released_format import WRITTEN_BY
from fsbench.predict.supports import read_supports
from fsbench.runner.config.registry import config_files
from fsbench.runner.engine.experiment import Experiment
from tests.cli.commands import images_of
from tests.config_words import parse

PROTOTYPE = ("--dataset", "demo")


@pytest.fixture
def photos(small_demo: Path, tmp_path: Path) -> Path:
    """Five photos of the demo in two folders, two of them with one stem, and one that is broken."""
    sources = sorted((small_demo / "JPEGImages").iterdir())[:5]
    names = ["a.jpg", "a.png", "sub/a.jpg", "sub/with space.jpeg", "z.jpg"]
    for source, name in zip(sources, names, strict=True):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).save(path)
    (tmp_path / "photos" / "m.jpg").write_bytes(sources[0].read_bytes()[:900])
    return tmp_path / "photos"


@pytest.fixture
def support(small_demo: Path) -> list[str]:
    """Two classes, the first with two supports."""
    masks = sorted((small_demo / "SegmentationClassAug").iterdir())[:12]
    chosen: dict[int, list[str]] = {}
    for mask in masks:
        for number in np.unique(np.asarray(Image.open(mask))).tolist():
            if number not in (0, 255):
                photo = small_demo / "JPEGImages" / f"{mask.stem}.jpg"
                chosen.setdefault(number, []).append(f"{photo}:{mask}")
    first, second = [number for number, found in chosen.items() if len(found) > 1][:2]
    options = [f"--support={text}" for text in dict.fromkeys([*chosen[first][:2], chosen[second][0]])]
    return [*options, "--classes", f"{first}=first,{second}=second"]


def predict(*arguments: object) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main(["predict", *PROTOTYPE, *map(str, arguments)])
    return status, said.getvalue()


def files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_folder_becomes_masks_and_goes_on_where_it_was(photos, support, tmp_path, capsys):
    out = tmp_path / "photos" / "out"  # inside what is searched
    kept = photos / "sub/a.jpg"
    kept.write_bytes(kept.read_bytes().ljust(50_000, b"\0"))
    status, said = predict(*support, "--query", photos, "--out", out)
    errors = capsys.readouterr().err
    assert status == 1 and "5 of 6 photos predicted" in said and "left out: image" in said
    assert re.search(r"error: left out: image .*m\.jpg cannot be decoded", errors) and "Traceback" not in errors
    names = ["a.jpg", "a.png", "sub/a.jpg", "sub/with space.jpeg", "z.jpg"]
    expected = {f"labels/{n}.png" for n in names} | {f"overlays/{n}.jpg" for n in names}
    assert set(files(out)) == expected | {"annotations.json", "scores.csv", "journal.jsonl"}
    _check_coco(out, photos, names, said)
    before = files(out)

    status, said = predict(*support, "--query", photos, "--out", out)
    assert status == 1 and "5 of 6 photos predicted (5 of them by an earlier call)" in said
    unchanged = {name for name, time in files(out).items() if before[name] == time}
    assert unchanged == expected | {"journal.jsonl"}

    whole = (out / "annotations.json").read_text()
    with (out / "journal.jsonl").open("rb+") as file:  # as a power cut leaves it
        file.truncate((out / "journal.jsonl").stat().st_size - 9)
    (out / "labels" / ".0123456789abcdef.1.new").write_text("half")
    status, said = predict(*support, "--query", photos, "--out", out)
    assert (
        "5 of 6 photos predicted (4 of them by an earlier call)" in said
        and (out / "annotations.json").read_text() == whole
    )
    assert not list(out.glob("labels/*.new"))

    (photos / "m.jpg").unlink()
    Image.open(photos / "z.jpg").rotate(90, expand=True).save(photos / "a.png")  # exchanged
    (out / "labels" / "z.jpg.png").unlink()
    written = kept.stat()
    kept.write_bytes((photos / "z.jpg").read_bytes().ljust(50_000, b"\0"))  # exchanged, with equal size and time
    os.utime(kept, ns=(written.st_atime_ns, written.st_mtime_ns))
    status, said = predict(*support, "--query", photos, "--out", out)
    assert status == 0 and "5 of 5 photos predicted (2 of them by an earlier call)" in said
    _check_coco(out, photos, names, said)


def test_out_never_holds_the_photos_and_files_of_others_stay(photos, support, tmp_path, capsys):
    mine = photos / ".mine.new"
    mine.write_text("a user's")
    for query, out in ((photos, photos), (photos / "sub", photos), (photos / "a.jpg", photos), (photos, tmp_path)):
        assert predict(*support, "--query", query, "--out", out)[0] == 2
        assert "of --query, so that results would be taken for photos" in capsys.readouterr().err
    out = tmp_path / "out"
    (out / "labels").mkdir(parents=True)
    kept = out / "labels" / ".0123456789abcdef.1.new"
    kept.write_text("without a journal, not ours")
    assert predict(*support, "--query", photos / "a.jpg", "--out", out)[0] == 0
    assert mine.exists() and kept.exists()


@pytest.mark.slow(1)
def test_a_photo_that_broke_or_cannot_be_written_leaves_no_result(photos, support, tmp_path):
    out = tmp_path / "out"
    (photos / "m.jpg").unlink()
    assert predict(*support, "--query", photos, "--out", out)[0] == 0
    sound = (photos / "z.jpg").read_bytes()
    (photos / "z.jpg").write_bytes(sound[:900])
    for name in ("x" * 240 + ".jpg", "x" * 251 + ".jpg", os.fsdecode(b"caf\xe9.jpg")):
        (photos / name).write_bytes(sound)
    status, said = predict(*support, "--query", photos, "--out", out)
    assert status == 1 and "5 of 8 photos predicted (4 of them by an earlier call)" in said
    assert said.count("left out: ") == 3 and r"caf\udce9.jpg" in said
    assert not [name for name in files(out) if "z.jpg" in name or "x" * 251 in name or name.endswith(".new")]
    assert "z.jpg" not in (out / "scores.csv").read_text() + (out / "annotations.json").read_text()
    assert (out / "labels" / ("x" * 240 + ".jpg.png")).is_file()


@pytest.mark.slow(1)
def test_its_annotations_are_supports_bit_for_bit(photos, support, tmp_path, capsys):
    (photos / "m.jpg").unlink()
    out = tmp_path / "out"
    assert predict(*support, "--query", photos, "--out", out)[0] == 0
    supports, notes = read_supports([str(out / "annotations.json")], root=photos)
    read = {Path(one.image_name).relative_to(photos).as_posix(): one for one in supports}
    shown = 0
    for path in (out / "labels").rglob("*.png"):
        labels = np.asarray(Image.open(path))
        name = path.relative_to(out / "labels").with_suffix("").as_posix()
        assert (name in read) == labels.any()
        if labels.any():
            np.testing.assert_array_equal(read[name].labels, labels)
            assert read[name].classes == {
                n: name for n, name in {1: "first", 2: "second"}.items() if (labels == n).any()
            }
            shown += 1
    assert shown == len(supports) > 2 and not notes
    again = ("--support", out / "annotations.json", "--support-root", photos, "--query", photos)
    assert predict(*again, "--out", tmp_path / "x")[0] == 0, capsys.readouterr().err


@pytest.mark.slow(4)
def test_objects_are_annotations_and_steps_are_drawn(photos, support, tmp_path, capsys):
    pytest.importorskip("transformers")
    out = tmp_path / "out"
    query = ("--query", photos / "a.jpg", "--out", out)
    assert predict(*support, *query, "--method", "sam3_canvas", "--steps")[0] == 0
    coco = json.loads((out / "annotations.json").read_text())["annotations"]
    scores = [one["score"] for one in coco]
    assert len(scores) > len({one["category_id"] for one in coco}) and len(set(scores)) == len(scores)
    assert Image.open(out / "steps" / "a.jpg.png").size[0] > 3 * 320  # the prediction, the canvas, what is found
    assert predict(*support, *query, "--method", "sam3_canvas")[1].count("(1 of them by an earlier call)") == 1
    (out / "steps" / "a.jpg.png").unlink()
    assert predict(*support, *query, "--method", "sam3_canvas", "--steps")[1].count("before)") == 0
    out = tmp_path / "exemplars"
    query = ("--query", photos / "a.jpg", "--out", out)
    assert predict(*support, *query, "--method", "sam3_exemplars", "--steps")[0] == 0
    assert json.loads((out / "annotations.json").read_text())["annotations"] and (out / "steps" / "a.jpg.png").is_file()
    assert predict(*support, "--query", photos, "--out", tmp_path / "x", "--method", "seggpt", "--steps")[0] == 2
    assert "--steps was given, but seggpt has no steps" in capsys.readouterr().err


def _check_coco(out: Path, photos: Path, names: list[str], said: str) -> None:
    """pycocotools reads the file, and what it says is in the label PNGs, the table and on the screen."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(out / "annotations.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["first", "second"]
    rows = {(r["photo"], r["class"]): r for r in csv.DictReader((out / "scores.csv").open())}
    assert {photo for photo, _ in rows} == set(names) and len(rows) == 2 * len(names)
    marked = {"first": 0, "second": 0}
    for image in coco.loadImgs(coco.getImgIds()):
        with Image.open(photos / image["file_name"]) as photo:
            assert photo.size == (image["width"], image["height"])
        labels = np.asarray(Image.open(out / "labels" / f"{image['file_name']}.png"))
        assert labels.shape == (image["height"], image["width"])
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        rebuilt = sum(coco.annToMask(a).astype(int) * a["category_id"] for a in annotations)
        np.testing.assert_array_equal(rebuilt, labels)
        for number, name in enumerate(("first", "second"), 1):
            row = rows[image["file_name"], name]
            pixels = int((labels == number).sum())
            assert int(row["pixels"]) == pixels and float(row["share"]) == pytest.approx(pixels / labels.size, abs=1e-6)
            assert row["present"] == row["score"] == "", "two photos of each class cannot show what a score is worth"
            marked[name] += pixels > 0
            for a in annotations:
                if a["category_id"] == number:
                    x, y, w, h = map(int, a["bbox"])
                    assert a["area"] == pixels == (labels[y : y + h, x : x + w] == number).sum()
                    assert "score" not in a and "present" not in a
    for name, count in marked.items():
        share = f"all {len(names)}" if count == len(names) else f"{count} of {len(names)}"
        found = f"a mask in {share} photos. Whether a photo shows it at all cannot be told: that needs about three"
        assert f"  {name}: {found}" in said
    measured = r"\non your labelled photos, each left out once: first IoU [1.]\d\d.* \(\d photos: .*\), second "
    assert re.search(measured, said), said
    assert "what the method found (nobody has checked it):\n" in said


@pytest.mark.parametrize(
    "method", ["insid3", *(pytest.param(name, marks=pytest.mark.slow(1)) for name in ("fssdino", "linear_probe_dense"))]
)
def test_methods_without_training_take_the_small_backbone(method, photos, support, tmp_path):
    """Their own backbones have weights to be fetched; INSID3 takes fewer directions and pixels by itself."""
    out, sized = tmp_path / "out", [] if method == "insid3" else ["--image-size", "128"]
    arguments = [*support, "--query", photos / "sub", "--out", out, "--method", method, "--backbone", "demo", *sized]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["predict", *map(str, arguments)]) == 0
    assert re.match(rf"{method}_demo on official vit.safetensors .*[0-9a-f]{{12}}….*, 128 pixels, ", said.getvalue())
    assert "\nlabelled photos: 2 for first, " in said.getvalue()
    _check_coco(out, photos / "sub", ["a.jpg", "with space.jpeg"], said.getvalue())
    labels = [np.asarray(Image.open(file)) for file in sorted((out / "labels").iterdir())]
    assert len(labels) == 2 and all(set(np.unique(found)) <= {0, 1, 2} for found in labels)
    assert any(found.any() for found in labels)


def test_results_of_other_settings_are_kept_unless_forced(photos, support, tmp_path, capsys):
    (photos / "m.jpg").unlink()
    out = tmp_path / "out"
    unchecked = [*support, "--no-check"]
    assert predict(*unchecked, "--query", photos, "--out", out)[0] == 0
    before = files(out)
    for change, reason in (
        (["--image-size", "160"], "image_size was 128, now 160"),
        (["--weights", "random"], "weights was official"),
    ):
        assert predict(*unchecked, "--query", photos, "--out", out, *change)[0] == 2
        *notes, error = capsys.readouterr().err.splitlines()
        assert reason in error and "choose another --out, or --force" in error
        assert all(note.startswith("fsbench: note: ") for note in notes), notes
    assert predict(*unchecked[1:], "--query", photos, "--out", out)[0] == 2
    assert "another support" in capsys.readouterr().err
    assert files(out) == before
    status, said = predict(*unchecked[1:], "--query", photos / "z.jpg", "--out", out, "--force")
    assert status == 0 and "left out once" not in said
    assert "1 of 1 photos. Whether a photo shows it at all was not measured (--no-check)." in said, said
    assert {n for n in files(out) if "/" in n} == {"labels/z.jpg.png", "overlays/z.jpg.jpg"}


@pytest.mark.slow(12)
def test_ctrl_c_leaves_what_is_finished(small_demo, support, tmp_path, spawn):
    """It cannot come to its end before: it writes a line for each photo to a pipe that has no room for all of them."""
    query = tmp_path / "query"
    query.mkdir()
    for photo in sorted((small_demo / "JPEGImages").iterdir())[-40:]:  # no supports
        shutil.copy(photo, query / f"{photo.stem}-{'x' * 150}.jpg")
    arguments = [*support, "--query", str(query), "--out", str(tmp_path / "out")]
    process = spawn("predict", *PROTOTYPE, *arguments, PYTHONUNBUFFERED="1")
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, resource.getpagesize())
    journal = tmp_path / "out" / "journal.jsonl"
    end = time.monotonic() + 240
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130 and "run the same command again to continue" in err and "Traceback" not in err
    kept = journal.read_bytes().count(b"\n") - 1
    assert 5 <= kept < 40 and not (tmp_path / "out" / "annotations.json").exists()
    status, said = predict(*arguments)
    assert status == 0 and f"40 of 40 photos predicted ({kept} of them by an earlier call)" in said
    assert len(json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]) == 40


@pytest.mark.slow
def test_a_full_disk_is_one_line(photos, support, tmp_path, spawn):
    """A limit of the size of files stands for it; the name of the folder has a character that clears the screen."""
    out = tmp_path / "ou\x1bt"
    words = ["predict", *support, "--query", str(photos), "--out", str(out), "--method", "prototype", *PROTOTYPE]
    process = spawn(*words, PYTHONDONTWRITEBYTECODE="1")  # Python would keep compiled modules that are cut off
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200, 200))
    _, err = process.communicate(timeout=400)
    lines = [line for line in err.splitlines() if line.startswith("fsbench: error")]
    assert process.returncode == 2 and len(lines) == 1 and "Traceback" not in err, err
    assert lines[0].startswith("fsbench: error: File too large") and "\x1b" not in err, err


@pytest.mark.slow(2)
def test_the_checkpoint_of_a_run_brings_its_settings(small_demo, photos, support, tmp_path, capsys):
    """The folder of a run with settings of its own, as `fsbench bench` leaves it; its checkpoint alone says so."""
    (photos / "m.jpg").unlink()
    configs = [f"--config={file}" for file in config_files("emat", "demo")]
    own = ["--run.name=emat", "--model.support_side=4", "--data.image_size=96"]
    experiment = Experiment(parse([*configs, *own, *images_of(small_demo)]))
    checkpoint = tmp_path / "runs" / "mine" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    (checkpoint.parent.parent / "config.yaml").write_text(experiment.config_text)
    torch.save({"state_dict": experiment.method.state_dict(), WRITTEN_BY: experiment.method.describe()}, checkpoint)
    said = io.StringIO()
    arguments = [*support, "--query", str(photos), "--ckpt", str(checkpoint)]
    with contextlib.redirect_stdout(said):
        assert main(["predict", "--method", "emat", *arguments, "--out", str(tmp_path / "out")]) == 0
    assert "emat on official vit.safetensors" in said.getvalue() and "96 pixels" in said.getvalue()
    assert main(["predict", "--method", "hsnet", *arguments, "--out", str(tmp_path / "other")]) == 2
    assert "is of a run of emat, but the method is hsnet" in capsys.readouterr().err


def test_bad_input_is_one_line(photos, support, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for arguments, expected in (
        ([*support, "--query", tmp_path / "absent"], "absent does not exist; expected a folder of photos"),
        ([*support, "--query", tmp_path / "empty"], "there is no photo in"),
        (["--support", "x.jpg:y.png", "--query", photos], "there is no file x.jpg and no file y.png"),
        ([*support, "--query", photos, "--method", "emat"], "emat has to be trained; give its checkpoint"),
        ([*support, "--query", photos, "--weights", tmp_path / "w.pth"], "the weights"),
    ):
        status, said = predict(*arguments, "--out", tmp_path / "out")
        error = capsys.readouterr().err
        assert status == 2 and not said and re.search(expected, error.splitlines()[0]), error
    assert not (tmp_path / "out").exists()
