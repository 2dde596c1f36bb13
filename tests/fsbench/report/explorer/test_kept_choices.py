"""A choice of episodes that outlives the page: its address, tags, and manifests that run."""

import json

import numpy as np

from fsbench.episodes.manifest import mismatches, read_manifest
from tests.fsbench.report.explorer.reader import Reader, expect


def test_an_address_shows_the_same_again(reading):
    fragment = (
        "a=m1&b=m0&order=worst&class=2&size=0+500&brush=0+900+0+1000&episode=1.3&layers=truth+errors&split=30&zoom=2"
    )
    with reading(fragment) as reader:
        page = reader.page
        assert page.locator("#a option:checked").inner_text() == "m1"
        assert page.input_value("#order") == "worst" and page.input_value("#split") == "30"
        assert page.inner_text("#zoom-now") == "200 %"
        assert page.inner_text("#viewer-title").startswith("Fold 1, episode 3")
        chosen = {name: page.is_checked(f"#layer-{name}") for name in ("image", "truth", "predicted", "errors", "soft")}
        assert [name for name, there in chosen.items() if there] == ["truth", "errors"]
        first = reader.hash(), reader.shown()
        page.goto(page.get_attribute("#link", "href") and page.url)
        page.reload()
        again = Reader(page, reader.study)
        assert (again.hash(), again.shown()) == first
        page.evaluate("location.hash = '#episode=9.9&brush=a+b&split=900&layers=x&zoom=-1&class='")
        assert again.shown() <= 48 and page.locator("#viewer-empty").is_visible()  # nonsense is left out


def test_tags_stay_and_travel(reading, tmp_path):
    with reading("order=list&episode=0.4&fold=0") as reader:
        page = reader.page
        page.fill("#tag-name", "__proto__")
        page.get_by_role("button", name="Tag the open episode").click()
        page.fill("#tag-name", "<b>first fold</b>")
        page.locator("#tag-all").click()
        reader.settle()
        assert page.inner_text("#tag-said") == "Tagged “<b>first fold</b>”: 24 episodes."
        page.reload()
        reader = Reader(page, reader.study)
        page.get_by_role("group", name="Tag", exact=True).get_by_role("checkbox", name="__proto__").check()
        assert reader.shown() == 1
        page.get_by_role("button", name="Show all").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Export tags").click()
        download.value.save_as(tmp_path / "tags.json")
        text = (tmp_path / "tags.json").read_text()
        assert json.loads(text)["tags"]["<b>first fold</b>"] == [reader.key(place) for place in range(24)]
    with reading() as reader:  # another browser
        assert reader.page.get_by_role("group", name="Tag", exact=True).inner_text().endswith("none yet")
        reader.page.set_input_files("#tag-import", tmp_path / "tags.json")
        expect(reader.page.locator("#tag-said")).to_have_text("25 tags of episodes were taken over.")
        (tmp_path / "tags.json").write_text(text.replace(reader.data["folds"][0]["sha256"], "x").replace(
            reader.data["folds"][1]["sha256"], "y"))  # fmt: skip
        reader.page.set_input_files("#tag-import", tmp_path / "tags.json")
        expect(reader.page.locator("#tag-said")).to_contain_text("other hashes")


def test_a_saved_manifest_is_the_brushed_episodes(reading, index, tmp_path):
    with reading("brush=0+1000+150+1000&class=1&class=4&class=5") as reader:
        page = reader.page
        page.fill("#save-name", "Hard ünits!")
        chosen = (reader.a >= 0) & (reader.b >= 150)
        chosen &= np.array([bool({1, 4, 5} & set(classes)) for classes in reader.columns["classes"]])
        assert 0 < reader.shown() == chosen.sum() < 48
        for button, fold in enumerate(reader.data["folds"]):
            with page.expect_download() as download:
                page.locator("#save-buttons button").nth(button).click()
            assert download.value.suggested_filename == f"hard-nits-fold{fold['fold']}.jsonl"
            path = tmp_path / f"fold{fold['fold']}.jsonl"
            download.value.save_as(path)
            manifest = read_manifest(path)
            places = [place for place in range(24 * button, 24 * button + 24) if chosen[place]]
            assert [episode.index for episode in manifest.episodes] == [reader.columns["index"][p] for p in places]
            asked = {number for episode in manifest.episodes for number in episode.classes}
            assert manifest.class_ids == sorted(asked) and manifest.header["requested"] == len(places)
            assert manifest.header["selection"] == {"name": "Hard ünits!", "of": fold["sha256"]}
            assert mismatches(manifest, index) == []
        assert page.inner_text("#save-command").endswith("FOLD=0,1 MANIFEST='hard-nits-fold{fold}.jsonl'")
