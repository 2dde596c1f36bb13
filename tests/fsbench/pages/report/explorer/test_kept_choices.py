"""A choice of episodes that outlives the page: its address, tags, and manifests that run."""

import json

import numpy as np
import pytest

from fsbench.cli.main import main
from fsbench.data.episodes.fit import mismatches
from fsbench.data.episodes.manifest import read_manifest
from tests.browser import wait_until
from tests.fsbench.pages.report.explorer.reader import Reader, expect
from tests.fsbench.pages.report.test_in_browser import opened


@pytest.mark.slow(2)
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


@pytest.mark.slow(3)
def test_tags_stay_and_travel(reading, tmp_path):
    with reading("order=list&episode=0.4&fold=0", is_served=True) as reader:
        page = reader.page
        other = tab(reader)
        give(reader, "__proto__")
        page.fill("#tag-name", "<b>first fold</b>")
        page.locator("#tag-all").click()
        expect(page.locator("#tag-said")).to_have_text("Tagged “<b>first fold</b>”: 24 episodes.")
        for name in ("__proto__", "<b>first fold</b>"):
            expect(box(other, name)).to_have_count(1)  # so the browser has them, not this page's process alone
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
        expect(reader.page.locator("#tag-said")).to_have_text("25 tags of episodes were imported.")
        (tmp_path / "tags.json").write_text(text.replace(reader.data["folds"][0]["sha256"], "x").replace(
            reader.data["folds"][1]["sha256"], "y"))  # fmt: skip
        reader.page.set_input_files("#tag-import", tmp_path / "tags.json")
        expect(reader.page.locator("#tag-said")).to_contain_text("belong to other episodes")


def tab(reader, is_deaf=False):
    """Another tab of the reader's browser at the same address; a deaf one hears nothing of other tabs."""
    page = reader.page.context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    if is_deaf:
        page.add_init_script("addEventListener('storage', (event) => event.stopImmediatePropagation())")
    page.goto(reader.page.url)
    return Reader(page, reader.study)


def give(reader, name):
    """Tag the open episode; `box(…).click()` takes a tag away, and its box goes."""
    reader.page.fill("#tag-name", name)
    reader.page.locator("#tag-name").press("Enter")  # a click may miss a button that moves as pictures arrive
    expect(box(reader, name)).to_be_checked()


def names(reader):
    return [text.strip() for text in reader.page.locator("#tag-list label").all_inner_texts()]


def box(reader, name):
    return reader.page.locator("#tag-list").get_by_role("checkbox", name=name)


@pytest.mark.slow(2)
def test_tabs_see_each_others_tags(reading):
    with reading("order=list&episode=0.4", is_served=True) as one:
        two = tab(one)
        give(one, "hard")
        expect(box(two, "hard")).to_be_checked()
        give(two, "odd")
        expect(box(one, "odd")).to_be_checked()
        two.page.get_by_role("group", name="Tag", exact=True).get_by_role("checkbox", name="hard").check()
        assert two.shown() == 1
        box(one, "hard").click()
        expect(box(two, "hard")).to_have_count(0)
        assert two.shown() == 0  # the filter by it stays
        give(two, "late")
        expect(box(one, "late")).to_be_checked()
        box(one, "odd").press("Space")
        expect(box(two, "odd")).to_have_count(0)
        one.page.evaluate("localStorage.clear()")
        expect(two.page.locator("#tag-list")).to_have_text("none yet")


@pytest.mark.slow(3)
def test_a_tab_that_heard_nothing_overwrites_nothing(reading, tmp_path):
    with reading("order=list&episode=0.4", is_served=True) as one:
        give(one, "hard")
        deaf = tab(one, is_deaf=True)
        expect(box(deaf, "hard")).to_be_checked()
        give(one, "odd")
        box(one, "hard").click()
        expect(box(one, "hard")).to_have_count(0)
        assert box(deaf, "hard").is_checked() and box(deaf, "odd").count() == 0
        wait_until(deaf.page, "!Object.values(localStorage).some((text) => text.includes('hard'))")
        give(deaf, "easy")
        expect(box(deaf, "odd")).to_be_checked()
        expect(box(deaf, "hard")).to_have_count(0)
        for reader in (one, tab(one)):
            expect(box(reader, "easy")).to_be_checked()
            assert names(reader) == ["odd", "easy"]
        tags = json.dumps({"manifests": {"0": one.data["folds"][0]["sha256"]}, "tags": {"far": ["0.4"]}})
        (tmp_path / "tags.json").write_text(tags)
        box(one, "odd").click()
        expect(box(one, "odd")).to_have_count(0)
        wait_until(deaf.page, "!Object.values(localStorage).some((text) => text.includes('odd'))")
        deaf.page.set_input_files("#tag-import", tmp_path / "tags.json")
        for reader in (one, deaf):
            expect(box(reader, "far")).to_be_checked()
            expect(box(reader, "odd")).to_have_count(0)
            assert names(reader) == ["easy", "far"]


@pytest.mark.slow(2)
def test_tags_of_a_browser_that_keeps_nothing_last_as_long_as_the_page(reading):
    with reading("order=list&episode=0.4") as reader:
        reader.page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full') })")
        give(reader, "hard")
        give(reader, "odd")
        assert names(reader) == ["hard", "odd"]


def test_a_saved_manifest_is_the_brushed_episodes(reading, dataset, tmp_path):
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
            assert [episode.number for episode in manifest.episodes] == [reader.columns["index"][p] for p in places]
            asked = {number for episode in manifest.episodes for number in episode.classes}
            assert manifest.class_ids == sorted(asked) and manifest.header.requested == len(places)
            assert manifest.header.selection == {"name": "Hard ünits!", "of": fold["sha256"]}
            assert mismatches(manifest, dataset) == []
        assert page.inner_text("#save-command").endswith("FOLD=0,1 MANIFEST='hard-nits-fold{fold}.jsonl'")


@pytest.mark.slow(4)
def test_a_saved_manifest_of_presence_is_a_test_without_episodes_that_calibrate(make, dataset, chromium, tmp_path):
    """The page shows what counts; the file is read and fits the data set."""
    record, _ = (make(name, 0, protocol="presence", drop_small=True) for name in ("m0", "m1"))
    assert record.header.calibration_ids and len(record.manifest.episodes) == 48
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), "--no-photos"]) == 0
    path, number = tmp_path / "saved.jsonl", record.header.class_ids[0]
    with opened(chromium, tmp_path / "r/study-1/explorer.html", fragment=f"class={number}") as page:
        reader = Reader(page, tmp_path / "r/study-1")
        assert 0 < reader.shown() < 24
        page.fill("#save-name", "one class")
        with page.expect_download() as download:
            page.locator("#save-buttons button").click()
        download.value.save_as(path)
    manifest = read_manifest(path)
    chosen = tuple(one for one in record.manifest.official_episodes if one.classes == (number,))
    assert manifest.episodes == chosen and mismatches(manifest, dataset) == []
    left_out = {"calibration_ids", "calibration_images"}
    assert manifest.entries.keys() == record.manifest.entries.keys() - left_out | {"selection", "episodes"}
