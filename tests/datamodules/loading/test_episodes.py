"""What protocols make of an episode's files: sizes, resizing, void, and the values that classes have in label maps."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fsbench.data.batch import collate
from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.protocols.view import View
from tests.data_modules import episodic

EPISODE = Episode(0, "image_030", 1, (1,), (("image_031", "image_026", "image_031"),))


def slots(labels):
    return np.select([labels == 1, labels == 255], [1, 255], 0)


def test_hsnet_evaluates_at_the_input_size_with_torchs_nearest(dataset):
    """fss-protocol §4: the label map is resized, then void and class are read from it."""
    batch = load_episode(dataset, EPISODE, LoadingConfig(48, View("pil", "input")))
    for name, found in (
        ("image_030", batch.known_truth().label_maps[0]),
        ("image_026", batch.support_labels[0, 0, 1]),
    ):
        labels = torch.from_numpy(dataset.label_map(name)).float()[None, None]
        expected = F.interpolate(labels, (48, 48), mode="nearest")[0, 0].numpy()
        assert (found.numpy() == slots(expected)).all()
    assert batch.query_sizes.tolist() == [[48, 48]] and batch.images.dtype == torch.uint8
    assert torch.equal(batch.support_labels[0, 0, 0], batch.support_labels[0, 0, 2])  # a support drawn twice


def test_pfenet_resizes_as_opencv_and_evaluates_at_the_original_size(dataset):
    batch = load_episode(dataset, EPISODE, LoadingConfig(48, View("cv2")))
    photo = np.asarray(Image.open(dataset.image_path("image_026")).convert("RGB"), dtype=np.float32)
    row = int(batch.support[0, 0, 1])
    expected = cv2.resize(photo, (48, 48), interpolation=cv2.INTER_LINEAR)
    assert batch.images.dtype == torch.float32
    assert np.array_equal(batch.images[row].numpy(), expected.transpose(2, 0, 1))
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255  # hmnet.md §10.1
    assert np.allclose(batch.pixels(row).numpy(), ((expected - mean) / std).transpose(2, 0, 1), atol=1e-5)
    labels = cv2.resize(dataset.label_map("image_026"), (48, 48), interpolation=cv2.INTER_NEAREST)
    assert (batch.support_labels[0, 0, 1].numpy() == slots(labels)).all()
    query = dataset.label_map("image_030")
    assert (batch.known_truth().label_maps[0].numpy() == slots(query)).all()
    assert batch.query_sizes.tolist() == [list(query.shape)]


class OneValue(Folder):
    """A data set whose label maps say foreground only, as FSS-1000's do: every image shows its own class as 1."""

    def label_map(self, name):
        return (super().label_map(name) > 0).astype(np.uint8)

    def label_values(self, name, classes):
        return [1 if number == int(name[-1]) % 6 + 1 else 254 for number in classes]


def test_a_class_is_read_by_the_value_that_the_image_gives_it(blocks_folder):
    data = OneValue(str(blocks_folder))
    batch = load_episode(data, Episode(0, "image_030", 1, (1, 3), (("image_037",), ("image_032",))), LoadingConfig(32))
    query = data.label_map("image_030")
    assert (batch.known_truth().label_maps[0].numpy() == query).all() and query.any()
    assert batch.known_truth().presence.tolist() == [[True, False]]
    assert not batch.support_masks[0, 0].any()  # image_037 is of class 2, the way's value 254 is nowhere
    assert batch.support_masks[0, 1].any()


@pytest.mark.parametrize(("protocol", "sizes"), [("fscs", "original"), ("hsnet", "input"), ("pfenet", "original")])
def test_the_protocol_decides_how_test_episodes_are_loaded(dataset, protocol, sizes):
    data = episodic(dataset, protocol, image_size=32, workers=0, episodes=6)
    for batch in data.test_dataloader():
        shape = list(dataset.label_map(batch.image_names[int(batch.query[0])]).shape)
        assert batch.query_sizes.tolist() == [[32, 32] if sizes == "input" else shape]
        assert batch.images.dtype == (torch.float32 if protocol == "pfenet" else torch.uint8)
        assert protocol == "fscs" or batch.known_truth().presence.tolist() == [[True]]


@pytest.mark.parametrize("protocol", ["hsnet", "pfenet"])
def test_training_queries_of_segmentation_protocols_show_their_class(dataset, protocol):
    data = episodic(dataset, protocol, image_size=32, workers=0, batch_size=4, drop_small=True)
    batches = list(data.train_dataloader())
    assert all(batch.known_truth().presence.all() for batch in batches)
    classes = {int(number) for batch in batches for number in batch.known_truth().classes.flatten()}
    assert classes <= {4, 5, 6}  # base classes of fold 0
    if protocol == "pfenet":  # no training image shows a novel class (hmnet.md §11.1)
        for batch in batches:
            assert all(not {1, 2, 3} & set(np.unique(dataset.label_map(name))) for name in batch.image_names)


def test_an_episode_without_supports_leaves_the_label_maps_of_others_in_a_batch(dataset):
    config = LoadingConfig(32, annotation="all_ways")
    one = load_episode(dataset, Episode(0, "image_030", 1, (1, 2), (("image_031",), ())), config)
    none = load_episode(dataset, Episode(1, "image_026", 1, (1, 2), ((), ())), config)
    joined = collate([one, none])
    assert torch.equal(joined.support_ways[0], one.support_ways[0]) and not joined.valid[1].any()
    assert [part.support_ways.shape[2] for part in joined.split()] == [1, 0]
