"""The data module: what an episode holds, who gets which, and that only (seed, epoch, index) decide."""

import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

import fsbench
from fsbench.base.errors import DataError, SettingsError, user_message
from fsbench.data import decoding
from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels
from fsbench.data.support_annotation import keep_share
from fsbench.data.transforms import resize_image
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading import distributed as shares_module
from fsbench.datamodules.loading.distributed import ContiguousDistributedSampler
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.protocols.episode_rules.vrp import training_steps
from fsbench.protocols.test import Test
from fsbench.protocols.view import View
from tests.data_modules import episodic


@pytest.fixture
def dataset(blocks_folder):
    return Folder(str(blocks_folder))


def module(data, **settings):
    return episodic(data, **{"image_size": 32, "workers": 0, "batch_size": 4, "episodes": 11, **settings})


def exchange(one: Path, other: Path) -> None:
    """Let two files have each other's content; both have the larger size before and after."""
    size = max(one.stat().st_size, other.stat().st_size)
    contents = [path.read_bytes().ljust(size, b"\0") for path in (one, other)]  # decoders stop at the image's end
    for path, content in zip((one, other), contents[::-1], strict=True):
        status = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def mirror(path: Path) -> None:
    """Let a label map show the other side; its bytes are as many as before, of which there are enough."""
    status, content = path.stat(), BytesIO()
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(content, "png")
    path.write_bytes(content.getvalue().ljust(status.st_size, b"\0"))
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", [pytest.param("images", marks=pytest.mark.slow(2)), "label maps"])
def test_exchanged_files_of_equal_sizes_are_others(blocks_folder, tmp_path, kind):
    """For the test, the base classes and the validation apart."""
    root = shutil.copytree(blocks_folder, tmp_path / "blocks")

    def hashes() -> tuple[str, ...]:
        data = module(Folder(str(root)), validation="base")
        return data.files_sha256, data.base_files_sha256, data.validation_files_sha256

    data = module(Folder(str(root)))
    path = data.dataset.image_path if kind == "images" else data.dataset.label_file
    names, size = data.manifest.image_names, 2 * max(file.stat().st_size for file in data.test_files)
    for name in {*names, *data.training_pool.images}:
        path(name).write_bytes(path(name).read_bytes().ljust(size, b"\0"))
    before = hashes()
    test_only = [name for name in names if name not in data.training_pool.images]
    change = exchange if kind == "images" else lambda one, other: [mirror(one), mirror(other)]
    change(path(test_only[0]), path(test_only[-1]))
    after = hashes()
    assert after[1] == before[1] and after[0] != before[0]
    trained = data.training_pool.images
    change(path(trained[0]), path(trained[-1]))
    assert hashes()[0] == after[0] and hashes()[1] != before[1]
    assert [*data.test_files] == [*map(data.dataset.image_path, names), *map(data.dataset.label_file, names)]


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [("fscs", "images"), ("fscs", "label maps"), pytest.param("pfenet", "images", marks=pytest.mark.slow(1)),
     pytest.param("bam_gfss", "label maps", marks=pytest.mark.slow(1))],
)  # fmt: skip
def test_files_of_any_fold_tell_copies_of_the_data_apart(blocks_folder, tmp_path, kind, protocol):
    """A file that no episode shows is changed: the runs of both folds are of the same files, and of another copy."""
    root = Path(shutil.copytree(blocks_folder, tmp_path / "blocks"))

    def tests() -> list[Test]:
        return [fsbench.load_test("folder", root=root, protocol=protocol, fold=fold, episodes=1) for fold in (0, 1)]

    before = tests()
    (copy,) = {test.all_files_sha256 for test in before}
    assert before[0].files_sha256 != before[1].files_sha256
    shown = {name for test in before for name in test.manifest.image_names}
    dataset = before[0].data
    other = next(name for name in dataset.candidates("val") if name not in shown)
    file = dataset.image_path(other) if kind == "images" else dataset.label_file(other)
    file.write_bytes(file.read_bytes() + b"\0")
    after = tests()
    assert [test.files_sha256 for test in after] == [test.files_sha256 for test in before]
    (changed,) = {test.all_files_sha256 for test in after}
    data = module(Folder(str(root)), protocol=protocol, episodes=1)
    assert changed == data.tested.all_files_sha256 != copy


