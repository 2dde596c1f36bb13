"""`fsbench kit` and `fsbench score`: a test goes out, is answered by another program, and comes back as a run."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.data.episodes.task import Task
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.demo import Demo
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.kit.kit import read_kit, write_kit
from fsbench.protocols.kit.reader import check_answers
from fsbench.protocols.reading import load_protocol, protocol_names
from fsbench.protocols.test import Test
from fsbench.records.record import Record, read_record
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.evaluate import evaluate
from fsbench.runner.evaluation.kits import load_kit_test
from fsbench.runner.evaluation.score import score
from tests.drawn_volumes import draw_prepared
from tests.fsbench.test_light_installation import Installation, requirements


@pytest.fixture(scope="module")
def folder(blocks_folder) -> list[str]:
    """The arguments that name the small data set."""
    return ["folder", "--data-root", str(blocks_folder)]


@pytest.fixture
def kit(folder, command, tmp_path) -> Path:
    status, out, err = command("kit", *folder, "--fold", 1, "--way", 2, "--episodes", 12, "--out", tmp_path / "kit")
    assert (status, err) == (0, "") and "2-way 1-shot" in out and "RULES.md" in out
    return tmp_path / "kit"


def truth(test: Test, number: int) -> np.ndarray:
    episode = test.manifest.episodes[test.places[number]]
    labels = way_labels(test.data.label_map(episode.query), episode.classes)
    return np.where(labels == 255, 0, labels)


def answer(path: Path, test: Test, kit: Path, rows: int = 1, numbers: slice = slice(None), **more) -> Path:
    """Answer with the truth on every `rows`-th row."""
    with Answers(path, kit) as answers:
        for episode in list(test)[numbers]:
            mask = truth(test, episode.number)
            mask[np.arange(len(mask)) % rows != 0] = 0
            answers.add(episode.number, mask, **more)
    return path


@pytest.fixture
def blocks_test(folder, kit) -> Test:
    return load_kit_test(read_kit(kit), root=folder[2])


def only_run(runs: Path) -> Record:
    (path,) = [path for path in runs.iterdir() if path.is_dir()]
    record = read_record(path)
    assert record is not None
    return record


@pytest.fixture
def where(folder, kit, tmp_path) -> list:
    """The options of `fsbench score` that say what is answered, and where the record is written."""
    return ["--kit", kit, "--data-root", folder[2], "--runs", tmp_path / "runs"]


def test_a_test_leaves_and_comes_back(command, kit, where, blocks_test, tmp_path):
    """In a file of answers and as pictures, which count the same."""
    (tmp_path / "pictures").mkdir()
    for episode in blocks_test:
        Image.fromarray(truth(blocks_test, episode.number)).save(tmp_path / "pictures" / f"{episode.number}.png")
    found = []
    for answers in (answer(tmp_path / "a.fsa", blocks_test, kit), tmp_path / "pictures"):
        status, out, err = command("score", answers, *where, "--name", "perfect", "--runs", tmp_path / answers.stem)
        assert status == 0 and "perfect" in out, err
        found.append(only_run(tmp_path / answers.stem))
    assert found[0].scores["mIoU"] == 100 and found[0].manifest_sha256 == read_kit(kit).test
    assert (found[0].counts_sha256, found[0].run.id) == (found[1].counts_sha256, found[1].run.id)
    assert command("score", answer(tmp_path / "b.fsa", blocks_test, kit, 2), *where, "--name", "half")[0] == 0
    both = [tmp_path / "a", tmp_path / "runs"]
    status, out, _ = command("table", *both)
    assert status == 0 and out.count("handed in") >= 2
    assert command("compare", *both)[0] == 0


@pytest.mark.slow(5)
def test_the_usual_folder_makes_the_kit_that_naming_it_makes(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["kit", "demo", "--protocol", "pfenet", "--episodes", 3]
    kits = []
    for place, more in enumerate([[], ["--data-root", "data/demo"]]):
        status, out, err = command(*words, *more, "--out", f"kit{place}")
        assert (status, err) == (0, "") and "data/demo " in out
        kits.append(read_kit(tmp_path / f"kit{place}").sha256)
    assert kits[0] == kits[1]


def test_a_manifest_in_place_of_a_kit(command, folder, tmp_path):
    """A manifest comes in as a kit, and its answers are counted by it."""
    file, where = tmp_path / "m.jsonl", ["--data-root", folder[2]]
    load_test("folder", root=folder[2], episodes=6, protocol="hsnet").manifest.write(file)
    assert command("kit", "folder", *where, "--manifest", file, "--out", tmp_path / "kit")[0] == 0
    with Answers(tmp_path / "a.fsa", tmp_path / "kit") as answers:
        for number in range(6):
            answers.add(number, np.ones((40, 40), bool))
    asked = ["score", tmp_path / "a.fsa", "--name", "x", *where, "--runs", tmp_path / "runs"]
    status, _, err = command(*asked, "--manifest", file, "--dataset", "folder")
    assert status == 0, err
    assert only_run(tmp_path / "runs").run.identity.image_size == 40
    for words, expected in [([], "neither --kit nor --manifest"), (["--kit", "a", "--manifest", "b"], "--kit and")]:
        status, _, err = command(*asked, *words)
        assert status == 2 and expected in err and err.count("\n") == 1


FOREIGN = """
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [{packages!r}, {kit!r}]
import json
import numpy as np
from PIL import Image
from answers import Answers
assert not [name for name in sys.modules if name.startswith(("fsbench", "torch"))]
read = lambda folder, name: np.array(Image.open(folder + "/" + name))
with Answers({out!r}, {kit!r}) as answers:
    for episode in map(json.loads, open({kit!r} + "/episodes.jsonl")):
        query = read({data!r}, episode["query"]["image"])
        found = np.zeros(episode["size"], int)
        for way, ((shot,),) in enumerate(zip(episode["supports"]), 1):
            colour = read({data!r}, shot["image"])[read({kit!r}, shot["mask"]) == 1].mean(0)
            found[np.abs(query - colour).sum(-1) < 60] = way
        answers.add(episode["number"], found)
