"""UniverSeg and MultiverSeg by the command line: photos, scans, weights at hand, against a plain network in a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import fsbench
from fsbench.cli.main import main
from fsbench.data.label_maps import resize_labels
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.cmr import Cmr
from fsbench.datamodules.kinds.volumes import Volumes
from fsbench.methods.universeg import NETS, CrossUNet, FrozenCrossUNet, UniverSeg
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.test import Test
from fsbench.records.record import find_records
from tests.cli.commands import images_of
from tests.cli.run.test_scans import dice
from tests.drawn_volumes import draw_prepared

State = Mapping[str, Tensor]


def plain_logits(state: State, query: Tensor, supports: Sequence[Tensor]) -> Tensor:
    """Return the logits (h, w) of a grey query (h, w) by images and masks (2, h, w), one by one (universeg.md §3)."""
    multi = "enc_blocks.0.target.vmapped.norml.weight" in state

    def convolved(name: str, maps: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(maps[None], weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)[0]

    def own(name: str, maps: Tensor) -> Tensor:
        maps = F.leaky_relu(convolved(f"{name}.vmapped.conv", maps), 0.01)
        if not multi:
            return maps
        scale, shift = (state[f"{name}.vmapped.norml.{part}"][:, None, None] for part in ("weight", "bias"))
        return (maps - maps.mean()) / (maps.var(correction=0) + 1e-5).sqrt() * scale + shift

    def block(name: str, items: list[Tensor]) -> list[Tensor]:
        crossed = [convolved(f"{name}.cross.cross_conv", torch.cat([items[0], support])) for support in items[1:]]
        crossed = [F.leaky_relu(maps, 0.01) for maps in crossed] if multi else crossed
        return [own(f"{name}.target", sum(crossed) / len(crossed)), *(own(f"{name}.support", maps) for maps in crossed)]

    def larger(maps: Tensor) -> Tensor:
        return F.interpolate(maps[None], scale_factor=2, mode="bilinear", align_corners=True)[0]

    items, skips = [F.pad(query[None], (0, 0, 0, 0, 0, 4 * multi)), *supports], []
    for level in range(4):
        items = block(f"enc_blocks.{level}", [F.max_pool2d(maps, 2) for maps in items] if level else items)
        skips.append(items)
    for level in range(3):
        pairs = zip(items, skips[2 - level], strict=True)
        items = block(f"dec_blocks.{level}", [torch.cat([larger(maps), skip]) for maps, skip in pairs])
    return convolved("out_conv.conv", items[0])[0]


def least_to_largest(values: np.ndarray) -> Tensor:
    values = values.astype(np.float32)
    return torch.from_numpy((values - values.min()) / (values.max() - values.min()))


def photo(path: Path) -> Tensor:
    return least_to_largest(np.asarray(Image.open(path).resize((128, 128), Image.Resampling.BILINEAR).convert("L")))


def weights_of(name: str) -> State:
    return FrozenCrossUNet(BackboneConfig(name, "random")).state


@pytest.mark.parametrize("method", ["universeg", "multiverseg"])
def test_masks_of_photos_by_more_supports_than_a_chunk_are_those_of_plain_loops(method, small_demo, tmp_path):
    labels = {path.stem: np.asarray(Image.open(path)) for path in (small_demo / "SegmentationClassAug").iterdir()}
    number = next(n for n in range(1, 255) if sum((mask == n).any() for mask in labels.values()) > 11)
    shown = sorted(stem for stem, mask in labels.items() if (mask == number).any())[:11]
    asked = [small_demo / "JPEGImages" / f"{stem}.jpg" for stem in sorted(labels.keys() - shown)[:2]]
    given = [small_demo / "JPEGImages" / f"{stem}.jpg" for stem in shown]
    words = [f"--support={path}:{small_demo / 'SegmentationClassAug' / path.stem}.png" for path in given]
    words += ["--classes", f"{number}=it", "--out", str(tmp_path / "out"), "--query", *map(str, asked)]
    assert main(["predict", "--dataset", "demo", "--method", method, *words]) == 0

    state, supports = weights_of(f"{method}_demo"), []
    for stem, path in zip(shown, given, strict=True):
        mask = resize_labels((labels[stem] == number).astype(np.uint8), 128, 128)
        supports.append(torch.stack([photo(path), torch.from_numpy(mask).float()]))
    for path in asked:
        found = np.asarray(Image.open(tmp_path / "out" / "labels" / f"{path.name}.png"))
        logits = plain_logits(state, photo(path), supports)
        logits = F.interpolate(logits[None, None], found.shape, mode="bilinear", align_corners=True)[0, 0].numpy()
        assert 0.02 < (found > 0).mean() < 0.98
        assert ((logits > 0) == (found > 0))[np.abs(logits) > 1e-5].all()


def slice_at_128(values: np.ndarray) -> Tensor:
    plane = torch.from_numpy(values.astype(np.float32))[None, None]
    plane = F.interpolate(plane, (128, 128), mode="bilinear", align_corners=False, antialias=True)
    return least_to_largest(plane[0, 0].numpy())


def plain_masks(data: Volumes, test: Test, size: int) -> list[np.ndarray]:
    """Return the masks of a test's slices, of `size` pixels a side, by a plain network that sees 128."""
    state, masks = weights_of("universeg_demo"), []
    for episode in test.manifest.episodes:
        ((support,),) = episode.supports
        mask = resize_labels((data.label_map(support) == episode.classes[0]).astype(np.uint8), 128, 128)
        query, shown = (slice_at_128(data.intensities(name)) for name in (episode.query, support))
        logits = plain_logits(state, query, [torch.stack([shown, torch.from_numpy(mask).float()])])[None, None]
        masks.append((F.interpolate(logits, (size, size), mode="bilinear", align_corners=True) > 0)[0, 0].numpy())
    assert 0.02 < np.mean(masks) < 0.98
    return masks


