"""Cards against records: what contradicts is refused by `bundle`, `verify` and `report --board`; one card a method."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from fsbench.cli.main import main
from fsbench.runner.exchange.bundle import read_listing
from tests.fsbench.runner.exchange.test_bundle import altered, relist, with_scores
from tests.fsbench.runs import rewrite

ASKED = {"backbone_saw_test_images": "no", "trials": 2}
"""Entries that no record proves."""
TRAINED = {"max_epochs": 3, "validation": "base"}
ANSWERS = {"answers_sha256": "0" * 64}
HANDED_IN = {"handed_in": ANSWERS, "told": ..., "weights": {"origin": None, "training": None}}


def write(file: Path, **card) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(card))
    return file


def bundle_of(tmp_path: Path, *cards: object, name: str = "results") -> int:
    (tmp_path / "bundles").mkdir(exist_ok=True)
    options = [f"--card={card}" for card in cards]
    return main(["bundle", str(tmp_path), *options, "-o", str(tmp_path / "bundles" / f"{name}.fsb")])


def board_of(tmp_path: Path) -> int:
    return main(["report", "--board", str(tmp_path / "bundles"), "--out", str(tmp_path / "site"), "--strict"])


def told(*supervision, saw="no"):
    return {"told": {"supervision": list(supervision), "saw_test_classes": saw}}


@pytest.mark.parametrize(
    ("identity", "run", "entry", "words", "proved"),
    [
        ({"training": TRAINED}, {}, "novel_pixels", "no", "unlabelled"),
        ({}, told("boxes"), "supervision", ["masks"], "boxes"),
    ],
)  # fmt: skip
def test_a_card_that_contradicts_its_record_is_refused_everywhere(
    make, tmp_path, capsys, identity, run, entry, words, proved
):
    rewrite(with_scores(make("emat", 0)), identity, **run)
    said = words[0] if isinstance(words, list) else words
    line = f"the card of emat contradicts its record: {entry.replace('_', ' ')} is {said} by the card and {proved} by"

    wrong = write(tmp_path / "cards/wrong.yaml", **ASKED, **{entry: words})
    assert bundle_of(tmp_path, wrong) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error and "leave that entry out of the card" in error
    assert not (tmp_path / "bundles/results.fsb").exists()

    assert bundle_of(tmp_path, write(tmp_path / "cards/right.yaml", **ASKED)) == 0
    file = tmp_path / "bundles/results.fsb"
    assert main(["verify", str(file)]) == 0 and board_of(tmp_path) == 0
    altered(file, relist(cards={"emat": ASKED | {entry: words}}))
    capsys.readouterr()
    assert main(["verify", str(file)]) == 1
    (failed,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith("  failed")]
    assert line in failed
    assert board_of(tmp_path) == 1
    (refused,) = [text for text in (tmp_path / "site/board.log").read_text().splitlines() if "refused" in text]
    assert line in refused


def two_methods(make) -> None:
    with_scores(make("prototype", 0, 2))
    rewrite(with_scores(make("emat", 0)), {"training": TRAINED})


def rows_of(tmp_path: Path) -> dict[str, str]:
    page = (tmp_path / "site/index.html").read_text()
    return {found[1]: found[0] for found in re.finditer(r'<tr id="row.*?data-method="(.*?)".*?</tr>', page, re.S)}


def test_each_method_has_its_card(make, tmp_path, capsys):
    """By name, by an entry of the file, in a folder; the board shows each row with its own."""
    two_methods(make)
    emat = write(tmp_path / "cards/emat.yaml", trials=9)
    prototype = write(tmp_path / "cards/any.yaml", method="prototype", trials=1, backbone_data="ImageNet-1k")
    write(tmp_path / "cards/other.yaml", trials=4)  # of a method that has no runs here
    for given in ([f"emat={emat}", prototype], [tmp_path / "cards"], [prototype, f"emat={emat}"]):
        assert bundle_of(tmp_path, *given) == 0
        listing = read_listing(tmp_path / "bundles/results.fsb")
        assert {name: card.trials for name, card in listing.cards.items()} == {"emat": 9, "prototype": 1}
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "bundles/results.fsb")]) == 0
    printed = capsys.readouterr().out
    assert "card of emat, as stated" in printed and "card of prototype, as stated" in printed
    assert "(follow from the record: novel pixels, checkpoint choice, trained on" in printed.replace(
        "novel pixels, supervision, checkpoint choice, saw test classes, told", "novel pixels, checkpoint choice"
    )
    assert board_of(tmp_path) == 0
    rows = rows_of(tmp_path)
    assert 'data-trials="9"' in rows["emat"] and 'data-trials="1"' in rows["prototype"]
    assert 'data-saw="unknown"' in rows["emat"] and 'data-pretrained="unknown"' in rows["emat"]
    pages = {page.read_text() for page in (tmp_path / "site/rows").iterdir()}
    (page,) = (text for text in pages if "<h1>prototype</h1>" in text)
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page[page.index("<h2>Card") :]))
    assert facts["trials"] == "1 (stated)" and facts["backbone data"] == "ImageNet-1k (stated)"
    assert facts["novel pixels"] == "no" and facts["backbone saw test images"] == "unknown"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "one.yaml",
            "one.yaml does not say which method it describes, and the runs have 2 (emat, prototype); expected --card",
        ),
        ("emat=one.yaml", "there is no card of prototype; expected one of each method of the runs (emat, prototype)"),
        ("emat=one.yaml prototype=one.yaml hsnet=one.yaml", "there is a card of hsnet; expected one of each method"),
        ("emat=one.yaml emat=one.yaml", "one.yaml is a second card of emat"),
        (
            "emat=named.yaml prototype=one.yaml",
            "named.yaml says that it is the card of prototype, but was given as that of",
        ),
        ("empty", "--card empty has no card of emat, prototype; expected METHOD.yaml for each"),
        ("emat=absent.yaml", "cannot read absent.yaml"),
        ("number.yaml", "number.yaml: method is '3'; expected the name of a method in the runs"),
    ],
)
def test_cards_that_do_not_fit_the_methods(make, tmp_path, capsys, monkeypatch, given, message):
    two_methods(make)
    write(tmp_path / "one.yaml", **ASKED)
    write(tmp_path / "named.yaml", method="prototype")
    write(tmp_path / "number.yaml", method=3)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert bundle_of(tmp_path, *shlex.split(given)) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error and not (tmp_path / "bundles/results.fsb").exists()


def test_new_cards_ask_for_what_the_records_do_not_prove(make, tmp_path, capsys):
    two_methods(make)
    assert main(["bundle", str(tmp_path), "--new-card", str(tmp_path / "cards")]) == 0
    assert {file.name for file in (tmp_path / "cards").iterdir()} == {"emat.yaml", "prototype.yaml"}
    text = (tmp_path / "cards/emat.yaml").read_text()
    assert "# novel_pixels: the records of the runs show it\n" in text and "# checkpoint_choice: the records" in text
    values = yaml.safe_load(text)
    assert values == {
        "method": "emat", "backbone_data": "...", "backbone_saw_test_images": "...", "trials": "...",
    }  # fmt: skip
    for file in (tmp_path / "cards").iterdir():
        file.write_text(file.read_text().replace("test_images: ...", "test_images: unknown").replace(": ...", ": 1"))
        file.write_text(file.read_text().replace("backbone_data: 1", "backbone_data: photos"))
    assert bundle_of(tmp_path, tmp_path / "cards") == 0
    capsys.readouterr()
    (run,) = (folder for folder in tmp_path.iterdir() if folder.name.startswith("emat-"))
    assert main(["bundle", str(run), "--new-card", str(tmp_path / "card.yaml")]) == 0
    assert (tmp_path / "card.yaml").read_text() == text


def test_predictions_that_were_handed_in(make, tmp_path, capsys):
    """Nothing follows from their records; they are marked, ranked apart, and verified as far as that goes."""
    for name, quality in (("ours", 3), ("theirs", 2)):
        for fold in (0, 1):
            record = with_scores(make(name, fold, quality))
            rewrite(
                record, *([ANSWERS] if name == "theirs" else []), **(HANDED_IN if name == "theirs" else told("masks"))
            )
    stated = ASKED | {"novel_pixels": "no", "checkpoint_choice": "nothing trained", "supervision": ["masks"]}
    theirs = write(tmp_path / "theirs.yaml", **stated, saw_test_classes="no")
    assert bundle_of(tmp_path, f"theirs={theirs}", f"ours={write(tmp_path / 'ours.yaml', **ASKED)}") == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "bundles/results.fsb")]) == 0
    lines = capsys.readouterr().out.splitlines()
    unknown = "how the predictions were made: they were handed in, so nothing else is known of the method"
    assert sum(f"not checked  {unknown}" in line for line in lines) == 2
    assert any("(stated: novel pixels, supervision" in line and "unknown: backbone data" in line for line in lines)
    ranks = []
    for option in ((), ("--rank-all",)):
        assert (
            main(["report", "--board", str(tmp_path / "bundles"), "--out", str(tmp_path / "site"), "--strict", *option])
            == 0
        )
        rows = rows_of(tmp_path)
        ranks.append({name: re.search(r'"rank">rank (.*?)</span>', row)[1] for name, row in rows.items()})
        assert "predictions handed in; nothing else of the method is known" in rows["theirs"]
        assert "predictions handed in" not in rows["ours"]
    assert ranks == [{"ours": "1 of 1", "theirs": "1 of 1"}, {"ours": "2 of 2‡¹", "theirs": "1 of 2‡¹"}]