"""


def by_colour(episode) -> np.ndarray:
    """The function of the foreign program, of an episode in Python."""
    found = np.zeros(episode.size, int)
    for way, (shot,) in enumerate(episode.supports, 1):
        colour = shot.image[shot.mask == 1].mean(0)
        found[np.abs(episode.query - colour).sum(-1) < 60] = way
    return found


def test_a_foreign_program(command, folder, kit, where, blocks_test, tmp_path):
    """Python by itself, with numpy and PIL alone, answers a kit; the same function in Python gives the same counts."""
    packages, answers = tmp_path / "packages", tmp_path / "a.fsa"
    packages.mkdir()
    for module in (np, Image):
        package = Path(module.__file__).parent
        for part in package.parent.glob(f"{package.name}*"):
            (packages / part.name).symlink_to(part)
    code = FOREIGN.format(packages=str(packages), kit=str(kit), out=str(answers), data=folder[2])
    subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, check=True)
    assert command("score", answers, *where, "--name", "foreign")[0] == 0
    counted = only_run(tmp_path / "runs")
    here = evaluate(by_colour, blocks_test, name="here", runs=tmp_path / "others", progress=False).record
    assert counted.counts_sha256 == here.counts_sha256 and counted.scores == here.scores
    assert 10 < counted.scores["mIoU"] < 100


GUIDE = IS_CLONE and (REPOSITORY / "docs" / "guides" / "own-repository.md").read_text()


SIDE = 49


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Two maps, of which the second is larger where an image (…, 3, H, W) is brighter than its mean."""
    bright = images.float().mean(-3)
    return torch.stack([bright.mean((-2, -1), keepdim=True).expand_as(bright), bright], -3)


