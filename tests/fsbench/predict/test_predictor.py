"""Predictions equal the evaluation's, in bits; supports are encoded once; large photos and masks stay bounded."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import fsbench
from fsbench.base.errors import CheckpointError, DataError, SettingsError
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.predict.result import decimal, palette
from fsbench.predict.supports import Support, read_supports
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_segmentation
from fsbench.results.pictures.masks import paint_slots
from fsbench.runner.engine.answering import evaluate_batch
from fsbench.runner.engine.machine.meter import Meter, release_memory, resident_mib
from fsbench.scores.answers import presence_from_mask


@pytest.fixture(scope="module")
def built() -> fsbench.Predictor:
    return fsbench.Predictor("prototype", dataset="demo")


@pytest.fixture
def demo(built) -> fsbench.Predictor:
    """A predictor of this test alone."""
    return copy.deepcopy(built)


@pytest.fixture(scope="session")
def emat(tmp_path_factory) -> str:
    """An untrained checkpoint of EMAT as it is on the demo."""
    from fsbench.runner.config.run_config import RunConfig

    torch.manual_seed(0)
    method = RunConfig("emat", "demo").parse(build=False).build_method()
    path = tmp_path_factory.mktemp("emat") / "emat.ckpt"
    torch.save({"state_dict": method.state_dict()}, path)
    return str(path)


def an_episode(data: Folder) -> Episode:
    """2-way 2-shot of images of several sizes."""
    pairs = pair_list(data, "val", 0)
    first, second = list(pairs.images_of)[:2]
    return Episode(
        0, pairs.images_of[first][5], first, (first, second), (pairs.images_of[first][:2], pairs.images_of[second][:2])
    )


@pytest.mark.parametrize("name", ["prototype", "emat", "fssdino", "linear_probe_dense", "seggpt", "universeg"])
def test_a_prediction_is_the_evaluations(blocks_folder, emat, name):
    """The same supports and query through the data module's path and through files a user names."""
    torch.manual_seed(3)
    predictor = fsbench.Predictor(name, dataset="demo", checkpoint=emat if name == "emat" else None)
    data = Folder(str(blocks_folder))
    episode = an_episode(data)
    resize = "bicubic" if name == "seggpt" else "protocol"
    batch = load_episode(data, episode, LoadingConfig(predictor.image_size, input_resize=resize))
    with torch.inference_mode():
        (evaluated,) = evaluate_batch(predictor.method, load_segmentation("fscs"), batch)
    for number, shots in zip(episode.classes, episode.supports, strict=True):
        texts = [f"{data.image_path(shot)}:{data.label_file(shot)}" for shot in shots]
        predictor.add(read_supports(texts, f"{number}=class {number}")[0])
    (result,) = predictor(data.image_path(episode.query))
    assert (result.label_map > 0).any()
    np.testing.assert_array_equal(result.label_map, evaluated.label_map)
    assert [presence.present for presence in result.classes] == evaluated.decided.tolist()
    assert [presence.score for presence in result.classes] == evaluated.score.tolist()
    pixels, share = presence_from_mask(evaluated.label_map, 2)
    assert [presence.pixels > 0 for presence in result.classes] == pixels.tolist()
    assert [presence.pixels / result.label_map.size for presence in result.classes] == pytest.approx(share.tolist())
    own = name in ("prototype", "emat", "seggpt")
    assert predictor.score_meaning.startswith("how sure the method is" if own else "share of the photo")


