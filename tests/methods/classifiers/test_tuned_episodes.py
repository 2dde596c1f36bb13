"""Methods that tune a network in every episode: what outlives an episode, and what a stopped run goes on with."""

import hashlib
import logging
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from fsbench.methods.classifiers.fine_tuned import FineTuned
from fsbench.runner.engine.run import run
from tests.methods.classifiers.first_episodes import SMALL, first_episodes, supports
from tests.methods.classifiers.tuned_attention import tuned_attention

TUNED = ("fort_lora", pytest.param("ft", marks=pytest.mark.slow(4)), pytest.param("vpt", marks=pytest.mark.slow(3)))
"""With adapters and a focus, with all weights, and with prompts."""


def state(method: FineTuned) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(method._net.encoder.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", TUNED)
def test_an_episode_leaves_nothing_behind(experiment, name):
    """Pre-trained weights are back bit by bit, adapters too, and an episode after others ends as it does alone."""
    faster = ["--model.epochs=1", "--model.learning_rate=1e-3", SMALL]
    built = experiment(name, *faster)
    method, fresh = built.method, deepcopy(built.method)
    episodes = first_episodes(built)
    scores = {}
    for model, seen in ((method, episodes), (fresh, episodes[2:])):
        for episode in seen:
            support, labels = supports(model, episode)
            with model.start(support, labels, with_prompts=bool(model.schedule.alpha)) as start:
                before = state(model)
                first = [p.detach().clone() for p in start.net.parameters() if p.requires_grad]
                model.tune(start, support, labels)
                assert all(
                    not torch.equal(a, b)
                    for a, b in zip(first, (p for p in start.net.parameters() if p.requires_grad), strict=True)
                    if a.abs().sum() > 0 and a.ndim > 1
                )
                assert state(model) != before
                with torch.no_grad():
                    scores[model] = start.net(episode.pixels()[1])
            pristine = model.backbone.new_copy(episode.pixels()[0][0]).state_dict()
            left = {n.replace(".base_layer", ""): t for n, t in model._net.encoder.state_dict().items()}
            assert all(torch.equal(left[key], value) for key, value in pristine.items())
    assert torch.equal(scores[method], scores[fresh]) and scores[fresh].std() > 0
    assert torch.equal(method.answer(episodes[2]), scores[method].argmax(1))


@pytest.mark.parametrize(("name", "draw"), [("vpt", "run"), pytest.param("lora", "episode", marks=pytest.mark.slow(3))])
def test_first_values_of_adapters_are_drawn_once_in_a_run_or_in_every_episode(experiment, name, draw):
    """Once: from the seed alone, whichever episode comes first in a process. The order of visits is each episode's."""
    settings = [SMALL, "--model.epochs=2"]
    if draw == "episode":
        settings.append("--model.prompt_draw=episode")
    built = experiment(name, *settings)
    (episode,) = first_episodes(built, 1)

    def first_values(*places):
        model = deepcopy(built.method)
        for index, seed in places:
            torch.manual_seed(index)  # must not matter
            support, labels = supports(model, replace(episode, index=index, seed=seed))
            with model.start(support, labels, with_prompts=False) as start:
                values = [p.flatten().clone() for p in start.net.encoder.parameters() if p.requires_grad]
                found, order = torch.cat(values).detach(), torch.cat(list(start.order))
                model.tune(start._replace(order=order.split(5)), support, labels)
        return found, order

    (a, order), (b, same), (after, _) = first_values((0, 0)), first_values((0, 0)), first_values((2, 0), (0, 0))
    assert torch.equal(a, b) and torch.equal(order, same) and torch.equal(a, after) and a.abs().max() > 0
    (c, another), (d, _) = first_values((1, 0)), first_values((0, 1))
    assert torch.equal(a, c) == (draw == "run") and not torch.equal(order, another)
    assert not torch.equal(a, d)


@pytest.mark.slow(6)
def test_a_run_that_was_stopped_goes_on_with_the_same_record(experiment, tmp_path):
    settings = ["--model.epochs=1", "--model.learning_rate=1e-3", "--data.episodes=4", SMALL]
    whole = run(experiment("fort_lora", *settings))
    again = experiment("fort_lora", *settings)
    again.options.runs = str(tmp_path / "other")
    answer, answered = again.method.answer_batch, []

    def answer_once(batch):
        if answered:
            raise RuntimeError("power cut")
        answered.append(batch)
        return answer(batch)

    again.method.answer_batch = answer_once
    with pytest.raises(RuntimeError, match="power cut"):
        run(again)
    rest = experiment("fort_lora", *settings)
    rest.options.runs = str(tmp_path / "other")
    done = run(rest)
    assert "evaluation: 3 of 4 episodes are left" in (done.path / "run.log").read_text()
    assert done.run.counts_sha256 == whole.run.counts_sha256
    logging.getLogger("fsbench").handlers = []


def test_prompts_are_no_patches(experiment, monkeypatch):
    """Where a network with prompts looks is told of patches alone; and an episode moves nothing but what is tuned."""
    method = experiment("vpt", SMALL, "--model.epochs=1").method
    first, second = first_episodes(experiment("vpt", SMALL), 2)
    assert {name: part.shape for name, part in tuned_attention(method, first).items()} == dict.fromkeys(
        ("focus", "before", "after"), (5, 64)
    )
    monkeypatch.setattr(nn.Module, "to", lambda *args: pytest.fail("the network was moved"))
    where = [p.data_ptr() for p in method._net.parameters()]
    with method.start(*supports(method, second), with_prompts=False) as start:
        assert [p.data_ptr() for p in start.net.parameters()] == where