class HSNet:
    """Stands for the network of HSNet's repository, with its signature."""

    def predict_mask_nshot(self, batch: dict[str, torch.Tensor], nshot: int) -> torch.Tensor:
        assert batch["support_imgs"].shape == (1, nshot, 3, SIDE, SIDE)
        assert batch["support_masks"].shape == (1, nshot, SIDE, SIDE)
        assert batch["query_img"].shape == (1, 3, SIDE, SIDE)
        return brightness(batch["query_img"]).argmax(1).float()  # as where several shots vote


def check_padded(x: torch.Tensor, s_x: torch.Tensor, s_y: torch.Tensor, *labels: torch.Tensor) -> None:
    assert x.shape == (1, 3, SIDE, SIDE) and s_x.shape == (1, 2, 3, SIDE, SIDE) and s_y.shape == (1, 2, SIDE, SIDE)
    assert {1, 255} <= set(s_y.unique().tolist()) <= {0, 1, 255}
    assert all(label.shape == (1, SIDE, SIDE) for label in labels)


class PFENet:
    """Stands for the network of PFENet's repository."""

    def __call__(self, x, s_x=None, s_y=None, y=None) -> torch.Tensor:
        check_padded(x, s_x, s_y, y)
        return brightness(x)


class BAM:
    """Stands for the network of BAM's repository."""

    def __call__(self, x, s_x, s_y, y_m, y_b, cat_idx=None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        check_padded(x, s_x, s_y, y_m, y_b)
        return brightness(x), -brightness(x), torch.zeros(1, 16, SIDE, SIDE)


class CST:
    """Stands for the network of CST's repository, whose answers have the query's own size."""

    def predict_cls_seg(self, batch: dict, nshot: int) -> tuple[torch.Tensor, torch.Tensor]:
        assert batch["support_imgs"].shape == (1, 2, nshot, 3, SIDE, SIDE)
        for way in (1, 2):
            assert set(batch["support_masks"][0, way - 1].unique().tolist()) == {0, way}
        width, height = (side.item() for side in batch["org_query_imsize"])
        logits = torch.nn.functional.interpolate(brightness(batch["query_img"]), (height, width), mode="bilinear")
        return torch.tensor([[False, True]]), 1 + logits.argmax(1)


def val_transform(image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Resize and pad as PFENet's and BAM's programs do, but for the mean and the division (bam.md §10)."""
    assert image.dtype == np.float32  # OpenCV rounds what has 8 bits
    ratio = SIDE / max(label.shape)
    height, width = (int(side * ratio) // 8 * 8 for side in label.shape)
    padded, labels = np.zeros((SIDE, SIDE, 3)), np.full((SIDE, SIDE), 255.0)
    padded[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    labels[:height, :width] = cv2.resize(np.float32(label), (width, height), interpolation=cv2.INTER_NEAREST)
    return torch.from_numpy(padded.transpose(2, 0, 1)).float(), torch.from_numpy(labels).long()


def stretching_transform(image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Resize as HMNet's program does, but for the mean and the division (hmnet.md §11.3)."""
    stretched = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(np.float32(label), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return torch.from_numpy(stretched.transpose(2, 0, 1)).float(), torch.from_numpy(labels).long()


TRANSFORMS = {"bam": val_transform, "pfenet2020": val_transform, "pfenet": stretching_transform}


def transform(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.resize((SIDE, SIDE), Image.BILINEAR))).permute(2, 0, 1).float()


def segment(query: np.ndarray, shots: list[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
    assert len(shots) == 2 and all(image.shape[:2] == mask.shape and mask.dtype == bool for image, mask in shots)
    background, bright = brightness(transform(Image.fromarray(query)))
    return bright - background


def expected_mask(image: Image.Image, size: list[int] | None, protocol: str) -> np.ndarray:
    """Compute the expected answers without the code of the stand-ins."""
    if protocol in TRANSFORMS:
        maps, _ = TRANSFORMS[protocol](np.float32(image), np.zeros(image.size[::-1], np.uint8))
    else:
        maps = transform(image)
    align, to = protocol in TRANSFORMS, size or (SIDE, SIDE)
    scores = brightness(maps)[None]
    if scores.shape[2:] != tuple(to):
        scores = torch.nn.functional.interpolate(scores, tuple(to), mode="bilinear", align_corners=align)
    return (scores[0, 1] > scores[0, 0]).long().numpy() + (protocol == "fscs")


@pytest.mark.skipif(not GUIDE, reason="the guide is a clone's")
@pytest.mark.parametrize(
    ("places", "protocol", "model"),
    [
        ([1], "hsnet", HSNet()), ([2], "pfenet2020", PFENet()), ([2], "pfenet", PFENet()), ([2, 3], "bam", BAM()),
        ([4], "incontext518", None), ([5], "fscs", CST()),
    ],
)  # fmt: skip
def test_the_loops_of_the_guide(command, folder, tmp_path, monkeypatch, places, protocol, model):
    """The lines that the guide gives to other repositories answer kits of their protocols, as their networks answer."""
    monkeypatch.chdir(tmp_path)
    way = ["--way", 2] if protocol == "fscs" else []
    words = ["kit", *folder, "--protocol", protocol, *way, "--shot", 2, "--episodes", 3, "--out", "kit"]
    assert command(*words)[0] == 0
    monkeypatch.syspath_prepend(str(tmp_path / "kit"))
    loops = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(loops) == 6
    loop = loops[places[0]]
    if len(places) > 1:  # of which the guide gives the line that differs
        loop, replaced = re.subn(r" +output = model\(.*\n", lambda _: loops[places[1]], loop)
        assert replaced == 1
    own = {
        "S": SIDE,
        "model": model,
        "val_transform": TRANSFORMS.get(protocol),
        "transform": transform,
        "segment": segment,
    }
    code = (loops[0] + loop).replace(".cuda()", "").replace("data/pascal/", f"{folder[2]}/")
    exec(compile(code, "guide", "exec"), own)
    episodes = [json.loads(line) for line in Path("kit/episodes.jsonl").read_text().splitlines()]
    asked = {one["number"]: {"ways": len(one["supports"]), "size": one["size"], "queries": None} for one in episodes}
    answers = check_answers([Path("mine.fsa")], read_kit(Path("kit")).test, asked)
    for stored, one in zip(answers, episodes, strict=True):
        photo = Image.open(Path(folder[2]) / one["query"]["image"]).convert("RGB")
        mask = expected_mask(photo, one["size"], protocol)
        assert len(np.unique(mask)) == 2 and np.array_equal(stored.label_map, mask)
        assert (stored.presence is None) == (protocol != "fscs")
        if protocol == "fscs":
            assert stored.presence.tolist() == [False, True]
    status, _, err = command("score", "mine.fsa", "--kit", "kit", "--data-root", folder[2], "--name", "mine")
    assert status == 0, err
    assert 0 < only_run(tmp_path / "runs").scores["FB-IoU"] < 100


def test_some_answers_are_a_trial(command, kit, where, blocks_test, tmp_path):
    answers = answer(tmp_path / "a.fsa", blocks_test, kit, numbers=slice(0, 5))
    status, _, err = command("score", answers, *where, "--name", "x")
    assert status == 2 and "7 of 12 episodes have no answer" in err and not (tmp_path / "runs").exists()
    assert command("score", answers, *where, "--name", "x", "--partial")[0] == 0
    assert len(only_run(tmp_path / "runs").manifest.episodes) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "cut off"),
        ({}, "masks/000000.png is absent or was changed"),
        ({"fold": 0}, "these data give the test"),
        ({"fold": 7}, "unknown fold 7"),
        ({"dataset": "evil.py:Data"}, "not known here"),
        ({"episodes": 10**9}, "states 1000000000 episodes with 1 draws, and has 12"),
        ({"draws": 10**8}, "episodes with 100000000 draws, and has 12"),
        ({"protocol_version": 99}, "is of version 99 of the protocol fscs, and here it is 1"),
    ],
)
def test_answers_and_kits_that_are_refused(command, kit, where, blocks_test, tmp_path, change, words):
    """A file of answers that is cut off, a kit that lacks a mask, and kits that state another test than they have."""
    answers = answer(tmp_path / "a.fsa", blocks_test, kit)
    if change is None:
        answers.write_bytes(answers.read_bytes()[:-3])
    elif change:
        content = json.loads((kit / "kit.json").read_text())
        (kit / "kit.json").write_text(json.dumps(content | change))
    else:
        (kit / "masks" / "000000.png").unlink()
    status, out, err = command("score", answers, *where, "--name", "x")
    assert status == 2 and words in err and err.count("\n") == 1 and not out, err
    assert not (tmp_path / "runs").exists()


def test_a_protocol_of_ones_own_travels_with_its_kit_and_its_records(command, folder, tmp_path, monkeypatch):
    """Its file is needed once: kit, scores and tables have its content, and another content is another test."""
    monkeypatch.chdir(tmp_path)
    text = "base: pfenet\nname: mine\nversion: 1\nsummary: short\ndraw: {episodes: {others: 4}}\n"
    Path("mine.yaml").write_text(text)
    assert command("kit", *folder, "--protocol", "mine.yaml", "--out", "kit")[0] == 0
    test = load_test("folder", root=folder[2], protocol="mine.yaml")
    Path("mine.yaml").unlink()
    answer(Path("a.fsa"), test, Path("kit"))
    status, _, errors = command("score", "a.fsa", "--kit", "kit", *folder[1:], "--name", "x")
    assert status == 0, errors
    record = only_run(tmp_path / "runs")
    assert record.protocol == test.protocol and record.protocol.draw.episodes == {"others": 4}
    Path("mine.yaml").write_text(text + "counting: {void: background}\n")
    other = load_test("folder", root=folder[2], protocol="mine.yaml")
    assert (
        evaluate("prototype", other, runs="named", backbone="demo", progress=False).record.header
        == other.manifest.header
    )
    changed = evaluate(lambda episode: np.ones(episode.size), other, name="x", runs="runs", progress=False)
    for path in (record.path, changed.path):
        status, out, _ = command("compare", path, "--accepted", "accepted", "--accept")
        assert status == 0, path
    assert f"no longer accepted, removed: accepted/{record.path.name}" in out  # its test has changed since
    assert [place.name for place in Path("accepted").iterdir()] == [changed.path.name]
    _, out, _ = command("table", "runs")
    assert "protocol mine v1 · 4 episodes a fold · table 1 of 2" in out and "table 2 of 2" in out


def test_a_file_that_takes_the_name_of_another_protocol_is_refused(command, folder, tmp_path):
    file = tmp_path / "hsnet.yaml"
    file.write_text("base: hsnet\nview: {query_size: original}\n")
    status, _, errors = command("kit", *folder, "--protocol", file, "--out", tmp_path / "kit")
    assert status == 2 and "the name is hsnet, and the protocol hsnet of fsbench has other parts" in errors
    file.write_text("base: hsnet\nsummary: 2020-01-01\nname: mine\n")
    assert "summary is datetime.date" in command("kit", *folder, "--protocol", file, "--out", tmp_path / "kit")[2]


def test_refused_kits(command, folder, kit, tmp_path):
    for words, expected in [
        (["kit", "--out", tmp_path / "new"], "neither a data set nor --manifest"),
        (["kit", "pascl", "--out", tmp_path / "new"], "pascal"),
        (["kit", *folder, "--protocol", "hsnet", "--out", kit], "expected a new folder"),
        (["kit", *folder, "--protocol", "hsnet", "--way", 2, "--out", tmp_path / "new"], "is 1-way"),
        (
            ["kit", *folder, "--protocol", "hmnet", "--out", tmp_path / "new"],
            "hmnet is tested under pfenet: give --pro",
        ),
        (["kit", *folder, "--out", tmp_path], "no kit"),
    ]:
        status, _, err = command(*words)
        assert status == 2 and expected in err and err.count("\n") == 1, (words, err)
        assert not (tmp_path / "new").exists()


@pytest.mark.slow(2)
def test_the_light_installation_has_both(folder, tmp_path):
    """Kits are written and answers scored without torch and OpenCV."""
    light = Installation(tmp_path / "packages", requirements(), tmp_path)
    test = load_test("folder", root=folder[2], protocol="pfenet", episodes=5)
    with Answers(tmp_path / "a.fsa") as answers:
        for episode in test:
            answers.add(episode.number, truth(test, episode.number))
    answered = ["score", "a.fsa", "--kit", "kit", "--data-root", folder[2], "--name", "x", "--runs", "runs"]
    kit = ["kit", *folder, "--protocol", "pfenet", "--episodes", "5", "--out", "kit"]
    for words, status, out, err in light.call(kit, answered):
        assert status == 0 and out, (words, err)
    assert only_run(tmp_path / "runs").scores["mIoU"] == 100


def noise(episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an answer that follows from the episode's number alone: label map, presence and its score."""
    rng = np.random.RandomState(episode.number)
    ways = len(episode.classes)
    return rng.randint(0, ways + 1, episode.size), rng.rand(ways) < 0.5, rng.rand(ways).astype(np.float32)


@pytest.mark.parametrize(
    "protocol",
    [
        pytest.param(name, marks=[] if name == "gfss" else [pytest.mark.slow(1)])
        for name in protocol_names()
        if load_protocol(name).task == "segmentation" and name != "fssdino"
    ],
)
def test_all_protocols_count_files_as_functions(protocol, blocks_folder, tmp_path):
    """A file of answers has the counts, scores and predictions of the function that made it."""
    rules = load_protocol(protocol)
    if protocol in ("gfss", "fss_sam3", "capl"):  # which need larger objects
        data = rules.draw.data(Demo(str(tmp_path / "demo"), train=20, val=60))
    elif rules.draw.draws_slices:
        data = rules.draw.data(ChaosT2(str(draw_prepared(tmp_path / "scans"))))
    else:
        data = rules.draw.data(Folder(str(blocks_folder)))
    task = rules.draw.with_own_ways(data, Task(0, episodes=6, drop_small=True))
    side = 48 if rules.view.counts_at_input_size else None
    test = Test(rules.manifest(data, task), data, rules, image_size=side)
    here = evaluate(noise, test, name="x", runs=tmp_path / "here", progress=False).record
    write_kit(replace(test, image_size=None), tmp_path / "kit")
    with Answers(tmp_path / "a.fsa", tmp_path / "kit") as answers:
        for episode in test:
            answers.add(episode, *noise(episode))
    there = score(tmp_path / "a.fsa", replace(test, image_size=None), name="x", runs=tmp_path / "there").record
    assert there.run.id == here.run.id and there.scores == here.scores
    assert there.counts_sha256 == here.counts_sha256 and there.run.identity.image_size == side
    predictions = [(record.path / "predictions.parquet").read_bytes() for record in (here, there)]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize(("class_name", "told"), [("Jpeg_Images", True), ("imag", False)])
def test_paths_that_name_classes_are_told(command, blocks_folder, tmp_path, class_name, told):
    """The command and the rules say so where a folder or a file has the name of a class; copies have none.

    The images of the data set are JPEGImages/image_000.jpg and so on.
    """
    data = shutil.copytree(blocks_folder, tmp_path / "data")
    text, _, rest = (data / "folds.yaml").read_text().partition("classes: [")
    _, _, others = rest.partition(",")
    (data / "folds.yaml").write_text(f"{text}classes: ['{class_name}',{others}")
    words = ["kit", "folder", "--data-root", data, "--fold", 1, "--episodes", 3]
    for more in ([], ["--copy-images"]):
        out = tmp_path / f"kit{len(more)}"
        status, printed, err = command(*words, *more, "--out", out)
        assert (status, err) == (0, "")
        assert ("--copy-images hides them" in printed) == (told and not more)
        assert ("contain names of classes" in (out / "RULES.md").read_text()) == (told and not more)