def test_a_method_sees_images_and_supports_resized_by_its_own_rule_and_the_truth_stays(dataset):
    usual, own = module(dataset, protocol="hsnet"), module(dataset, protocol="hsnet", input_resize="bicubic")
    for plain, batch in zip(usual.test_dataloader(), own.test_dataloader(), strict=True):
        for name, image in zip(batch.image_names, batch.images, strict=True):
            expected = Image.open(dataset.image_path(name)).convert("RGB").resize((32, 32))  # bicubic is PIL's default
            assert (image.int() - pil_to_tensor(expected).int()).abs().max() <= 1  # order of the axes, one grey level
        episode = own.manifest.episodes[int(batch.episodes[0])]
        whole = Image.fromarray(dataset.label_map(episode.supports[0][0]))
        small = np.asarray(whole.resize((32, 32), Image.Resampling.NEAREST))
        assert np.array_equal(batch.support_labels[0, 0, 0] == 1, small == episode.classes[0])
        assert torch.equal(batch.known_truth().label_maps[0], plain.known_truth().label_maps[0])
        assert not torch.equal(batch.images, plain.images)
    assert own.test_options == {"input_resize": "bicubic"} and usual.test_options == {}
    framed = LoadingConfig(32, View("frame", frame=32), input_resize="bicubic")  # the truth lies in a frame
    assert framed.resize == "frame"


def test_in_a_letterbox_images_masks_and_the_truth_of_training_lie_alike(dataset):
    """Each pixel is the weighted mean of its neighbours at steps of the inverse factor; the rest is padding."""
    data = module(dataset, protocol="hsnet", input_resize="letterbox")
    batch = next(iter(data.test_dataloader()))
    episode = data.manifest.episodes[int(batch.episodes[0])]
    for name, image in zip(batch.image_names, batch.images, strict=True):
        pixels = np.asarray(Image.open(dataset.image_path(name)).convert("RGB"), dtype=np.float64)
        scale = 32 / max(pixels.shape[:2])
        rows, columns = (int(side * scale) for side in pixels.shape[:2])
        plain = bilinear(pixels, scale, rows, columns)
        np.testing.assert_allclose(image[:, :rows, :columns].permute(1, 2, 0), plain, atol=1e-3)
        outside = torch.ones(32, 32, dtype=torch.bool)
        outside[:rows, :columns] = False
        assert normalise(image)[:, outside].abs().max() < 1e-6
        labels = dataset.label_map(name)
        if name == episode.query:
            assert torch.equal(batch.counted_pixels[0], ~outside)
        else:
            mask = bilinear((labels == episode.classes[0]).astype(np.float64)[..., None], scale, rows, columns)[..., 0]
            clear = np.abs(mask - 0.5) > 1e-6
            assert np.array_equal((batch.support_masks[0, 0, 0, :rows, :columns].numpy())[clear], (mask > 0.5)[clear])
            assert (batch.support_labels[0, 0, 0][outside] == VOID).all()
    trained = next(iter(data.train_dataloader()))
    for truth, inside in zip(trained.known_truth().label_maps, trained.counted_pixels, strict=True):
        assert ((truth == VOID) | inside).all() and truth.shape == (32, 32) and (truth == 1).any()


def bilinear(pixels, scale, rows, columns):
    """Sample (H, W, c) at the centres of `rows` x `columns` pixels whose side is 1 / `scale`."""

    def weights(length, count):
        place = np.clip((np.arange(count) + 0.5) / scale - 0.5, 0, None)
        low = np.minimum(place.astype(int), length - 1)
        matrix = np.zeros((count, length))
        np.add.at(matrix, (np.arange(count), low), 1 - (place - low))
        np.add.at(matrix, (np.arange(count), np.minimum(low + 1, length - 1)), place - low)
        return matrix

    down, across = weights(pixels.shape[0], rows), weights(pixels.shape[1], columns)
    return np.einsum("ry,yxc,kx->rkc", down, pixels, across)


