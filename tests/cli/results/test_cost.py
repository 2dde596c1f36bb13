"""`fsbench cost` as a user calls it."""

import json

import pytest
import torch
from torch import nn

from fsbench.cli.main import main
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.runner.engine.cost import method_cost
from fsbench.runner.engine.cost.method_cost import _extrapolated, _measure, noise_episode


@pytest.mark.slow
def test_cost_tells_parameters_arithmetic_time_and_memory_by_shots(capsys):
    arguments = ["cost", "--method", "dcama,hsnet", "--backbone", "demo", "--image-size", "64", "--repeats", "1"]
    assert main([*arguments, "--shots", "1,2", "--format", "json"]) == 0
    lines = json.loads(capsys.readouterr().out)["costs"]
    assert [(line["method"], line["shots"]) for line in lines] == [
        ("dcama", 1), ("dcama", 2), ("hsnet", 1), ("hsnet", 2),
    ]  # fmt: skip
    for one, two in (lines[:2], lines[2:]):
        assert two["gmac"] > one["gmac"] > 0 and one["seconds"] > 0
        assert one["total"] - one["trainable"] == 714_528  # of the demo's ViT
        assert one["trainable"] == two["trainable"] > 1_000_000
    assert main([*arguments, "--method", "hsnet", "--shots", "1"]) == 0
    printed = capsys.readouterr().out
    assert "GMAC" in printed and "hsnet" in printed and "CPU, " in printed


@pytest.mark.slow(3)
def test_weights_that_training_begins_with_are_counted_once(capsys):
    arguments = ["--image-size", "33", "--repeats", "1", "--shots", "1", "--format", "json"]
    assert main(["cost", "--method", "pspnet", *arguments]) == 0
    (line,) = json.loads(capsys.readouterr().out)["costs"]
    assert line["total"] == line["trainable"] == sum(tensor.numel() for tensor in PSPNet("resnet50", 15).parameters())


def test_arithmetic_is_counted_as_multiply_accumulates():
    layer = nn.Linear(1000, 1000, bias=False)
    x = torch.randn(100, 1000)
    (gmac, seconds, _), basis = _measure(lambda: layer(x), torch.device("cpu"), 1)
    assert gmac == pytest.approx(0.1) and seconds > 0 and basis == ""


def test_a_prediction_of_minutes_is_counted_once_and_timed_once(monkeypatch):
    monkeypatch.setattr(method_cost, "SLOW", 0.0)
    calls, x = [], torch.randn(100, 100)
    (gmac, seconds, _), basis = _measure(lambda: calls.append(x @ x), torch.device("cpu"), 3)
    assert len(calls) == 2 and gmac == pytest.approx(1e-3) and seconds > 0 and basis == "one prediction"


@pytest.mark.slow(3)
def test_thousands_of_prompts_are_extrapolated_from_few():
    class Prompter:
        prompts = 0

        def limit_prompts(self, share: float) -> int:
            self.prompts = round(6400 * share)
            return self.prompts

    method, x = Prompter(), torch.randn(50, 100)
    used = []

    def predict() -> None:
        used.append(method.prompts)
        for _ in range(3 + method.prompts):
            x @ x.T

    (gmac, seconds, _), basis = _extrapolated(method, predict, torch.device("cpu"))
    assert used == [100, 400] and method.prompts == 6400
    assert gmac == pytest.approx(6403 * 50 * 50 * 100 / 1e9) and seconds > 0
    assert basis == "extrapolated to 6,400 prompts from predictions with 100 and 400"


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
        (["--dataset", "demo"], "--dataset demo is for --parts only"),
        (["--parts", "--shots", "0"], "shots is 0, expected 1 or more"),
    ],
)
def test_cost_refuses_in_one_line(arguments, message, capsys):
    base = ["cost", "--method", "hsnet", "--backbone", "demo"]
    assert main([*base, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_parts_of_an_episode_add_up_in_every_format(capsys):
    base = ["cost", "--parts", "--backbone", "demo", "--image-size", "64", "--repeats", "1"]
    assert main([*base, "--method", "prototype,nn", "--format", "json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["clock"] == "processor"
    assert [(e["method"], e["ways"], e["shots"]) for e in about["episodes"]] == [("prototype", 1, 1), ("nn", 5, 1)]
    for episode in about["episodes"]:
        assert list(episode["parts"]) == ["loader", "backbone", "head", "metric"]
        assert min(episode["parts"].values()) > 0
        assert sum(episode["parts"].values()) == pytest.approx(episode["seconds"])
        assert sum(episode["percent"].values()) == pytest.approx(100)
    for form, start in (("text", "method "), ("markdown", "| method"), ("csv", "method,backbone,image,way,shots,part")):
        assert main([*base, "--method", "prototype", "--format", form]) == 0
        lines = capsys.readouterr().out.strip().splitlines()
        assert lines[0].startswith(start)
        assert sum("episode" in line and "100.0" in line for line in lines) == 1
