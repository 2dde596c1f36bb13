"""`fsbench explain` and `fsbench cost` as a user calls them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fsbench.cli import main
from fsbench.coarse import binary_sum
from fsbench.explain_pictures import QUERY, SUPPORT, curves, heat, overlay, scatter
from fsbench.method_cost import _measure, noise_episode
from fsbench.records import find_records


def test_cost_tells_parameters_arithmetic_time_and_memory_by_shots(capsys):
    arguments = ["cost", "--method", "dcama,hsnet", "--backbone", "demo", "--image-size", "64", "--repeats", "1"]
    assert main([*arguments, "--shots", "1,3", "--format", "json"]) == 0
    lines = json.loads(capsys.readouterr().out)["costs"]
    assert [(line["method"], line["shots"]) for line in lines] == [
        ("dcama", 1), ("dcama", 3), ("hsnet", 1), ("hsnet", 3),
    ]  # fmt: skip
    for one, three in (lines[:2], lines[2:]):
        assert three["gmac"] > one["gmac"] > 0 and one["seconds"] > 0
        assert one["total"] - one["trainable"] == 714_528  # of the demo's ViT
        assert one["trainable"] == three["trainable"] > 1_000_000
    assert main([*arguments, "--method", "hsnet"]) == 0
    printed = capsys.readouterr().out
    assert "GMAC" in printed and "hsnet" in printed and "CPU, " in printed


def test_arithmetic_is_counted_as_multiply_accumulates():
    layer = nn.Linear(1000, 1000, bias=False)
    x = torch.randn(100, 1000)
    gmac, seconds, _ = _measure(lambda: layer(x), torch.device("cpu"), 1)
    assert gmac == pytest.approx(0.1) and seconds > 0


def test_the_noise_has_distinct_images_and_a_disc():
    episode = noise_episode(32, 2, torch.device("cpu"))
    assert episode.images.shape == (3, 3, 32, 32) and episode.support.tolist() == [[[1, 2]]]
    assert not torch.equal(episode.images[0], episode.images[1])
    assert 0.2 < float(episode.support_masks[0, 0, 0].float().mean()) < 0.35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "nothing"], "unknown method 'nothing'"),
        (["--method", ""], "--method names no method"),
        (["--shots", "0"], "shots is 0, expected 1 or more"),
        (["--shots", "x"], "--shots x"),
        (["--image-size", "50"], "image size 50 is not a multiple of 32"),
        (["--repeats", "0"], "--repeats is 0"),
    ],
)
def test_cost_refuses_in_one_line(arguments, message, capsys):
    base = ["cost", "--method", "hsnet", "--backbone", "demo"]
    assert main([*base, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_explain_a_run(fsbench, bench_arguments, tmp_path):
    runs = tmp_path / "runs"
    done = fsbench(*bench_arguments("dcama", runs))
    assert done.returncode == 0, done.stderr
    assert "dcama only segments" in done.stdout  # the footnote about presence
    (record,) = find_records(runs)
    seen = fsbench("explain", str(record.path), "--pixel", "0.5,0.5", "--points", "60")
    assert seen.returncode == 0, seen.stderr
    numbers = json.loads((record.path / "explain" / "explain.json").read_text())
    assert list(numbers["masks"]) == ["1/8", "1/16", "1/32", "final"] and numbers["episodes"] == 9
    # the final masks are the run's predictions
    assert numbers["masks"]["final"]["mIoU"] == pytest.approx(record.run["scores"]["mIoU"])
    assert numbers["masks"]["final"]["FB-IoU"] == pytest.approx(record.run["scores"]["FB-IoU"])
    assert 0 < numbers["tsne"]["pixels"] <= 60
    assert numbers["drawn"][0]["pixel"] == [64, 64] and 0 < sum(numbers["drawn"][0]["attention_in_mask"]) < 1
    assert set(numbers["drawn"][0]["otsu_thresholds"]) == {"1/8", "1/16", "1/32"}
    rows = (record.path / "explain" / "tsne.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * numbers["tsne"]["pixels"] and rows[0] == "features,foreground,x,y"
    for name in ("masks.png", "attention.png", "tsne.png"):
        pixels = np.array(Image.open(record.path / "explain" / name))
        assert pixels.shape[0] > 100 and pixels.std() > 10
    other = fsbench("explain", str(record.path), "--class", "unicorn")
    assert other.returncode == 2 and "--class is 'unicorn', expected one of the run's: " in other.stderr
    (record.path / "checkpoints" / "finished.json").unlink()
    lost = fsbench("explain", str(record.path))
    assert lost.returncode == 2 and "expected the checkpoint that the run trained" in lost.stderr


@pytest.mark.slow
def test_explain_a_method_with_a_state(fsbench, bench_arguments, tmp_path, capsys):
    runs = tmp_path / "runs"
    done = fsbench(*bench_arguments("hmnet", runs))
    assert done.returncode == 0, done.stderr
    (record,) = find_records(runs)
    assert main(["explain", str(record.path), "--episodes", "3"]) == 0
    numbers = json.loads((record.path / "explain" / "explain.json").read_text())
    recapped, once = (numbers["memory"][f"block 1: support {how}"] for how in ("recapped", "once"))
    assert numbers["episodes"] == 3 and len(recapped) == len(once) == 16 * 4
    assert recapped[:4] == once[:4] and recapped[4:] != once[4:]  # the support comes again after the first patch
    assert f"{min(recapped):7.3f}" in capsys.readouterr().out
    pixels = np.array(Image.open(record.path / "explain" / "memory.png").convert("RGB"))
    for colour in (QUERY, SUPPORT):
        assert (pixels == colour).all(-1).sum() > 400  # a curve across the picture, and its name


def test_curves_lie_where_their_values_are():
    picture = curves({"high": torch.full((9,), 0.75), "low": torch.full((9,), -1.0)}, side=248)  # 200 for 1 to -1
    middle = picture[:, 124]
    assert (middle == QUERY).all(-1).nonzero()[0].tolist() == pytest.approx([48, 49], abs=1)
    assert (middle == SUPPORT).all(-1).nonzero()[0][-1] == pytest.approx(224, abs=1)


def test_explain_refuses_what_is_no_run(tmp_path, capsys):
    assert main(["explain", str(tmp_path)]) == 2
    assert "is no finished run with a config.yaml" in capsys.readouterr().err
    assert main(["explain", str(tmp_path), "--pixel", "1,2"]) == 2
    assert "--pixel is '1,2', expected two numbers from 0 to below 1" in capsys.readouterr().err


def test_otsu_splits_the_sum_of_the_blocks():
    coarse = torch.zeros(2, 4, 4)
    coarse[0, :2], coarse[1, :, :2] = 0.3, 0.5  # sums 0, 0.3, 0.5, 0.8: the widest gap of the classes decides
    threshold, mask = binary_sum(coarse, (8, 8))
    assert 0.3 <= threshold < 0.5
    assert torch.equal(mask.bool(), (coarse.sum(0) > threshold).repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert not binary_sum(torch.ones(3, 4, 4), (8, 8))[1].any()


def test_otsu_splits_what_differs_by_rounding_alone():
    """A support mask that fills the image: every average is 1, up to rounding."""
    coarse = torch.ones(1, 4, 4)
    coarse[0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    threshold, mask = binary_sum(coarse, (4, 4))
    assert 1 < threshold < coarse[0, 0, 0] and mask.sum() == 4


def test_otsu_is_the_formula_of_the_spec():
    """Between-class variance of 256 bins in fp64; the first maximum (dcama.md §12)."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        coarse = torch.rand(3, 6, 7, generator=generator)
        values = coarse.sum(0).double().numpy().ravel()
        counts, edges = np.histogram(values, 256, (values.min(), values.max()))
        centres = (edges[1:] + edges[:-1]) / 2
        below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
        mean_below = np.cumsum(counts * centres) / below
        mean_above = (np.cumsum((counts * centres)[::-1]) / np.maximum(above[::-1], 1))[::-1]
        best = (below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2).argmax()
        assert binary_sum(coarse, (6, 7))[0] == pytest.approx(centres[best], rel=1e-12)


def test_pictures_show_what_they_are_given():
    image = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 1
    shown = overlay(image, mask, (200, 0, 0))
    assert (shown[:4] == [150, 50, 50]).all() and (shown[4:] == 100).all()
    warm = heat(np.array([[0.0, 1.0]]))
    assert warm[0, 0, 2] > warm[0, 0, 0] and warm[0, 1, 0] > warm[0, 1, 2]
    drawn = scatter(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1]), side=100)
    assert drawn[10, 10].tolist() == [60, 110, 230] and drawn[90, 90].tolist() == [230, 60, 60]
