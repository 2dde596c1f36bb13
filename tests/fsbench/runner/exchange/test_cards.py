"""Cards for a bundle: one of each method, however they are given; those to fill in; and whose word is shown."""

from pathlib import Path

import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.records.card import Card, resolve_card
from fsbench.runner.exchange.bundle import read_listing
from fsbench.runner.exchange.cards import new_cards, read_cards
from tests.fsbench.runs import changed

METHODS = ["emat", "prototype"]
TRAINED = {"max_epochs": 3, "validation": "base"}


def write(file: Path, **card) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(card))
    return file


def test_each_method_has_its_card(tmp_path):
    """By name, by an entry of the file, in a folder."""
    emat = write(tmp_path / "cards/emat.yaml", trials=9)
    prototype = write(tmp_path / "cards/any.yaml", method="prototype", trials=1)
    write(tmp_path / "cards/other.yaml", trials=4)  # of a method that has no runs here
    for given in ([f"emat={emat}", str(prototype)], [str(tmp_path / "cards")]):
        assert read_cards(given, METHODS) == {"emat": Card(trials=9), "prototype": Card(trials=1)}
    assert read_cards([str(emat)], ["emat"]) == {"emat": Card(trials=9)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["one.yaml"], "one.yaml does not say which method"),
        (["emat=one.yaml", "emat=one.yaml"], "one.yaml is a second card of emat"),
        (["emat=named.yaml"], "named.yaml is the card of prototype"),
        (["emat=absent.yaml"], "cannot read absent.yaml"),
    ],
)
def test_cards_that_do_not_fit_the_methods(tmp_path, monkeypatch, given, message):
    write(tmp_path / "one.yaml", trials=2)
    write(tmp_path / "named.yaml", method="prototype")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=message):
        read_cards(given, METHODS)


def test_new_cards_ask_for_what_the_records_do_not_show(make, tmp_path):
    emat, prototype = make("emat", 0, training=TRAINED), make("prototype", 0, 2)
    bare = changed(prototype, {"method": {"name": "a b"}, "backbone": {"name": "none", "weights": "none"}})
    cards = new_cards([emat, prototype, bare])
    assert [*cards] == ["a-b.yaml", "emat.yaml", "prototype.yaml"]
    asked = {name: yaml.safe_load(text) for name, text in cards.items()}
    assert asked["emat.yaml"] == {
        "method": "emat", "backbone_data": "...", "backbone_saw_test_images": "...", "trials": "...",
    }  # fmt: skip
    assert asked["a-b.yaml"] == {"method": "a b", "trials": "..."}
    assert "# novel_pixels: the records of the runs show it\n" in cards["emat.yaml"]
    other = changed(emat, {"adaptation": {"validation": "other"}})  # whose record does not show the choice
    assert "checkpoint_choice" in yaml.safe_load(new_cards([emat, other])["emat.yaml"])


def test_the_record_wins_over_the_card_of_a_bundle(make, tmp_path):
    record, file = make("emat", 0, training=TRAINED), tmp_path / "results.fsb"
    card = write(tmp_path / "cards/emat.yaml", novel_pixels="no", trials=2, saw_test_classes="unknown")
    assert main(["bundle", str(record.path), "--card", str(card), "-o", str(file)]) == 0
    stated = read_listing(file).card_of("emat")
    assert stated.model_dump(exclude_unset=True) == {"novel_pixels": "no", "trials": 2, "saw_test_classes": None}
    shown = resolve_card(record, stated)
    assert (shown.novel_pixels, shown.trials, shown.saw_test_classes) == ("unlabelled", 2, None)
    assert shown.stated == ("trials",)