def test_supports_show_all_ways_of_their_episode_where_the_test_asks_for_that(dataset):
    asked, usual = module(dataset, way=2, support_annotation="all_ways"), module(dataset, way=2)
    others = 0
    for batch, plain in zip(asked.test_dataloader(), usual.test_dataloader(), strict=True):
        episode = asked.manifest.episodes[int(batch.episodes[0])]
        assert plain.support_ways is None and torch.equal(batch.support_labels, plain.support_labels)
        for way, names in enumerate(episode.supports):
            labels = resize_labels(dataset.label_map(names[0]), 32, 32)
            expected = sum(slot * (labels == number) for slot, number in enumerate(episode.classes, 1))
            expected[labels == 255] = 255
            assert np.array_equal(batch.support_ways[0, way, 0].numpy(), expected)
            others += int(np.isin(expected, [1, 2]).sum()) - int((expected == way + 1).sum())
    assert others > 0
    joined = next(iter(module(dataset, way=2, support_annotation="all_ways", eval_batch_size=3).test_dataloader()))
    for single, alone in zip(joined.split(), asked.test_dataloader(), strict=False):
        assert torch.equal(single.support_ways, alone.support_ways)
    assert asked.test_options == {"support_annotation": "all_ways"} and usual.test_options == {}
    one_way = module(dataset, support_annotation="all_ways")
    assert one_way.test_options == {} and next(iter(one_way.test_dataloader())).support_ways is None


@pytest.mark.parametrize(
    ("seed", "settings"),
    [(0, {"way": 2, "support_annotation": "all_ways"}), (5, {"protocol": "hsnet", "test_seed": 5, "episodes": 3})],
)
def test_a_share_of_each_supports_object_is_labelled_in_the_test_alone(dataset, seed, settings):
    """Which share follows from the test's seed, and the place in the test."""
    asked, usual = (module(dataset, **settings, **kept) for kept in ({"kept_support": 0.3}, {}))
    for batch, plain in zip(asked.test_dataloader(), usual.test_dataloader(), strict=True):
        number, whole, part = int(batch.episodes[0]), plain.support_labels, batch.support_labels
        for way in range(len(part[0])):
            expected = keep_share(whole[0, way, 0].numpy(), 0.3, (number, way, 0, seed))
            assert np.array_equal(part[0, way, 0].numpy(), expected)
        dropped = part != whole
        assert dropped.any()
        if plain.support_ways is not None:
            assert torch.equal(torch.where(dropped, 255, plain.support_ways), batch.support_ways)
        assert torch.equal(batch.known_truth().label_maps[0], plain.known_truth().label_maps[0])
    assert asked.test_options == usual.test_options | {"kept_support": 0.3}
    learned, whole = (next(iter(each.train_dataloader())).support_labels for each in (asked, usual))
    assert torch.equal(learned, whole)


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_no_share_and_more_than_all_are_refused(dataset, share):
    with pytest.raises(SettingsError, match="above 0, up to 1"):
        module(dataset, kept_support=share)


def test_ways_that_a_setting_adds_to_one_are_told_whatever_is_loaded_together(dataset):
    settings = {"setting": "fully_augmented", "support_annotation": "all_ways"}
    alone, joined = module(dataset, **settings), module(dataset, eval_batch_size=11, **settings)
    assert alone.test_options == joined.test_options == {"support_annotation": "all_ways"}
    assert {len(episode.classes) > 1 for episode in alone.manifest.episodes} == {True, False}
    (batch,) = joined.test_dataloader()
    for single, own in zip(batch.split(), alone.test_dataloader(), strict=True):
        assert torch.equal(single.support_ways, own.support_ways)
        assert own.support.shape[1] > 1 or torch.equal(own.support_ways, own.support_labels)


def test_an_episode_holds_its_files_pixels_and_labels(dataset):
    episode = Episode(7, "image_030", 1, (2, 1), (("image_031", "image_026"), ("image_024", "image_031")))
    batch = load_episode(dataset, episode, LoadingConfig(32))
    assert batch.image_names == ["image_030", "image_031", "image_026", "image_024"]
    image = Image.open(dataset.image_path("image_026")).convert("RGB")
    assert torch.equal(batch.images[batch.support[0, 0, 1]], resize_image(image, 32))
    labels = resize_labels(dataset.label_map("image_031"), 32, 32)
    assert (batch.support_labels[0, 0, 0].numpy() == np.where(labels == 255, 255, labels == 2)).all()
    assert (batch.support_labels[0, 1, 1].numpy() == np.where(labels == 255, 255, labels == 1)).all()
    query = dataset.label_map("image_030")
    truth = batch.known_truth()
    expected = np.select([query == 2, query == 1, query == 255], [1, 2, 255], 0)
    assert (truth.label_maps[0].numpy() == expected).all()
    assert truth.presence[0].tolist() == [(query == 2).any(), (query == 1).any()]
    assert batch.query_sizes.tolist() == [list(query.shape)]


