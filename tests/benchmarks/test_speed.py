"""The benchmarks of speed compare what they time, and every case of the table runs."""

import json

import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import table
from benchmarks.speed.cases import plain_forms
from benchmarks.speed.cases.methods import KEPT, noise_episode
from benchmarks.speed.harness import Case, Measurements, call_difference, check, measure
from fsbench.methods.abcdfss import head
from fsbench.methods.hdmnet.transformer import Matching
from fsbench.methods.hsnet import HSNet
from fsbench.methods.hsnet.patnet import PATNet
from fsbench.methods.ifa import matching
from fsbench.networks.backbones.timm_networks import PYRAMIDS
from fsbench.networks.ops.correlation import hyper_correlation
from tests.methods.small import PYRAMID, pyramid

CPU = torch.device("cpu")


def test_the_noise_has_distinct_images_and_a_square():
    episode = noise_episode(32, CPU)
    assert episode.images.shape == (2, 3, 32, 32) and episode.support.tolist() == [[[1]]]
    assert not torch.equal(episode.images[0], episode.images[1])
    assert float(episode.support_masks[0, 0, 0].float().mean()) == pytest.approx(KEPT, abs=0.03)


@pytest.mark.parametrize("checked", [False, True])
def test_paths_take_turns_after_a_first_call_of_each(checked):
    calls = []
    paths = {name: lambda name=name: calls.append(name) for name in ("plain", "fast")}
    rows = measure(Case("x", paths, check=(lambda: 0.0) if checked else None, units=4), CPU, 2)
    first = [] if checked else ["plain", "fast"]  # a check has called them
    assert calls == first + ["plain", "fast"] * 2 + ["plain", "fast"]  # the last two for their memory
    assert [(row.path, len(row.times)) for row in rows] == [("plain", 2), ("fast", 2)]
    assert all(row.peak_mib >= 0 for row in rows)


def test_turns_are_told():
    turns = []
    (row,) = measure(Case("x", {"plain": turns.append}, takes_turn=True), CPU, 3)
    assert turns == [0, 1, 2] and len(row.times) == 3 and row.peak_mib is None


def test_answers_that_differ_end_the_benchmark():
    a = torch.tensor([4.0, 1.0])
    assert call_difference(lambda: a, lambda: a + 1) == 0.25
    assert call_difference(lambda: [a, a[:1]], lambda: [a, a[:1] - 1]) == 0.25
    assert check(Case("x", {}, lambda: 0.25, tolerance=0.3)) == 0.25 and check(Case("x", {})) is None
    for difference in (0.25, float("nan")):
        with pytest.raises(SystemExit, match=r"x: the ways differ by .*, expected at most 1e-01"):
            check(Case("x", {}, lambda value=difference: value, tolerance=0.1))


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        ("episodes --methods hsnet", ["ours"]),
        ("training-steps --methods hsnet", ["ours"]),
        ("plain-forms --methods hsnet --steps= --repeats 0", ["plain form", "ours"]),
        ("classifiers --methods ft --queries 1 --epochs 1 --repeats 0", ["authors' scheme", "suite"]),
        ("networks --networks demo:64 --joined=", ["fp32", "bf16"]),
        ("networks --networks= --joined resnet50_v1:64", ["with BatchNorms", "ours"]),
        ("loading --size 32", ["PIL, torchvision and torch", "suite"]),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
@pytest.mark.slow(20)
def test_every_case_compares_and_times_its_paths(arguments, paths, tmp_path, capsys):
    repeats = (
        []
        if arguments.split()[0] in ("episodes", "training-steps", "plain-forms", "classifiers")
        else ["--repeats", "1"]
    )
    speed.main([*arguments.split(), *repeats, "--device", "cpu", "--json", str(tmp_path / "x.json")])
    found = Measurements(**json.loads((tmp_path / "x.json").read_text()))
    name, *given = arguments.split()
    assert found.command == " ".join(["python -m benchmarks.speed", name, *given, *repeats, "--device cpu"])
    assert found.clock == "processor"
    for what in {row.what for row in found.rows}:
        named = [row.path for row in found.rows if row.what == what]
        assert named == paths
    assert all(row.times and row.seconds > 0 for row in found.rows)
    assert all(row.what in capsys.readouterr().out for row in found.rows[:1])


def test_every_benchmark_has_its_results_and_no_others_are_there():
    assert set(speed.BENCHMARKS) == set(table.measurements()) == {file.stem for file in table.RESULTS.glob("*.json")}


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        speed.main(["hsnt"])
    assert "invalid choice: 'hsnt'" in capsys.readouterr().err


def test_hsnets_plain_formulas_give_its_logits(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", PYRAMID)
    torch.manual_seed(0)
    method = HSNet(pyramid(), width=32).eval()
    query, support = (
        [torch.randn(2, blocks, 8, side, side) for blocks, side in zip(PYRAMID.blocks[1:], (9, 5, 3), strict=True)]
        for _ in range(2)
    )
    masks = torch.zeros(2, 33, 33)
    masks[0, 9:20, 3:14] = 1
    with torch.inference_mode():
        found = method.segment(method.query(query), method.support(support, masks))
        with plain_forms.hsnet():
            plain = method.hpn_learner(
                [hyper_correlation(*pair, masks) for pair in zip(query, support, strict=True)][::-1]
            )
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_patnets_matrices_give_its_correlation(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", PYRAMID)
    torch.manual_seed(0)
    method = PATNet(pyramid(), width=32, anchors="scale").eval()
    scales = list(zip(PYRAMID.blocks[1:], method.backbone.channels[1:], (9, 5, 3), strict=True))
    query, support = ([torch.rand(2, blocks, width, side, side) for blocks, width, side in scales] for _ in range(2))
    masks = torch.zeros(2, 33, 33)
    masks[:, 9:20, 3:14] = 1
    with torch.inference_mode():
        shown = method.support(support, masks)
        found = method.segment(query, shown)
        with plain_forms.patnet():
            plain = method.segment(query, shown)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("plain", "fast", "shapes"), [
    (plain_forms.contrast, head.contrast, [(2, 8, 5, 4), (2, 8, 5, 4)]),
    (plain_forms.local_background, matching.local_background, [(8, 12), (8, 5)]),
])  # fmt: skip
def test_plain_forms_equal_the_steps_that_they_stand_for(plain, fast, shapes):
    torch.manual_seed(0)
    given = [torch.nn.functional.normalize(torch.randn(shape), dim=len(shape) % 2) for shape in shapes]
    assert call_difference(lambda: plain(*given), lambda: fast(*given)) < 1e-5


def test_hdmnets_formula_equals_the_matching_of_kept_supports():
    torch.manual_seed(0)
    net = Matching(8, 2)
    given = (torch.randn(2, 9, 8), torch.randn(2, 18, 8), (torch.arange(18) % 4 == 0).float().expand(2, -1))
    assert call_difference(lambda: plain_forms.matched(net, *given), lambda: net(*given)) < 1e-5