@pytest.mark.slow(20)
@pytest.mark.parametrize(
    ("kind", "fold", "size"), [(ChaosT2, 6, 192), (Cmr, 0, 128)], ids=["chaost2 at half the size", "cmr as prepared"]
)
def test_slices_as_measured_have_the_dice_of_plain_loops(kind, fold, size, tmp_path):
    root = draw_prepared(tmp_path / "scans", kind, range(1, 9), slices=3, side=size)
    words = ["--method", "universeg", "--model.backbone.name=universeg_demo", "--weights", "random", "--no-trivial"]
    words += ["--data.test.protocol=alpnet", "--data.loading.workers=0", "--runs", str(tmp_path / "runs")]
    assert main(["bench", "--dataset", kind.name, "--data-root", str(root), "--fold", str(fold), *words]) == 0
    (record,) = find_records(tmp_path / "runs")
    assert record.run.identity.as_json()["input_resize"] == "measured"  # without a file of the data set's own
    data, test = kind(str(root)), fsbench.load_test(kind.name, root=root, fold=fold, protocol="alpnet")
    expected = dice(data, test, plain_masks(data, test, size))
    assert record.scores["Dice"] == pytest.approx(expected, abs=0.01)


@pytest.mark.slow(10)
def test_an_object_takes_measured_slices_and_photos_as_they_are(small_demo, tmp_path):
    root = draw_prepared(tmp_path / "scans", slices=3, side=160)
    test = fsbench.load_test("chaost2", root=root, fold=6, protocol="alpnet", episodes=3)
    method = UniverSeg(BackboneConfig("universeg_demo", "random"))
    asked = {"runs": tmp_path / "runs", "image_size": 128}
    found = fsbench.evaluate(method, test, input_resize="measured", **asked)
    data = ChaosT2(str(root))
    assert found.scores["Dice"] == pytest.approx(dice(data, test, plain_masks(data, test, 160)), abs=0.01)
    photos = fsbench.load_test("demo", root=small_demo, protocol="hsnet", episodes=3)
    own, usual = (
        fsbench.evaluate(method, photos, input_resize=rule, name=rule, **asked) for rule in ("measured", "protocol")
    )
    assert own.scores == usual.scores


def test_a_file_at_hand_is_fetched_and_read_and_one_of_another_network_is_refused(
    small_demo, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path / "weights"))
    bench = ["bench", "--dataset", "demo", *images_of(small_demo), "--data.test.episodes=2", "--no-trivial"]
    bench += ["--data.loading.workers=0", "--runs", str(tmp_path / "runs"), "--method", "universeg"]
    bench += ["--model.backbone.name=universeg"]
    assert main(["weights", "fetch", "universeg"]) == 2
    assert "licence: OpenRAIL++-M, research (https://github.com/JJGO/UniverSeg/" in capsys.readouterr().err
    assert main([*bench, "--model.backbone.weights=null"]) == 2
    assert "LICENSE-model" in capsys.readouterr().err
    hand = tmp_path / "hand"
    hand.mkdir()
    file = hand / NETS["universeg"].weights.name
    torch.save(CrossUNet((64, 64, 64, 64), is_multiverseg=False).state_dict(), file)
    assert main(["weights", "fetch", "universeg", "--from", str(hand)]) == 0
    assert main([*bench, "--model.backbone.weights=null"]) == 0
    (record,) = find_records(tmp_path / "runs")
    assert record.run.identity.backbone.weights.startswith(f"unverified {file.name} sha256 ")
    capsys.readouterr()

    for state, said in (
        (CrossUNet((8, 8, 8, 8), is_multiverseg=True).state_dict(), "are of MultiverSeg of width 8"),
        ({"conv1.weight": torch.zeros(4, 3, 3, 3)}, "are of another network"),
    ):
        torch.save({"model": state}, hand / "other.pt")
        assert main([*bench, "--weights", str(hand / "other.pt")]) == 2
        assert f"{said}; expected UniverSeg of width 64" in capsys.readouterr().err
