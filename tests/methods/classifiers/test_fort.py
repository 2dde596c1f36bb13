"""FORT: the patches it chooses, the weight of the gradient, and attention that turns to the patches."""

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.methods.classifiers.fort import attention_and_gradient, principal_component, roll_out, weighted_focus
from tests.methods.classifiers.first_episodes import SMALL, first_episodes, supports
from tests.methods.classifiers.tuned_attention import tuned_attention


def test_fort_takes_the_weight_of_the_gradient(experiment):
    """lambda 0 is the roll-out of the attention alone; the setting is part of what a run is."""
    runs = {weight: experiment("fort", SMALL, f"--model.gradient_weight={weight}") for weight in (0.0, 1.0, 50.0)}
    (episode,) = first_episodes(runs[1.0], 1)
    focus = {}
    for weight, run_ in runs.items():
        support, labels = supports(run_.method, episode)
        with run_.method.start(support, labels, with_prompts=True) as start:
            maps, gradient = attention_and_gradient(start.net.encoder, start.net.head, support, labels)
            importance = roll_out(maps, weight * principal_component(gradient), 1.0)
            focus[weight] = start.focus[0]
        torch.testing.assert_close(focus[weight], weighted_focus(importance, run_.method.patches))
    assert not torch.allclose(focus[0.0], focus[50.0])
    assert len({run_.folder for run_ in runs.values()}) == 3 and runs[1.0].folder == experiment("fort", SMALL).folder


@pytest.mark.slow(3)
def test_fort_turns_attention_to_its_patches(experiment):
    """More than tuning without its term does."""
    settings = ["--model.epochs=6", "--model.learning_rate=3e-4", "--model.patches=20", SMALL]
    (episode,) = first_episodes(experiment("fort", SMALL), 1)
    with_term, without = (
        tuned_attention(experiment("fort", *settings, f"--model.alpha={alpha}").method, episode) for alpha in (1.0, 0.0)
    )
    assert torch.equal(with_term["focus"], without["focus"]) and torch.equal(with_term["before"], without["before"])
    key = with_term["focus"] > 0
    assert key.shape == (5, 64) and (key.sum(1) == 20).all()
    before, after, plain = ((part * key).sum() for part in (with_term["before"], with_term["after"], without["after"]))
    assert after > before and after > plain


@pytest.mark.parametrize("patches", [0, 65])
def test_fort_needs_as_many_patches_as_it_chooses(experiment, patches):
    with pytest.raises(SettingsError, match=f"patches is {patches}, expected 1 to 64, which an image has"):
        experiment("fort", SMALL, f"--model.patches={patches}")
