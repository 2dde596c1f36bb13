"""`load_kit_test`: draw the test of a kit again from a user's data."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fsbench.base.errors import RecordError
from fsbench.data.episodes.manifest import CLASSIFICATION
from fsbench.data.episodes.task import ClassificationTask, Task
from fsbench.protocols.kit.kit import Kit
from fsbench.protocols.reading import check_version, stored_protocol
from fsbench.protocols.test import Test
from fsbench.runner.config.datasets import choose_dataset
from fsbench.runner.config.registry import task_of
from fsbench.runner.config.tests import load_test


def load_kit_test(
    kit: Kit,
    dataset: str | None = None,
    *,
    root: str | Path | None = None,
    lists: Sequence[str | Path] = (),
    image_size: int | None = None,
    most: int | None = None,
) -> Test:
    """Draw the test of an exported kit again from the user's data, to get the truth.

    A kit is a folder with the episodes of a test, images and supports, for a program that does not use fsbench.

    Args:
        kit: the kit's description file, as read.
        dataset: name of the data set, in place of the one that the kit states.
        root: folder of the data, instead of `data/<name>`.
        lists: folders with official list files.
        image_size: side of the images to predict; needed if the protocol counts pixels at that size.
        most: number of episodes in the kit; a description that requests more raises an error before they are drawn.

    Raises:
        RecordError: the data give another test than the kit has, its protocol has another version here, or it requests
            more than `most` episodes.
        SettingsError: a name is unknown, or the protocol has no such test.
        DataError: files of the data set are missing or invalid.
    """
    if kit.own_list:
        raise RecordError(
            f"the kit is of a list of one's own, which {kit.protocol} does not draw; expected the manifest that it was "
            "made of: give it with --manifest in place of --kit (in Python load_test(manifest=…))"
        )
    asked = kit.protocol_parts or kit.protocol
    protocol = stored_protocol(asked)
    if kit.protocol != protocol.name:
        raise RecordError(
            f"the kit names the protocol {kit.protocol}, and its parts are those of {protocol.name}; it was changed "
            "after it was made; make it again"
        )
    check_version(protocol, kit.protocol_version, "the kit")
    name = choose_dataset(dataset, kit.dataset, "the kit")
    kind = ClassificationTask if task_of("data", name) == CLASSIFICATION else Task
    task = {one.name: getattr(kit, one.name) for one in kind.arguments() if one.name in Kit.model_fields}
    if kind is Task and kit.seed == protocol.draw.official_seed(kit.dataset):
        del task["seed"]
    draw = partial(load_test, name, root=root, lists=lists, protocol=asked, image_size=image_size, **task)
    stated = kit.episodes or protocol.draw.episode_count(kit.dataset, 0)
    if most is not None and (kit.draws > 1 or stated > most):
        # one more than there are: a list that ends gives fewer than were asked for
        some = draw(episodes=min(stated, most + 1) if kit.episodes or stated > most else None, draws=1)
        if len(some.manifest.official_episodes) * kit.draws > most:
            raise RecordError(
                f"the kit states {kit.episodes or 'all'} episodes with {kit.draws} draws, and has {most}; expected as "
                "many as it states; make it again"
            )
    test = draw()
    if test.manifest.sha256 != kit.test:
        raise RecordError(
            f"these data give the test {test.manifest.sha256[:16]}, but the kit is of the test {kit.test[:16]}; "
            "expected the data and lists (--lists) from which the kit was made, or its manifest (--manifest)"
        )
    return test
