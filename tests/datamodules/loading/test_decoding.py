"""The memory of decoded files: bounded, never wrong, and invisible in what episodes hold."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch
from fsbench.data.decoding import DecodedImageCache
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.kinds.mask_folder import MaskFolder
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.protocols.view import View
from fsbench.runner.engine.machine.meter import resident_mib
from tests.data_modules import episodic

NAMES = [f"image_{i:03d}" for i in range(24, 36)]


def held_bytes(files: DecodedImageCache) -> int:
    return sum(kept.value.nbytes for entries in files.cache._kinds.values() for kept in entries.values())


def parts(batch: EpisodeBatch) -> list[Tensor]:
    truth = batch.known_truth()
    return [batch.images, batch.support, batch.support_labels, batch.query_sizes, *truth.label_maps, truth.presence]


@given(names=st.lists(st.sampled_from(NAMES), max_size=40), max_bytes=st.integers(0, 40_000))
@settings(max_examples=25, deadline=None)
def test_the_bound_holds_and_what_is_kept_is_right(dataset, names, max_bytes):
    """An image takes 3 · 32 · 32 bytes and a label map 1600 to 4096: none, some or all fit."""
    files, fresh = (LoadingConfig(32, cache_bytes=n).files(dataset) for n in (max_bytes, 0))
    for name in names:
        (image, labels), (expected_image, expected_labels) = files.decoded(name), fresh.decoded(name)
        assert torch.equal(image, expected_image)
        np.testing.assert_array_equal(labels, expected_labels)
        assert held_bytes(files) <= max_bytes and held_bytes(fresh) == 0


def test_a_file_is_decoded_once(dataset, monkeypatch):
    read = []
    label_map = dataset.label_map
    monkeypatch.setattr(dataset, "label_map", lambda name: read.append(name) or label_map(name))
    files = LoadingConfig(32, cache_bytes=10**7).files(dataset)
    for name in NAMES * 3:
        files.decoded(name)
    assert read == NAMES and (files.cache.hits, files.cache.misses) == (4 * len(NAMES), 2 * len(NAMES))


@pytest.mark.parametrize("resize", ["pil", "cv2"])
def test_episodes_do_not_show_what_was_kept(dataset, resize):
    """Episodes that are loaded twice, and changed in between by whoever got them, are those of a fresh loader."""
    config = LoadingConfig(40, View(resize, "input"), cache_bytes=10**7)
    files = config.files(dataset)
    manifest = episodic(dataset, image_size=40, way=2, shot=2, workers=0, episodes=12).manifest
    for episode in manifest.episodes * 2:
        batch = load_episode(dataset, episode, config, files)
        for mine, expected in zip(parts(batch), parts(load_episode(dataset, episode, config)), strict=True):
            assert torch.equal(mine, expected)
            mine.zero_()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_size_of_the_memory_changes_no_batch(dataset, workers):
    settings = {"image_size": 64, "episodes": 12, "batch_size": 4, "workers": workers}
    plain, kept = (episodic(dataset, **settings, cache_mib=n) for n in (0, 1))
    for a, b in zip(plain.test_dataloader(), kept.test_dataloader(), strict=True):
        assert a.image_names == b.image_names
        assert all(torch.equal(x, y) for x, y in zip(parts(a), parts(b), strict=True))


def test_the_memory_is_shared_by_the_workers(dataset):
    share = [episodic(dataset, workers=w, episodes=2, cache_mib=6).test_dataloader().dataset.files for w in (0, 1, 2)]
    assert [files.cache.max_bytes for files in share] == [6 * 2**20, 6 * 2**20, 3 * 2**20]
    with pytest.raises(SettingsError, match="cache_mib is -1"):
        episodic(dataset, cache_mib=-1)


class Logged(Folder):
    """A data set that writes down which images are decoded, in whatever process."""

    log: Path
    turns_images = False  # nor is a header read
    _colours = {}  # noqa: RUF012
    label_map, count_pixels = MaskFolder.label_map, MaskFolder.count_pixels

    def image_path(self, name):
        with self.log.open("a") as file:
            file.write(f"{name}\n")
        return super().image_path(name)


@pytest.mark.parametrize(("workers", "mib"), [(0, 2), pytest.param(2, 3, marks=pytest.mark.slow(2))])
def test_foresight_never_decodes_more_than_the_order_of_last_use(blocks_folder, tmp_path, workers, mib):
    """One process that loads all images gains; several, each of which sees some batches, lose nothing."""
    dataset = Logged(str(blocks_folder))
    dataset.log = tmp_path / "drawn"
    data = episodic(dataset, image_size=256, shot=2, workers=workers, episodes=60, cache_mib=mib)
    assert data.manifest.episodes  # for which copies of images were looked for
    decoded = {}
    for tells in (True, False):
        dataset.log = tmp_path / f"{tells}"
        loader = data.test_dataloader()
        if not tells:
            loader.dataset.next_shown = {}
        assert len(list(loader)) > workers
        decoded[tells] = len(dataset.log.read_text().split())
    assert decoded[True] < decoded[False] if workers == 0 else decoded[True] <= decoded[False]


@pytest.mark.slow(1)
def test_memory_stays_flat(dataset):
    """300 episodes of images that need ten times the bound: 64 MiB pass through a memory of 1 MiB."""
    data = episodic(dataset, image_size=256, workers=0, episodes=100, cache_mib=1)
    loaded = data.test_dataloader().dataset
    for i in range(100):
        loaded[i]
    before = resident_mib()
    for i in range(300):
        loaded[i % 100]
    assert held_bytes(loaded.files) <= 2**20
    assert resident_mib() - before < 16
