"""What a notebook shows of an episode: images and the supports' labels, and nothing that tells of the truth."""

import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fsbench.protocols.notebook_view import DARK, HEIGHT, LIGHT, MOST_SUPPORTS, outlined
from fsbench.protocols.test import Test
from fsbench.runner.config.tests import load_test


@pytest.fixture(scope="module")
def blocks(blocks_folder) -> Test:
    return load_test("folder", root=blocks_folder, way=2, shot=2, episodes=3)


def pictures(html: str) -> list[np.ndarray]:
    return [
        np.array(Image.open(BytesIO(base64.b64decode(one)))) for one in re.findall(r'base64,([A-Za-z0-9+/=]+)"', html)
    ]


def test_an_outline_lies_around_the_mask():
    mask = np.zeros((HEIGHT, HEIGHT), np.uint8)
    mask[40:60, 50:90], mask[100:, :] = 1, 255
    drawn = outlined(np.full((HEIGHT, HEIGHT, 3), 128, np.uint8), mask)
    light, dark = ((drawn == color).all(-1) for color in (LIGHT, DARK))
    inner = np.zeros((HEIGHT, HEIGHT), bool)
    inner[40:60, 50:90] = True
    inner[41:59, 51:89] = False
    assert np.array_equal(light, inner) and dark.sum() == 2 * (20 + 40)
    boxed = outlined(np.full((HEIGHT, HEIGHT, 3), 128, np.uint8), None, (50, 40, 40, 20))
    assert np.array_equal(boxed, drawn)


def test_an_episode_shows_its_query_as_it_is_and_its_supports(blocks):
    shown = pictures(blocks[0]._repr_html_())
    assert len(shown) == 1 + 2 * 2 and all(len(one) == HEIGHT for one in shown)
    assert np.array_equal(shown[0], outlined(blocks[0].query, None))
    support = blocks[0].supports[1][1]
    assert np.array_equal(shown[-1], outlined(support.image, support.mask))
    assert pictures(blocks._repr_html_())[0].shape == shown[0].shape


def test_the_truth_moves_nothing_of_it(blocks, monkeypatch):
    def refused(number: int) -> None:
        raise AssertionError("the truth was read")

    query, data = blocks.manifest.episodes[0].query, blocks.data
    read = data.label_map
    monkeypatch.setattr(data, "label_map", lambda name: refused(0) if name == query else read(name))
    assert "<img" in blocks[0]._repr_html_()


def test_names_are_escaped_and_many_supports_are_counted(blocks):
    episode = blocks[0]
    odd = replace(episode.supports[0][0], name=episode.supports[0][0].name)
    many = replace(episode, supports=((odd,) * 20,), classes=(1,), query_name=episode.query_name)
    html = many._repr_html_()
    assert html.count("<img") == 1 + MOST_SUPPORTS and "and 8 more supports" in html
    from fsbench.protocols.notebook_view import tiles_html

    name = '<script>"&'
    html = tiles_html(name, [(name, episode.query)], iter(()), 0)
    assert "<script" not in html and html.count("&lt;script&gt;&quot;&amp;") == 3


@pytest.mark.slow(8)
def test_classification_shows_images_in_the_order_of_the_queries(tmp_path):
    test = load_test("demo-cls", root=tmp_path / "demo", way=5, shot=1, episodes=1)
    html = test[0]._repr_html_()
    assert html.count("query ") // 2 >= 5 and html.count("<img") == 5 + 5
    assert not any(name in html for name in test.data.class_names)  # which files are often called by
