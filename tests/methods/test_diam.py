"""DIaM: what it fits, under its own test and under others."""

import pytest
import torch

from fsbench.methods.diam import AdaptationSettings, adapt, adapt_plainly, make_task, without_void


def drawn(images: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator)

    labels = torch.randint(0, 6, (4, 20, 24), generator=generator)
    labels[labels == 1] = 255
    labels[(labels == 2) | (labels == 3)] = 0
    valid = torch.rand(images, 20, 24, generator=generator) > 0.2
    task = make_task(numbers(4, 8, 5, 6), labels, numbers(images, 8, 5, 6), valid, 4, 2)
    return task, numbers(8, 4), numbers(4)


@pytest.mark.parametrize("fine_tune_base", [True, False])
def test_gradients_in_closed_form_are_those_of_autograd(fine_tune_base):
    task, weight, bias = drawn(3)
    settings = AdaptationSettings(iterations=15, rate=5e-3, pi_update_at=(3, 9), fine_tune_base=fine_tune_base)
    plain, fast = (how(task, weight, bias, 2, settings) for how in (adapt_plainly, adapt))
    for one, other in zip((*plain.classifiers, plain.pi), (*fast.classifiers, fast.pi), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    kept = torch.equal(fast.classifiers.weight[..., :4], weight.expand(3, -1, -1))
    assert kept != fine_tune_base and not torch.equal(fast.pi, fast.pi_start)


def test_images_do_not_influence_each_other():
    task, weight, bias = drawn(3)
    settings = AdaptationSettings(iterations=10, pi_update_at=(4,))
    together = adapt(task, weight, bias, 2, settings)
    for image in range(3):
        single = task._replace(query=task.query[image, None], query_weights=task.query_weights[image, None])
        plain = adapt_plainly(single, weight, bias, 2, settings)
        assert torch.allclose(plain.classifiers.weight[0], together.classifiers.weight[image], rtol=1e-4, atol=1e-5)


def test_void_pixels_of_supports_change_nothing():
    task, weight, bias = drawn(2)
    fewer = without_void(task)
    assert 0 < fewer.support.shape[1] == int((task.support_weights > 0).sum()) < task.support.shape[1]
    whole, found = (adapt(one, weight, bias, 2, AdaptationSettings(iterations=10)) for one in (task, fewer))
    assert torch.allclose(found.classifiers.weight, whole.classifiers.weight, rtol=1e-4, atol=1e-5)


def test_a_class_without_a_pixel_starts_at_zero():
    task, weight, bias = drawn(1)
    found = adapt(
        task._replace(support_labels=task.support_labels.clamp(max=4)),
        weight,
        bias,
        2,
        AdaptationSettings(iterations=0),
    )
    assert not found.classifiers.weight[0, :, 5].any()
    assert found.classifiers.weight[0, :, 4].norm() == pytest.approx(1, abs=1e-5)
