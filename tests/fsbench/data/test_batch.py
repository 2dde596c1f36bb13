"""Batches of episodes: distinct images once, ragged support sets padded and taken apart again."""

import pickle
from dataclasses import replace

import pytest
import torch

from fsbench.data.batch import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EpisodeBatch,
    Hints,
    Truth,
    _normal_values,
    collate,
    image_key,
    normalise,
)


def episode(number: int, names: list[str], ways: int, shots: int) -> EpisodeBatch:
    """An episode whose query is the first of `names`; image i is filled with i."""
    support = torch.arange(ways * shots).reshape(1, ways, shots) % (len(names) - 1) + 1
    return EpisodeBatch(
        images=torch.stack([torch.full((3, 4, 4), int(name[1:]), dtype=torch.uint8) for name in names]),
        image_names=names,
        query=torch.zeros(1, dtype=torch.int64),
        support=support,
        support_labels=torch.randint(0, 2, (1, ways, shots, 4, 4), dtype=torch.uint8) + 1,
        valid=torch.ones(1, ways, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[5 + number, 6]]),
        episodes=torch.tensor([number]),
        truth=Truth(
            [torch.full((5 + number, 6), number, dtype=torch.uint8)],
            torch.ones(1, ways, dtype=torch.bool),
            torch.arange(1, ways + 1)[None],
        ),
    )


def test_images_that_episodes_share_are_there_once():
    batch = collate([episode(0, ["i1", "i2"], 1, 1), episode(1, ["i2", "i1", "i3"], 1, 2)])
    assert batch.image_names == ["i1", "i2", "i3"]
    assert batch.query.tolist() == [0, 1]
    assert batch.support.tolist() == [[[1, 0]], [[0, 2]]]  # padded with row 0
    assert batch.valid.tolist() == [[[True, False]], [[True, True]]]
    assert batch.images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_a_key_names_the_contents_of_an_image():
    image = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    others = [image.flip(0), image.view(3, 2, 8), image.view(torch.int8), image.float()]
    keys = {image_key(one) for one in (image, *others)}
    assert len(keys) == 5 and image_key(image.clone()) in keys
    assert image_key(image, others[0]) != image_key(image, others[1]) != image_key(image)


def test_images_are_joined_by_their_contents_whatever_their_names():
    one, other = episode(0, ["i1", "i2"], 1, 1), replace(episode(1, ["i2", "i3"], 1, 1), image_names=["i1", "i2"])
    batch = collate([one, other])
    assert batch.image_names == ["i1", "i2", "i2"] and batch.image_keys == [image_key(image) for image in batch.images]
    assert batch.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert (batch.query.tolist(), batch.support.flatten().tolist()) == ([0, 1], [1, 2])


def test_keys_are_made_once_and_anew_for_other_images(monkeypatch):
    batch, made = collate([episode(0, ["i1", "i2"], 1, 1), episode(1, ["i2", "i3"], 1, 1)]), []
    monkeypatch.setattr("fsbench.data.batch.image_key", lambda *images: made.append(0) or image_key(*images))
    keys = batch.image_keys
    moved = pickle.loads(pickle.dumps(batch)).to("cpu", copy=True)  # as from a process that loads
    for same in (*moved.without_truth().split(), moved.way(0)):
        assert same.image_keys == keys and not made
    assert replace(moved, images=batch.images + 1).image_keys == [image_key(image) for image in batch.images + 1]
    moved.images = batch.images.flip(0)
    assert moved.image_keys == keys[::-1]


def test_equal_images_of_other_photos_have_other_keys():
    """The same image of S pixels, of photos of two sizes; a third of another one."""
    photos = [torch.full((3, side, side), value, dtype=torch.uint8) for side, value in ((8, 1), (9, 1), (8, 1))]
    items = []
    for number, photo in enumerate(photos):
        items.append(episode(number, ["i1", "i2"], 1, 1))
        items[-1].hints = [Hints(photo, [[photo]])]
    keys = [item.image_keys for item in items]
    assert keys[0] == keys[2] and not set(keys[0]) & set(keys[1])
    batch = collate(items)
    assert len(batch.images) == 4 and batch.query.tolist() == [0, 2, 0]
    assert [tuple(batch.photo(row).shape) for row in batch.query.tolist()] == [(3, 8, 8), (3, 9, 9), (3, 8, 8)]


def test_split_gives_back_what_was_collated():
    singles = [episode(0, ["i1", "i2"], 1, 1), episode(1, ["i4", "i2", "i3"], 3, 2), episode(2, ["i9", "i1"], 2, 1)]
    for single, part in zip(singles, collate(singles).split(), strict=True):
        for rows in ("query", "support"):
            images = [s.images[getattr(s, rows)] for s in (single, part)]
            assert torch.equal(*images)
        assert torch.equal(single.support_labels, part.support_labels)
        assert torch.equal(single.query_sizes, part.query_sizes) and torch.equal(single.episodes, part.episodes)
        assert torch.equal(single.known_truth().classes, part.known_truth().classes)
        assert torch.equal(single.known_truth().label_maps[0], part.known_truth().label_maps[0])


def test_photos_belong_to_their_rows_whatever_the_numbers_of_shots():
    """Ways of one and of two shots, in a batch with an episode of three."""
    single, names = episode(0, ["i5", "i1", "i2", "i3"], 2, 2), (("i1",), ("i2", "i3"))
    single.support[:] = torch.tensor([[[1, 0], [2, 3]]])
    single.valid[0, 0, 1] = False
    photos = {name: torch.full((3, 9, 7), int(name[1:]), dtype=torch.uint8) for name in single.image_names}
    single.hints = [Hints(photos["i5"], [[photos[name] for name in way] for way in names])]
    other = episode(1, ["i7", "i8"], 1, 3)
    other.hints = [Hints(photos["i5"], [[photos["i5"]] * 3])]
    for part in (single, next(collate([single, other]).split())):
        for name in single.image_names:
            assert torch.equal(part.photo(part.image_names.index(name)), photos[name]), name
        for number, way in enumerate(names):
            rows = part.support[0, number][part.valid[0, number]].tolist()
            assert [int(part.way(number).photo(row)[0, 0, 0]) for row in rows] == [int(name[1:]) for name in way]


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 3, 5, 7), (0, 3, 4, 4), (1, 3, 1, 1)])
def test_normalising_is_plain_arithmetic_in_every_bit(shape):
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    colours = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if shape == (3, 16, 16):
        colours = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)  # all that there are
    for images in (colours, colours.transpose(-1, -2), colours.float(), colours.float() + 0.37):
        kept = images.clone()
        assert torch.equal(normalise(images), (images.float() / 255 - mean) / std)
        assert torch.equal(images, kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_normalised_images_do_not_depend_on_the_default_type(dtype):
    colours = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inputs = colours, colours.float()
    expected = [normalise(images) for images in inputs]
    torch.set_default_dtype(dtype)
    try:
        _normal_values.cache_clear()
        found = [normalise(images) for images in inputs]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(image.dtype == torch.float32 for image in found)
    assert all(torch.equal(image, other) for image, other in zip(found, expected, strict=True))


def test_void_is_no_foreground_of_a_support():
    batch = episode(0, ["i7", "i2"], 1, 1)
    batch.support_labels[:] = torch.tensor([0, 1, 255, 0], dtype=torch.uint8)
    assert batch.support_masks.float().mean() == 0.25


def test_batches_move_as_one():
    moved = collate([episode(0, ["i1", "i2"], 1, 1)]).to("meta")
    assert moved.images.is_meta and moved.known_truth().label_maps[0].is_meta
