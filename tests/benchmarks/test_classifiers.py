"""An episode by the scheme of FORT's program starts and ends as the suite's does."""

import pytest
import torch

from benchmarks.speed.cases import classifiers
from fsbench.core.classifier import Draws
from fsbench.runner.config.run_config import RunConfig


@pytest.mark.parametrize(
    "name",
    [pytest.param("ft", marks=pytest.mark.slow(1)), "fort", pytest.param("fort_lora", marks=pytest.mark.slow(2))],
)
def test_both_ways_find_the_same_patches_and_scores(name, monkeypatch):
    settings = ("--data.image_size=64", "--model.epochs=2")
    method = RunConfig(name, "demo-cls", weights="random", extra=settings).parse(build=False).build_method()
    method.draws = Draws(seed=0, episode=0)
    generator, labels = torch.Generator().manual_seed(0), torch.arange(4)
    support, query = (torch.randn(number, 3, 64, 64, generator=generator) for number in (4, 8))
    asked = []
    prompts = classifiers.weighted_focus
    monkeypatch.setattr(classifiers, "weighted_focus", lambda *given: asked.append(given) or prompts(*given))
    found = classifiers.suite(method, query, support, labels)
    assert not asked
    plain = classifiers.authors(method, query, support, labels)
    torch.testing.assert_close(plain, found, rtol=1e-3, atol=1e-3 * float(found.abs().max()))
    assert len(asked) == 1  # the scheme asks for prompts where FORT is off, too
    with torch.no_grad():
        (own,) = classifiers.solve_head(method, method.start(support, labels).net, support, labels) or [None]
        (focus,) = method.start(support, labels).focus or [None]
    assert (own is None) == (focus is None) == (name == "ft")
    if own is not None:
        torch.testing.assert_close(own, focus, rtol=1e-3, atol=1e-4)