def test_a_way_beyond_the_classes_falls_back_and_says_so(dataset, monkeypatch, capsys):
    data = module(dataset, way=9)
    said = capsys.readouterr().err
    assert said == "fsbench: note: blocks fold 0 has 3 classes: the test is 3-way instead of 9-way\n"
    assert data.test.way == 3 and data.test_words[-1] == "3way1shot-original"
    assert data.manifest.header.way == 3 and all(len(e.classes) == 3 for e in data.manifest.episodes)
    assert data.manifest.sha256 == module(dataset, way=3).manifest.sha256 and capsys.readouterr().err == ""
    monkeypatch.setattr(Folder, "has_published_protocol", True)
    refused = module(dataset, way=9)
    with pytest.raises(SettingsError, match="way 9 is more than the 3 classes of fold 0"):
        refused.manifest  # noqa: B018 - it is drawn
    assert capsys.readouterr().err == ""


def test_presence_is_that_of_the_original_mask_also_in_training(dataset, monkeypatch):
    """A tiny object vanishes from the resized mask while the label stays (fscs-protocol §6)."""
    tiny = np.zeros((60, 60), dtype=np.uint8)
    tiny[31, 31] = 3
    monkeypatch.setattr(dataset, "label_map", lambda name: tiny)
    monkeypatch.setattr(decoding, "check_sizes", lambda *args: None)
    truth = load_episode(
        dataset, Episode(0, "image_030", 3, (3,), (("image_031",),)), LoadingConfig(16, View(query_size="input"))
    ).known_truth()
    assert truth.presence.tolist() == [[True]] and not (truth.label_maps[0] == 1).any()


def test_training_items_depend_on_seed_epoch_and_index_alone(dataset):
    data = module(dataset).train_dataloader().dataset
    again, other = module(dataset).train_dataloader().dataset, module(dataset, seed=1).train_dataloader().dataset
    first = [data[0, i] for i in (5, 2)]
    second = [again[0, i] for i in (2, 5)][::-1]
    for a, b in zip(first, second, strict=True):
        assert a.image_names == b.image_names and torch.equal(a.images, b.images)
    names = [[d[epoch, i].image_names for i in range(12)] for d, epoch in ((data, 0), (data, 1), (other, 0))]
    assert names[0] != names[1] and names[0] != names[2]


def test_a_training_by_another_protocols_lists_leaves_the_test_as_it_is(dataset):
    """pfenet's has an item an image without novel classes, whose class is drawn; hsnet's one for each listed pair."""
    few = dict(empty=False, drop_small=True)  # one image of a class is left by the filter
    usual = module(dataset, protocol="hsnet", **few)
    other = module(dataset, protocol="hsnet", training_protocol="pfenet", filter_novel=True, **few)
    pool = module(dataset, protocol="pfenet", **few).training_pool
    assert other.manifest.sha256 == usual.manifest.sha256 and other.validation_manifest == usual.validation_manifest
    assert other.training_pool.pairs == pool.pairs != usual.training_pool.pairs
    assert len(other.train_dataloader().dataset) == len(pool.images)
    assert other.training_options == {"training_protocol": "pfenet"}  # whose lists are filtered by themselves
    assert other.trained_on["protocol"] == "pfenet"
    same = module(dataset, protocol="pfenet", training_protocol="pfenet", **few)
    assert same.training_options == {}  # the test's own, so the same run as without
    with pytest.raises(SettingsError, match="training_items images takes every training image"):
        module(dataset, training_protocol="pfenet", training_items="images")
    with pytest.raises(SettingsError, match="unknown protocol 'pfenett'"):
        module(dataset, training_protocol="pfenett")


def test_way_shot_and_setting_are_those_of_the_test_alone(dataset):
    """Training and validation are 1-way, 1-shot and original whatever is tested (emat.md §5)."""
    tested = module(dataset, way=2, shot=3, setting="fully_augmented", validation_episodes=8)
    plain = module(dataset, validation_episodes=8)
    header = tested.validation_manifest.header
    assert (header.way, header.shot, header.setting) == (1, 1, "original")
    assert (tested.manifest.header.way, tested.manifest.header.shot) == (2, 3)
    assert tested.validation_manifest.sha256 == plain.validation_manifest.sha256
    ours, theirs = (data.train_dataloader().dataset for data in (tested, plain))
    assert len(ours) == len(theirs)
    for place in range(12):
        one, other = ours[1, place], theirs[1, place]
        assert one.support.shape == (1, 1, 1) and one.image_names == other.image_names
        assert torch.equal(one.support_labels, other.support_labels)
        assert torch.equal(one.known_truth().label_maps[0], other.known_truth().label_maps[0])


