"""Methods that tune a network in every episode: what an episode leaves behind, what it draws, and where FORT looks."""

import logging
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.methods.classifiers.fort import (
    attention_and_gradient,
    attention_logits,
    principal_component,
    roll_out,
    weighted_focus,
)
from fsbench.methods.classifiers.tuning import fine_tune
from fsbench.networks.weights.files import state_digest
from fsbench.runner.engine.run import run_experiment
from tests.methods.classifiers.first_episodes import SMALL, first_episodes, supports

TUNED = ("fort_lora", pytest.param("ft", marks=pytest.mark.slow(4)), pytest.param("vpt", marks=pytest.mark.slow(3)))
"""With adapters and a focus, with all weights, and with prompts."""


@pytest.mark.parametrize("name", TUNED)
def test_an_episode_moves_every_tuned_number_and_leaves_nothing_behind(experiment, name):
    built = experiment(name, "--model.epochs=1", "--model.learning_rate=1e-3", SMALL)
    method, fresh = built.method, deepcopy(built.method)
    episodes = first_episodes(built)
    support, labels = supports(method, episodes[0])
    pristine = state_digest(method.backbone.network(support[0]).state_dict())
    net, focus, order = method.start(support, labels)
    first = [p.detach().clone() for p in net.parameters() if p.requires_grad]
    fine_tune(net, method.schedule, support, labels, order, focus)
    after = [p for p in net.parameters() if p.requires_grad]
    moving = [pair for pair in zip(first, after, strict=True) if pair[0].abs().sum() > 0 and pair[0].ndim > 1]
    assert moving and not any(torch.equal(*pair) for pair in moving)
    answers = [method.answer(episode) for episode in episodes]
    assert torch.equal(answers[2], fresh.answer(episodes[2]))
    assert state_digest(method.backbone.network(support[0]).state_dict()) == pristine


@pytest.mark.parametrize(("name", "draw"), [("vpt", "run"), pytest.param("lora", "episode", marks=pytest.mark.slow(3))])
def test_first_values_of_adapters_are_drawn_once_in_a_run_or_in_every_episode(experiment, name, draw):
    """Once: from the seed alone, whichever episode comes first in a process. The order of visits is each episode's."""
    built = experiment(name, SMALL, "--model.epochs=2", f"--model.prompt_draw={draw}")
    (episode,) = first_episodes(built, 1)

    def first_values(number, seed):
        torch.manual_seed(number)  # must not matter
        start = built.method.start(*supports(built.method, replace(episode, number=number, seed=seed)))
        values = [p.flatten() for p in start.net.encoder.parameters() if p.requires_grad]
        return torch.cat(values).detach(), torch.cat(list(start.order))

    (a, order), (c, another), (b, same), (d, _) = (first_values(*place) for place in ((0, 0), (1, 0), (0, 0), (0, 1)))
    assert torch.equal(a, b) and torch.equal(order, same) and a.abs().max() > 0
    assert torch.equal(a, c) == (draw == "run") and not torch.equal(order, another)
    assert not torch.equal(a, d)


@pytest.mark.slow(3)
def test_fort_takes_the_weight_of_the_gradient(experiment):
    """lambda 0 is the roll-out of the attention alone; the setting is part of what a run is."""
    runs = {weight: experiment("fort", SMALL, f"--model.gradient_weight={weight}") for weight in (0.0, 1.0, 50.0)}
    (episode,) = first_episodes(runs[1.0], 1)
    focus = {}
    for weight, run_ in runs.items():
        support, labels = supports(run_.method, episode)
        net, (focus[weight],), _ = run_.method.start(support, labels)
        maps, gradient = attention_and_gradient(net.encoder, net.head, support, labels)
        importance = roll_out(maps, weight * principal_component(gradient), 1.0)
        torch.testing.assert_close(focus[weight], weighted_focus(importance, run_.method.patches))
    assert not torch.allclose(focus[0.0], focus[50.0])
    assert len({run_.folder for run_ in runs.values()}) == 3 and runs[1.0].folder == experiment("fort", SMALL).folder


@pytest.mark.slow(3)
def test_fort_turns_attention_to_its_patches(experiment):
    """More than tuning without its term does; attention is of the class token, by the mean of the heads' logits."""
    method = experiment(
        "fort", "--model.epochs=6", "--model.learning_rate=3e-4", "--model.patches=20", "--model.alpha=1.0", SMALL
    ).method
    (episode,) = first_episodes(experiment("fort", SMALL), 1)
    support, labels = supports(method, episode)

    def seen(net):
        with torch.no_grad(), attention_logits(net.encoder) as stages:
            net.encoder(support)
            return (stages[0]().mean(1)[:, 0].softmax(-1) * (focus[0] > 0)).sum()

    found = []
    for alpha in (1.0, 0.0):
        net, focus, order = method.start(support, labels)
        assert ((focus[0] > 0).sum(1) == 20).all() and focus[0].shape == (5, 64)
        before = seen(net)
        fine_tune(net, replace(method.schedule, alpha=alpha), support, labels, order, focus)
        found.append(seen(net))
    assert found[0] > before and found[0] > found[1]


@pytest.mark.parametrize("patches", [0, 65])
def test_fort_needs_as_many_patches_as_it_chooses(experiment, patches):
    with pytest.raises(SettingsError, match=f"patches is {patches}, expected 1 to 64, which an image has"):
        experiment("fort", SMALL, f"--model.patches={patches}")


@pytest.mark.slow(6)
def test_a_run_that_was_stopped_goes_on_with_the_same_record(experiment, tmp_path):
    settings = ["--model.epochs=1", "--model.learning_rate=1e-3", "--data.test.episodes=4", SMALL]
    whole = run_experiment(experiment("fort_lora", *settings))
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
        run_experiment(again)
    rest = experiment("fort_lora", *settings)
    rest.options.runs = str(tmp_path / "other")
    done = run_experiment(rest)
    assert "evaluation: 3 of 4 episodes are left" in (done.path / "run.log").read_text()
    assert done.counts_sha256 == whole.counts_sha256
    logging.getLogger("fsbench").handlers = []
