"""`fsbench export`: one file that answers as its method does, and the script that runs it alone."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.data.image_io import read_pixels
from fsbench.predict.export import SCRIPT
from fsbench.predict.supports import read_supports
from tests.three_packages import ThreePackages

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def marked(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A folder of three photos and their masks, of two classes; and photos that are held back."""
    folder = tmp_path_factory.mktemp("marked")
    shown: dict[int, list[Path]] = {}
    for mask in sorted((small_demo / "SegmentationClassAug").iterdir()):
        for number in np.unique(np.asarray(Image.open(mask))).tolist():
            if number not in (0, 255):
                shown.setdefault(number, []).append(mask)
    first, second = [number for number, masks in shown.items() if len(masks) > 4][:2]
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    chosen = [*[(first, mask) for mask in shown[first][:2]], (second, shown[second][0])]
    for place, (number, mask) in enumerate(chosen):
        labels = np.asarray(Image.open(mask)) == number
        Image.fromarray(labels.astype(np.uint8) * (1 if number == first else 2)).save(folder / "masks" / f"{place}.png")
        photo = small_demo / "JPEGImages" / f"{mask.stem}.jpg"
        (folder / "photos" / f"{place}.jpg").write_bytes(photo.read_bytes())
    used = {mask.stem for _, mask in chosen}
    held_back = [mask for number in (first, second) for mask in shown[number] if mask.stem not in used]
    return folder, [small_demo / "JPEGImages" / f"{mask.stem}.jpg" for mask in held_back[:3]]


CLASSES = "1=first,2=second"


@pytest.fixture(scope="module")
def exported(marked, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The prototype with the marked photos as a file, and what the command said."""
    from contextlib import redirect_stdout
    from io import StringIO

    from fsbench.cli.main import main

    out = tmp_path_factory.mktemp("exported") / "thing.onnx"
    words = ["export", "prototype", "--dataset", "demo", "--supports", str(marked[0]), "--classes", CLASSES]
    with redirect_stdout(StringIO()) as said:
        assert main([*words, "--out", str(out), "--images", *map(str, marked[1])]) == 0
    return out, said.getvalue()


@pytest.mark.slow(9)
def test_the_file_answers_as_the_method(exported, marked, command):
    path, said = exported
    found = re.search(r"compared with prototype itself: ([\d,]+) of the ([\d,]+) pixels of 5 photos have the", said)
    same, pixels = (int(number.replace(",", "")) for number in found.groups())
    assert same >= 0.999 * pixels and "classes: first, second" in said
    assert (
        "each left out once: first IoU ." in said and "second: Whether a photo shows it at all cannot be told" in said
    )
    predictor = fsbench.Predictor("prototype", dataset="demo").add(read_supports([str(marked[0])], CLASSES)[0])
    predictor.leave_one_out()  # as the command does
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["first", "second"]
    assert json.loads(about["identity"]) == json.loads(json.dumps(predictor.identity))
    for photo in marked[1]:
        pixels = read_pixels(photo)
        labels, present, score = session.run(None, {"image": pixels})
        expected = predictor.predict(pixels)
        assert labels.dtype == np.uint8 and (labels == expected.label_map).mean() >= 0.999
        assert present.tolist() == [-1, -1] and np.isnan(score).all()  # as `predict` says nothing of it
    status, _, err = command("export", "prototype", "--dataset", "demo", "--supports", marked[0], "--out", path)
    assert status == 2 and "exists already; choose another --out, or --force" in err


def test_refusals(marked, command, tmp_path):
    given = ["--dataset", "demo", "--supports", marked[0], "--out"]
    for words, expected in (
        (["persam", *given, tmp_path / "a.onnx"], "cannot be exported"),
        (["universeg", *given, tmp_path / "a.onnx"], "cannot be exported: its network takes images as they are stored"),
        (["prototype", *given, tmp_path / "a.pt2"], "expected a name that ends with .onnx"),
        (["emat", *given, tmp_path / "a.onnx"], "has to be trained"),
        (["prototype", "--dataset", "demo", "--supports", tmp_path, "--out", tmp_path / "a.onnx"], "has no support"),
    ):
        status, _, err = command("export", *words)
        assert status == 2 and expected in err.splitlines()[-1], err
    assert not list(tmp_path.iterdir())


def test_the_script_is_short():
    assert sum(bool(line.strip()) for line in SCRIPT.read_text().splitlines()) <= 60


@pytest.mark.slow(20)
def test_three_packages_alone_segment_a_photo(exported, marked, tmp_path):
    """In an environment of numpy, Pillow and onnxruntime, which does not know the suite."""
    alone, script = ThreePackages(tmp_path), exported[0].with_suffix(".py")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return alone.run(script, *arguments)

    none = run("-c").stderr
    assert none.startswith("Segment a photo: python thing.py PHOTO MASK.png"), none
    predictor = fsbench.Predictor("prototype", dataset="demo").add(read_supports([str(marked[0])], CLASSES)[0])
    for photo in marked[1]:
        done = run(photo, "mask.png")
        assert done.returncode == 0, done.stderr
        expected = predictor.predict(read_pixels(photo))
        mask = Image.open(tmp_path / "mask.png")
        assert mask.mode == "P" and (np.asarray(mask) == expected.label_map).mean() >= 0.999
        assert mask.getpalette()[:9] == expected.labels().getpalette()[:9]
        assert done.stdout == "{'first': [-1, nan], 'second': [-1, nan]}\n", "as predict says nothing of it"
    photo = Image.open(marked[1][0])
    for name, image in {"grey": photo.convert("L"), "palette": photo.quantize(), "rgba": photo.convert("RGBA")}.items():
        image.save(tmp_path / f"{name}.png")
        assert run(f"{name}.png", "mask.png").returncode == 0
    for name, image, said in (
        (
            "deep",
            Image.fromarray(np.full((9, 9), 40000, np.uint16)),
            "photo has 1 page in I;16 of 16 bits; expected one",
        ),
        (
            "dot",
            Image.new("RGB", (1, 1)),
            "photo is uint8 (1, 1, 3); expected RGB: uint8, height x width x 3, from 2 x 2",
        ),
    ):
        image.save(tmp_path / f"{name}.png")
        done = run(f"{name}.png", "none.png")
        assert done.returncode == 1 and done.stderr.startswith(said) and done.stderr.count("\n") == 1, name
    (tmp_path / "text.png").write_text("no image")
    photo.save(tmp_path / "other.tga")
    for words, said in (
        (("absent.jpg", "none.png"), "No such file or directory: 'absent.jpg'"),
        (("text.png", "none.png"), "cannot identify image file 'text.png'"),
        (("other.tga", "none.png"), "cannot identify image file 'other.tga'"),
        ((marked[1][0], "none.mask"), "unknown file extension: .mask"),
    ):
        done = run(*words)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.glob("none*"))


@pytest.mark.slow(30)
def test_torchs_own_format_answers_as_the_method(marked, tmp_path):
    predictor = fsbench.Predictor("linear_probe_dense", dataset="demo")
    predictor.add(read_supports([str(marked[0])], CLASSES)[0])
    assert predictor.export(tmp_path / "thing.pt2", format="torch", images=marked[1]).images == 5
    assert [path.name for path in tmp_path.iterdir()] == ["thing.pt2"]
