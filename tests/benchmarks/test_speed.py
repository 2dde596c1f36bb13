"""The benchmarks of speed compare what they time, and every case of the table runs."""

import json

import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import table
from benchmarks.speed.cases.methods import KEPT, noise_episode, plain_hsnet
from benchmarks.speed.harness import Case, Command, Measurements, call_difference, check, measure
from fsbench.methods.hsnet import HSNet
from fsbench.networks.backbones.timm_networks import PYRAMIDS
from fsbench.networks.ops.correlation import hyper_correlation
from tests.methods.small import PYRAMID, pyramid

CPU = torch.device("cpu")


def test_the_noise_has_distinct_images_and_a_square():
    episode = noise_episode(32, CPU)
    assert episode.images.shape == (2, 3, 32, 32) and episode.support.tolist() == [[[1]]]
    assert not torch.equal(episode.images[0], episode.images[1])
    assert float(episode.support_masks[0, 0, 0].float().mean()) == pytest.approx(KEPT, abs=0.03)


def test_paths_take_turns_after_a_first_call_of_each():
    calls = []
    paths = {name: lambda name=name: calls.append(name) for name in ("plain", "fast")}
    rows = measure(Case("x", paths, units=4), CPU, 2)
    assert calls == ["plain", "fast"] * 3 + ["plain", "fast"]  # the last two for their memory
    assert [(row.path, len(row.times)) for row in rows] == [("plain", 2), ("fast", 2)]
    assert all(row.peak_mib >= 0 for row in rows)


def test_turns_are_told():
    turns = []
    (row,) = measure(Case("x", {"plain": turns.append}, takes_turn=True), CPU, 3)
    assert turns == [0, 1, 2] and len(row.times) == 3 and row.peak_mib is None


def test_a_command_is_measured_in_its_own_process(tmp_path):
    script = (
        "import os, sys, pathlib; x = bytearray(50 << 20); pathlib.Path(sys.argv[1]).write_text(os.environ['WANDB'])"
    )
    (row,) = measure(Case("x", {"now": Command(["-c", script, str(tmp_path / "done")])}), CPU, 1)
    assert (tmp_path / "done").read_text() == "off"
    assert 50 < row.peak_mib < 200 and 0 < row.seconds < 30
    with pytest.raises(SystemExit, match="ended with status 256:\nwhy"):
        measure(Case("x", {"now": Command(["-c", "import sys; sys.exit('why')"])}), CPU, 1)


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
        ("plain-forms --methods hsnet --steps= --repeats 0", ["plain", "ours"]),
        ("hsnet-network --side 64", ["plain", "ours"]),
        ("patnet-transform --side 64", ["plain", "ours"]),
        ("ifa-background --side 64", ["plain", "ours"]),
        ("abcdfss-contrast --side 64", ["plain", "ours"]),
        ("selective-scan --channels 8 --side 4", ["plain", "ours"]),
        ("networks --networks demo:64", ["fp32", "bf16"]),
        ("loading --size 32", ["plain", "suite"]),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
@pytest.mark.slow
def test_every_case_compares_and_times_its_paths(arguments, paths, tmp_path, capsys):
    repeats = [] if arguments.split()[0] in ("episodes", "training-steps", "plain-forms") else ["--repeats", "1"]
    speed.main([*arguments.split(), *repeats, "--device", "cpu", "--json", str(tmp_path / "x.json")])
    found = Measurements(**json.loads((tmp_path / "x.json").read_text()))
    name, *given = arguments.split()
    assert found.command == " ".join(["python -m benchmarks.speed", name, *given, *repeats, "--device cpu"])
    assert found.opponent == speed.BENCHMARKS[name].opponent and found.clock == "processor"
    for what in {row.what for row in found.rows}:
        named = [row.path for row in found.rows if row.what == what]
        assert named == paths
    assert all(row.times and row.seconds > 0 for row in found.rows)
    assert all(row.what in capsys.readouterr().out for row in found.rows[:1])


def test_every_benchmark_has_its_result_and_its_rows_on_the_page():
    assert {*table.GAINS, "parts"} == set(speed.BENCHMARKS) == set(table.measurements())


def test_the_table_of_cases_names_functions_that_are_there():
    for name, benchmark in speed.BENCHMARKS.items():
        assert benchmark.cases().__doc__, name


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
        with plain_hsnet():
            plain = method.hpn_learner(
                [hyper_correlation(*pair, masks) for pair in zip(query, support, strict=True)][::-1]
            )
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_commands_over_runs_are_timed(tmp_path, capsys):
    """Four runs stand for thousands."""
    few = ["--runs", "4", "--episodes", "5", "--device", "cpu"]
    speed.main(["tables", "--folder", str(tmp_path / "tables"), *few])
    speed.main(["report", "--folder", str(tmp_path / "report"), *few])
    said = capsys.readouterr().out
    assert "table, 4 runs of 5 episodes" in said and "report and explorer of 4 methods, 5 stored masks each" in said
