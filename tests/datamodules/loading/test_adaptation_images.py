"""Items of an adaptation: by (seed, epoch, item) alone, from the test's own pool, a changed support as the query."""

import random
from collections import Counter

import numpy as np
import pytest
import torch

from fsbench.base.errors import DataError, SettingsError
from fsbench.core.adaptation import Adaptation
from fsbench.core.query_changes import QueryChanges
from fsbench.data.transforms import RESIZES
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.loading.items import labelled_image
from fsbench.datamodules.options import EpisodicTest
from tests.drawn_volumes import draw_prepared


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "small"
    drawn_dataset(seed=3, train=20, val=60).make(root)
    return Folder(str(root))


def items(dataset, shot=1, seed=0, protocol="hsnet", **settings):
    data = EpisodicDataModule(dataset, EpisodicTest(protocol=protocol, shot=shot), image_size=32, seed=seed)
    return data.adaptation_images(Adaptation(**settings))


def test_classes_take_turns_and_images_are_of_the_tests_pool(scenes):
    found = items(scenes, shot=2, epochs=3)
    pool = found.pool
    assert found.per_epoch == len(pool.class_ids) == 5 and found.steps == 3
    for epoch in range(3):
        episodes = found.epoch(epoch)
        assert [one.classes[0] for one in episodes] == list(pool.class_ids)
        assert all(set(one.supports[0]) <= set(pool.images_of[one.classes[0]]) for one in episodes)
        assert all(one.query not in one.supports[0] for one in episodes)
    seen = {number: {n for c, names in found.drawn if c == number for n in names} for number in pool.class_ids}
    assert found.images_a_class == max(map(len, seen.values())) > 2
    assert Counter(number for number, _ in found.drawn) == dict.fromkeys(pool.class_ids, 3)


def test_an_item_depends_on_seed_epoch_and_number_alone(scenes):
    first, again, other = items(scenes, epochs=20), items(scenes, epochs=2), items(scenes, seed=1, epochs=20)
    assert first.episode(1, 3) == again.episode(1, 3)
    assert [first.episode(e, 3) for e in range(20)] != [other.episode(e, 3) for e in range(20)]
    assert len({first.episode(e, 3).supports for e in range(20)}) > 1
    assert first.hashes["items_sha256"] != other.hashes["items_sha256"] != again.hashes["items_sha256"]


def test_the_query_is_a_changed_support_with_its_mask(scenes):
    found = items(scenes, shot=2, epochs=2, batch_size=3)
    one, two = list(found.batches(1))
    assert (len(one), len(two)) == (3, 2)
    alone = found.load(1, found.episode(1, 4))
    assert torch.equal(two.images[two.query[1]], alone.images[alone.query[0]])
    chosen = alone.image_names[int(alone.query[0])]
    rng = random.Random(repr((0, "adaptation", 1, 4)))
    supports = found.episode(1, 4).supports[0]
    assert supports[rng.randrange(2)] == chosen
    number = found.episode(1, 4).classes[0]
    image, label = QueryChanges()(*labelled_image(scenes, chosen, [number]), rng)
    resize_image, resize_labels = RESIZES["pil"]
    assert torch.equal(alone.images[alone.query[0]], resize_image(image, 32))
    assert np.array_equal(alone.known_truth().label_maps[0].numpy(), resize_labels(label, 32, 32))
    assert alone.support_labels.shape == (1, 1, 2, 32, 32) and not alone.recurs


def test_a_number_of_items_takes_the_first_of_a_list_of_queries(scenes):
    found = items(scenes, items=7)
    pairs = found.pool.pairs
    assert found.pool.query_sampling == "sequential"
    assert [(one.query, one.classes[0]) for one in found.epoch(0)] == list(pairs[:7])


def test_a_class_of_one_image_is_refused(scenes):
    found = items(scenes)
    number = found.pool.class_ids[0]
    lonely = type(found)(
        scenes,
        type(found.pool)(found.pool.pairs, {number: found.pool.images_of[number][:1]}, [number], "class_first"),
        1, 0, found.adaptation, found.config,
    )  # fmt: skip
    with pytest.raises(DataError, match="has one image in the test's pool, and an adaptation draws others beside it"):
        lonely.epoch(0)


def test_a_protocol_without_lists_of_images_has_no_pool(scenes):
    with pytest.raises(SettingsError, match="the protocol fss_sam3 has no such pool; choose the protocol cdfss_ifa"):
        items(scenes, protocol="fss_sam3", epochs=1)


def test_slices_as_they_were_measured_have_no_colours_to_change(tmp_path):
    dataset = ChaosT2(str(draw_prepared(tmp_path, slices=3, side=32)))

    def data(**resized):
        return EpisodicDataModule(dataset, EpisodicTest(protocol="hsnet", fold=5), image_size=32, **resized)

    (batch,) = data().adaptation_images(Adaptation(epochs=1)).batches(0)
    assert batch.images.dtype == torch.uint8
    with pytest.raises(SettingsError, match=r"slices of chaost2 with input_resize intensities have none; leave --data"):
        data(input_resize="intensities").adaptation_images(Adaptation())
    measured = np.zeros((8, 8, 3), dtype=np.float32)
    with pytest.raises(SettingsError, match="those of float32 images are none, expected 8 bits"):
        QueryChanges()(measured, np.zeros((8, 8), dtype=np.uint8), random.Random(0))
