"""DIaM's optimisation of a classifier for each query image: several images in one product, closed gradients."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference
from methods.diam import Adaptation, Adapted, Task, adapt, adapt_plainly, make_task


def cases(
    device: torch.device,
    images: tuple[int, ...] = (8,),
    shots: tuple[int, ...] = (1,),
    novel: int = 5,
    base: int = 16,
    channels: int = 512,
    side: int = 53,
    iterations: int = 3,
) -> Iterator[Case]:
    """Fit the classifiers of several images by autograd one after the other (plain), in closed form so, and together.

    Features are drawn; sizes are those of PASCAL-5i, 1-shot. Seconds are those of one image.
    """
    settings = Adaptation(iterations=iterations, pi_update_at=(1,))
    for count in images:
        for shot in shots:
            task, weight, bias = _task(count, novel, shot, base, channels, side, device)
            plain, alone, together = (
                partial(_one_by_one, adapt_plainly, task, weight, bias, novel, settings),
                partial(_one_by_one, adapt, task, weight, bias, novel, settings),
                lambda task=task, weight=weight, bias=bias: _logits(adapt(task, weight, bias, novel, settings), task),
            )
            yield Case(
                f"{count} images, {novel} novel classes, {shot}-shot, {channels} channels, {side} x {side}",
                {"plain": plain, "closed form": alone, "closed form, together": together},
                partial(_largest_difference, plain, alone, together),
                tolerance=1e-3,
                units=count,
            )


def _largest_difference(plain: Callable[[], object], *others: Callable[[], object]) -> float:
    return max(call_difference(plain, other) for other in others)


def _one_by_one(how: Callable, task: Task, weight: Tensor, bias: Tensor, novel: int, settings: Adaptation) -> Tensor:
    found = []
    for image in range(len(task.query)):
        alone = task.rows(image, image + 1)
        found.append(_logits(how(alone, weight, bias, novel, settings), alone))
    return torch.cat(found)


def _logits(adapted: Adapted, task: Task) -> Tensor:
    return adapted.classifiers.logits(task.query)


def _task(
    images: int, novel: int, shot: int, base: int, channels: int, side: int, device: torch.device
) -> tuple[Task, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).relu().to(device)

    labels = torch.randint(0, novel + 1, (novel * shot, side, side), generator=generator).to(device)
    labels = torch.where(labels > 0, labels + base - 1, 0)
    valid = torch.ones(images, side, side, dtype=torch.bool, device=device)
    support, query = drawn(novel * shot, channels, side, side), drawn(images, channels, side, side)
    task = make_task(support, labels, query, valid, base, shot)
    return task, drawn(channels, base) / channels**0.5, torch.zeros(base, device=device)
