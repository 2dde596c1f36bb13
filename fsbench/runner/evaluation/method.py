"""A method of the suite as an object that answers a test: with the suite's loader, on one device."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, get_args

import torch
from torch.utils.data import DataLoader

from fsbench.base.errors import SettingsError, known_names
from fsbench.core.answering import THREADS, answering
from fsbench.core.global_state import allow_tf32, apart_from_program, kept_global_state
from fsbench.core.method import Method
from fsbench.core.segmenter import Segmenter
from fsbench.data.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.datamodules.loading.episodes import ManifestEpisodes
from fsbench.datamodules.loading.items import LoadingConfig
from fsbench.datamodules.loading.loader import Loader
from fsbench.datamodules.loading.way_classes import WayClasses
from fsbench.datamodules.options import Loading, Training
from fsbench.protocols.loop import Answerer
from fsbench.protocols.test import Test
from fsbench.protocols.view import InputResize, own_rule
from fsbench.records.remaining_episodes import Answering
from fsbench.runner.engine.answering import choose_device, fresh_copy

OPTIONS = ("image_size", "workers", "device", "input_resize")


@apart_from_program()
def answer_by_method(
    method: Any, test: Test, name: str, **options: Any
) -> tuple[Answering, tuple[int | None, int | None], list[Any]]:
    """Prepare a method object for a test that it is to predict.

    Args:
        method: a `Segmenter`, with its weights loaded.
        test: the test.
        name: the name of the method in tables.
        **options: those of `OPTIONS`, see `fsbench.evaluate`.

    Returns:
        The test with the method, ready to predict it; the numbers of trainable and of all parameters; further values on
        which predictions depend.

    Raises:
        SettingsError: the method cannot predict this test, or an option is unknown.
    """
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise SettingsError(f"evaluate has no option {unknown[0]} for a method{known_names(unknown[0], OPTIONS)}")
    if not isinstance(method, Segmenter):
        raise SettingsError(
            f"{type(method).__name__} is no Segmenter; expected one, a function of an episode, or the name of a method"
        )
    side = options.get("image_size", test.image_size)
    if side is None:
        raise SettingsError(
            f"evaluate was given no image_size, the side of the images that {method.registry_name} sees; give it, e.g. "
            f"evaluate(method, test, image_size=400)"
        )
    _check(method, test)
    method.check_run(_lone(test, side), trains=False)
    resized = options.get("input_resize", "protocol")
    if resized not in get_args(InputResize):
        raise SettingsError(f"input_resize is {resized!r}; expected one of {', '.join(get_args(InputResize))}")
    resized = own_rule(resized, test.data)
    if "device" in options:
        method.to(choose_device(options["device"]))
    counted = replace(test, image_size=side) if test.protocol.view.counts_at_input_size else test
    answered_by = Answering(
        name,
        counted,
        partial(_ready, method),
        lambda: _ready(fresh_copy(method)),
        partial(_batches, method, counted, side, resized, options.get("workers", 0)),
        evaluation_order,
    )
    ways = test.manifest.header.way
    parameters = method.num_trainable_parameters(ways), method.num_parameters(ways)
    follows_from = [side, method.describe(), _weights_sha256(method)]
    return answered_by, parameters, follows_from if resized == "protocol" else [*follows_from, resized]


def _lone(test: Test, side: int) -> Any:
    """Return a test as methods check it (`Method.check_run`): without a data module, which would train and load."""
    about = {"task": test.protocol.task, "protocol": test.protocol, "test": test.manifest.header, "image_size": side}
    return SimpleNamespace(
        **about, loading=Loading(), support_annotation="mask", training=Training(), check_unseen=test.check_unseen
    )


@contextmanager
def _ready(method: Method) -> Iterator[Answerer]:
    """Make a method ready to answer as a run would; what it sets in this process is the caller's again afterwards."""
    with kept_global_state():
        allow_tf32(False, False)
        torch.set_num_threads(THREADS)
        with answering(method) as answer:
            yield answer


def _weights_sha256(method: Segmenter) -> str:
    """Return a hash of the learned weights."""
    content = hashlib.sha256()
    for name, value in sorted(method.state_dict().items()):
        content.update(name.encode())
        content.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _check(method: Segmenter, test: Test) -> None:
    """Raise SettingsError unless a test alone is enough for the method."""
    if not test.protocol.has_masks:
        raise SettingsError(f"{method.registry_name} segments, and the test is one of {test.protocol.task}")
    if method.needs.calibration or method.needs.adaptation is not None:
        raise SettingsError(
            f"{method.registry_name} {method.needs.before_test}, for which a test has no images; evaluate it by its "
            "name, or choose another setting"
        )


def _batches(
    method: Segmenter, test: Test, side: int, resized: InputResize, workers: int, numbers: Sequence[int]
) -> DataLoader[Any]:
    """Return the loader of some episodes, in an order that encodes few images twice."""
    chosen = evaluation_order([test.manifest.episodes[test.places[number]] for number in numbers])
    config = LoadingConfig(side, test.protocol.view, input_resize=resized, hints=method.needs.hints)
    known = method.needs.classes
    classes = None if known == "unknown" else WayClasses(test.manifest, known)
    next_shown = dict(enumerate(next_uses(chosen)))
    data = ManifestEpisodes(test.protocol.draw, test.data, chosen, config, next_shown, classes)
    return Loader(data, batch_size=None, num_workers=workers)