def test_supports_are_encoded_once_and_queries_are_forgotten(blocks_folder, demo, monkeypatch):
    data = Folder(str(blocks_folder))
    names = sorted(p.name for p in (blocks_folder / "JPEGImages").iterdir())[:9]
    paths = [blocks_folder / "JPEGImages" / name for name in names]
    masks = [data.label_map(path.stem) for path in paths]
    demo.support("first", list(zip(paths[:3], [m == m.max() for m in masks[:3]], strict=True)))
    demo.support("second", [(paths[0], masks[0] > 0)])
    encoded = []
    encode = demo.method.backbone.encode
    monkeypatch.setattr(demo.method.backbone, "encode", lambda pixels: encoded.append(1) or encode(pixels))
    kept = []
    for _result in demo(paths[3:]):
        kept.append(demo.method.backbone.cache.bytes)
    assert len(encoded) == 3 + 6  # one of the supports shows both classes
    assert len(set(kept)) == 1 and kept[0] == 3 * 16 * 16 * 96 * 4  # the supports' tokens


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 1
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    pixels[mask == 1] = (220, 40, 30)
    return pixels, mask


def blocks(*placed: tuple[int, tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A photo with blocks of colours, placed from the left, and their numbers."""
    pixels, labels = np.full((96, 128, 3), 90, np.uint8), np.zeros((96, 128), np.uint8)
    for number, (left, color) in enumerate(placed, 1):
        pixels[30:66, left : left + 30] = color
        labels[30:66, left : left + 30] = number
    return pixels, labels


def test_supports_of_equal_names_are_told_apart(demo):
    """Arrays are named by numbers, which begin anew."""
    (photo, mask), query = scene(60, 80), blocks((20, (220, 40, 30)), (70, (30, 40, 220)))[0]
    other = np.where(mask[..., None] == 1, np.uint8([30, 40, 220]), photo)
    found = [demo.clear().support("block", [(one, mask)]).predict(query).label_map for one in (photo, other, photo)]
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])


def test_arrays_are_the_callers_again_and_255_beside_1_is_void(demo):
    photo, mask = scene(96, 128)
    expected = demo.support("block", [(photo, mask > 0)]).predict(photo).label_map
    buffer, void = photo.copy(), (mask > 0).astype(np.uint8)
    void[0, void[0] == 0] = VOID
    demo.clear().support("block", [(buffer, void)])
    buffer[:] = 0
    np.testing.assert_array_equal(demo.predict(photo).label_map, expected)
    assert demo.supports[0].labels.tolist() == void.tolist()


def test_arrays_may_be_views_and_read_only(demo):
    """As OpenCV's channels turned round, and as PIL's own pixels."""
    (pixels, mask), other = scene(60, 80), np.full((20, 20, 3), 7, np.uint8)
    demo.support("block", [(pixels, mask)]).negative([other])
    expected, identity = demo.predict(pixels).label_map, demo.identity
    views = [np.ascontiguousarray(one[..., ::-1])[..., ::-1] for one in (pixels, other)]
    read_only = [np.asarray(Image.fromarray(one)) for one in (pixels, other)]
    assert views[0].strides[-1] < 0 and not read_only[0].flags.writeable
    for photo, without in (views, read_only):
        demo.clear().support("block", [(photo, mask)]).negative([without])
        np.testing.assert_array_equal(demo.predict(photo).label_map, expected)
        assert demo.identity == identity


@pytest.mark.parametrize("name", ["prototype", "fssdino"])  # ways that compete, and ways by themselves
def test_what_is_not_it_becomes_background(name):
    red, orange = (220, 40, 30), (230, 120, 40)
    predictor = fsbench.Predictor(name, dataset="demo", device="cpu").support("block", [blocks((50, red))])
    query, truth = blocks((15, red), (80, orange))
    before = predictor.predict(query)
    assert (before.label_map[truth == 2] == 1).mean() > 0.8 and predictor.share_in_negatives() is None
    identity = predictor.identity
    predictor.negative([blocks((45, orange)), np.zeros((9, 9, 3), np.uint8)])
    after = predictor.predict(query)
    assert (after.label_map[truth == 1] == 1).mean() > 0.8 and (after.label_map[truth == 2] == 0).all()
    assert predictor.classes == ("block",) and len(after.classes) == 1 and set(np.unique(after.label_map)) == {0, 1}
    assert predictor.share_in_negatives() is None and predictor.identity != identity
    predictor.negative([blocks((45, orange))])
    assert predictor.share_in_negatives() is None, "the same photo again is no second one"
    predictor.negative([blocks((60, orange))])
    assert predictor.share_in_negatives() == 0 and len(predictor.negatives) == 4
    if name == "fssdino":  # which decides each way by itself: the mask is what it was, but for what the negative takes
        assert not ((after.label_map == 1) & (before.label_map == 0)).any()


def test_a_method_of_a_fixed_number_of_shots_has_no_share_in_negatives(demo, monkeypatch):
    """One photo of two shows the class and what is not it, so that a single support is left without it."""
    red, orange = (220, 40, 30), (230, 120, 40)

    def takes_two_shots(test: int, training: int | None) -> None:
        if test != 2:
            raise SettingsError("takes 2 shots")

    monkeypatch.setattr(demo.method, "check_shots", takes_two_shots)
    pixels, labels = blocks((15, red), (80, orange))
    demo.support("block", [(pixels, labels == 1), blocks((50, red))])
    demo.negative([(pixels, labels == 2), blocks((45, orange))])
    assert demo.share_in_negatives() is None and demo.leave_one_out()["block"].problem == "takes 2 shots"
    assert demo.predict(pixels).label_map.any(), "its supports are back"


def test_masks_of_large_photos_are_enlarged(demo):
    demo.support("block", [scene(96, 128)])
    pixels, mask = scene(300, 400)
    whole = demo.predict(pixels)
    demo.max_pixels = 75 * 100
    small = demo.predict(pixels)
    assert small.label_map.shape == whole.label_map.shape == (300, 400)
    np.testing.assert_array_equal(small.label_map, resize_labels(small.label_map[::4, ::4], 300, 400))
    both, either = (small.mask("block") & (mask == 1)).sum(), (small.mask("block") | (mask == 1)).sum()
    assert both / either > 0.5


@pytest.mark.slow(6)
def test_a_huge_photo_takes_bounded_memory(demo, tmp_path):
    """80 megapixels are 229 MiB of RGB, of which PIL holds 3.4 times as much while it decodes a PNG; no more comes on
    top."""
    Image.new("RGB", (10_000, 8_000), (90, 90, 90)).save(tmp_path / "huge.png", compress_level=1)
    demo.support("block", [scene(96, 128)])
    demo.max_pixels = 1_000_000
    demo.predict(scene(96, 128)[0])  # what a process needs for its first photo alone is no matter of the photo's size
    release_memory()
    before, meter = resident_mib(), Meter(torch.device("cpu"))
    (result,) = demo(tmp_path / "huge.png")
    assert result.label_map.shape == (8_000, 10_000) and result.preview.shape == (1280, 1600, 3)
    assert meter.peak_mib - before < 3.5 * 229


def test_absent_classes_can_be_removed(demo):
    demo.support("block", [scene(96, 128)])
    pixels, _ = scene(60, 80)
    demo.method.theta = 2.0  # nothing is ever present
    (presence,) = demo.predict(pixels).classes
    assert not presence.present and presence.pixels > 0 and str(presence) == f"block {presence.pixels} pixels"
    marked = f"{presence.pixels} pixels are labelled as it"
    assert str(replace(presence, tells=True)) == f"block not present ({decimal(presence.score)}; but {marked})"
    demo.only_present = True
    result = demo.predict(pixels)
    assert not result.label_map.any() and str(result.classes[0]) == "block no pixels"
    assert str(replace(result.classes[0], tells=True)) == f"block not present ({decimal(presence.score)})"


def test_pictures_show_what_was_found(demo, tmp_path):
    demo.support("block", [scene(96, 128)])
    pixels, _ = scene(60, 80)
    result = demo.predict(pixels)
    (said,) = result.save(tmp_path).classes
    with Image.open(tmp_path / "labels" / "photo.png") as labels:
        assert labels.mode == "P" and labels.getpalette()[:6] == [0, 0, 0, *palette()[1].tolist()]
        np.testing.assert_array_equal(np.asarray(labels), result.label_map)
    overlay = np.asarray(result.overlay()).astype(int)
    assert overlay.shape == (60 + 20, 80, 3)
    np.testing.assert_array_equal(overlay[:60], paint_slots(pixels, result.label_map), "the drawing of all pictures")
    border = (overlay[:60] == palette()[1]).all(-1)
    assert border.any() and (result.label_map[border] == 1).all() and (result.label_map[~border] == 1).any()
    assert (overlay[60:] == palette()[1]).all(-1).sum() > 80, "its color in the legend"
    assert said.pixels == (result.label_map == 1).sum() and (tmp_path / "overlays/photo.jpg").is_file()


def test_what_does_not_fit_is_said_in_one_line(demo, emat, tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="there is no support"):
        demo.predict(scene(9, 9)[0])
    with pytest.raises(SettingsError, match="unknown method 'elephant'"):
        fsbench.Predictor("elephant")
    with pytest.raises(SettingsError, match="device is 'tpu9x'"):
        fsbench.Predictor(dataset="demo", device="tpu9x")
    with pytest.raises(SettingsError, match="not a multiple of the backbone's patch size"):
        fsbench.Predictor(dataset="demo", image_size=121)
    with pytest.raises(SettingsError, match=r"of its 4000000 tokens .*; choose an image_size of at most \d+"):
        fsbench.Predictor(dataset="demo", image_size=16_000)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        fsbench.Predictor("emat", dataset="demo", checkpoint=tmp_path / "absent.ckpt")
    with pytest.raises(CheckpointError, match="cannot be used with this model"):
        fsbench.Predictor("emat_seg", dataset="demo", checkpoint=emat)
    with pytest.raises(DataError, match=r"has the shape \(8, 9, 3\) and its mask \(9, 9\)"):
        demo.support("x", [(np.zeros((8, 9, 3), np.uint8), np.ones((9, 9)))])
    ones = np.ones((8, 9))
    for pixels in (np.zeros((8, 9)), np.zeros((8, 9, 3)), np.zeros((8, 9, 4), np.uint8)):
        for call in (demo.predict, lambda one: demo.support("x", [(one, ones)]), lambda one: demo.negative([one])):
            with pytest.raises(DataError, match=rf"{pixels.dtype} of shape \(8, 9"):
                call(pixels)


def test_a_broken_photo_is_told(demo, tmp_path):
    demo.support("block", [scene(96, 128)])
    Image.fromarray(scene(60, 80)[0]).save(tmp_path / "b.png")
    (tmp_path / "a.jpg").write_text("no photo")
    refused: list[str] = []
    assert [result.image_name for result in demo(tmp_path, refused)] == ["b.png"]
    assert len(refused) == 1 and "a.jpg cannot be decoded" in refused[0]
    with pytest.raises(DataError, match=r"a\.jpg"):
        list(demo(tmp_path))


@pytest.mark.slow(1)
def test_a_method_that_takes_class_names_is_told_those_of_the_supports(monkeypatch):
    predictor = fsbench.Predictor("sam3_canvas_names", dataset="demo")
    photo, mask = np.full((40, 60, 3), 90, np.uint8), np.zeros((40, 60), np.uint8)
    mask[5:20, 10:30] = 1
    predictor.support("red cat", [(photo, mask)]).support("dog", [(photo[::-1].copy(), mask)])
    asked = []
    concept = predictor.method.backbone.concept
    monkeypatch.setattr(
        predictor.method.backbone, "concept", lambda text, *boxes: asked.append(text) or concept(text, *boxes)
    )
    assert predictor.predict(photo).label_map.shape == (40, 60)
    assert asked == ["red cat", "dog"]


def test_a_labelled_image_that_shows_no_class_is_a_negative(demo):
    pixels, mask = scene(60, 80)
    empty = Support("b", scene(50, 70)[0], np.zeros((50, 70), np.uint8), {})
    demo.add([Support("a", pixels, mask, {1: "block"}), empty])
    assert [one.image_name for one in demo.supports] == ["a"] and demo.negatives == [empty]