def test_novel_validation_takes_the_episodes_of_the_test(dataset):
    """As the authors choose checkpoints: `validation: base` alone keeps the test unseen."""
    for protocol in ("fscs", "hsnet"):
        data = module(dataset, protocol=protocol, episodes=8, validation_episodes=8)
        assert data.validation_manifest.episodes == data.manifest.episodes
        unseen = module(dataset, protocol=protocol, validation="base", validation_episodes=8).validation_manifest
        assert not {c for e in unseen.episodes for c in e.classes} & {1, 2, 3}


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_test_episodes_without_repetition(world, monkeypatch):
    shares = []
    for rank in range(world):
        monkeypatch.setattr(shares_module, "ranks", lambda rank=rank: (rank, world))
        shares.append(list(ContiguousDistributedSampler(11)))
        assert len(ContiguousDistributedSampler(11)) == len(shares[-1])
    assert sorted(i for share in shares for i in share) == list(range(11))


def test_finished_episodes_are_left_out_and_queries_stay_together(dataset):
    data = module(dataset, episodes=40)
    data.done = frozenset(range(0, 40, 2))
    episodes = data.test_dataloader().dataset.episodes
    assert sorted(e.number for e in episodes) == list(range(1, 40, 2))
    queries = [e.query for e in episodes]
    assert len(list(dict.fromkeys(queries))) == sum(a != b for a, b in zip(queries, [None, *queries], strict=False))


def test_workers_load_the_same(dataset):
    alone, others = (list(module(dataset, workers=w, eval_batch_size=3).test_dataloader()) for w in (0, 2))
    for a, b in zip(alone, others, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.support_labels, b.support_labels)


@pytest.fixture
def broken(blocks_folder, tmp_path):
    """A copy of the data set to be damaged."""
    return Folder(str(shutil.copytree(blocks_folder, tmp_path / "copy")))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_named(broken, workers):
    for path in (broken.root / "JPEGImages").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError) as error:
        list(module(broken, workers=workers).test_dataloader())
    message = user_message(error.value)
    assert message.startswith("image ") and "cannot be decoded" in message and "Traceback" not in message


def test_a_mask_of_another_size_is_named_with_its_image(broken):
    data = module(broken)
    query = data.manifest.episodes[0].query
    Image.open(broken.image_path(query)).resize((20, 20)).save(broken.image_path(query))
    with pytest.raises(DataError, match=rf"{query}.*20.*{query}"):
        list(data.test_dataloader())


def test_only_classes_that_the_protocol_calls_novel_are_refused_in_a_checkpoint(dataset, monkeypatch):
    """A generalised test also counts base classes, which its checkpoints may have seen."""
    data = module(dataset)
    names, ids = dataset.class_names, data.manifest.header.class_ids
    assert data.protocol.draw.novel_classes(data.manifest.header) == ids
    seen = {"dataset": dataset.name, "fold": 1, "classes": [names[ids[0] - 1]]}
    with pytest.raises(SettingsError, match=f"include {seen['classes'][0]}: novel classes of fold 0"):
        data.check_unseen(seen, "the checkpoint")
    monkeypatch.setattr(type(data.protocol.draw), "novel_classes", lambda self, header: header.class_ids[1:])
    data.check_unseen(seen, "the checkpoint")


def test_official_streams_draw_as_the_authors_processes_do_whatever_the_seed_and_the_workers(dataset):
    def queries(**settings):
        data = module(dataset, episode_streams="official", empty=False, batch_size=8, **settings)
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(1)
        shown = [[batch.image_names[row] for row in batch.query] for batch in loader]
        return data, shown

    data, shown = queries()
    drawn = [episode.query for episode in training_steps(data.training_pool, 1)]
    assert [name for step in shown for name in step] == drawn and {len(step) for step in shown[:-1]} == {8}
    assert queries(seed=5, workers=2)[1] == shown
    assert data.training_options == {"episode_streams": "official"}
    with pytest.raises(SettingsError, match="draws 1-way episodes whose query shows their class"):
        module(dataset, episode_streams="official", empty=True)
