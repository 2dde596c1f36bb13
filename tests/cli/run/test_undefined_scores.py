"""A test whose mIoU is not defined where a class has no episode (atlas-runs.md §9), by the real command."""

from math import isnan

import pytest

from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.results.tables.table import build_blocks


@pytest.mark.slow(60)
def test_an_undefined_mean_has_a_sign_and_a_reason_and_makes_the_mean_over_folds_undefined(real_data, tmp_path, capsys):
    """PANet's test of a few episodes, which leave out a class of one fold and none of the other."""
    runs = tmp_path / "runs"
    arguments = ["--method", "prototype,blind_centre", "--backbone", "demo", "--dataset", "pascal", "--fold", "2,3"]
    place = ["--data-root", str(real_data / "voc-mini"), "--runs", str(runs), "--data.loading.workers=0"]
    test = ["--protocol", "atlas:panet/pascal-5i", "--data.test.episodes=8", "--data.image_size=64"]
    assert main(["bench", *arguments, *place, *test]) == 0
    (why,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("* mIoU is not defined: ")]
    undefined, finite = set(), set()
    records = find_records(runs)
    for record in records:
        tested = {number for episode in record.manifest.episodes for number in episode.classes}
        lacking = [n for n in record.header.class_ids if n not in tested]
        assert isnan(record.scores["mIoU"]) == bool(lacking)
        if lacking:
            undefined.add(str(record.header.fold))
            names = [record.header.class_names[str(number)] for number in lacking]
            assert f"fold {record.header.fold} has no episodes of {', '.join(names)}" in why
        else:
            finite.add(str(record.header.fold))
    assert undefined and finite and why.endswith("without them the program divides by zero")
    for _ in range(2):  # computed, and from the rows that were kept
        (block,) = build_blocks(records, trivial=True)
        for (_, fold), scores in block.lines.items():
            assert ("mIoU" in scores) == (fold in finite) and "FB-IoU" in scores
    capsys.readouterr()
    folder = str(runs)
    for command in (["table", folder], ["compare", folder], ["report", folder, "--out", str(tmp_path / "pages")]):
        assert main(command) == 0
    assert capsys.readouterr().out.count("the program divides by zero") == 2  # of table and compare, for all folds
    cards, bundle = tmp_path / "cards", str(tmp_path / "results.fsb")
    assert main(["bundle", "--new-card", str(cards), folder]) == 0
    for card in cards.iterdir():
        card.write_text("\n".join(line for line in card.read_text().splitlines() if "..." not in line) + "\n")
    assert main(["bundle", folder, "--card", str(cards), "-o", bundle]) == 0
    capsys.readouterr()
    assert main(["verify", bundle]) == 0
    verified = capsys.readouterr().out
    assert "nothing failed" in verified and "mIoU not defined" in verified
    assert main(["report", "--board", str(tmp_path), "--out", str(tmp_path / "board"), "--strict"]) == 0
    assert "the program divides by zero" in "".join(page.read_text() for page in (tmp_path / "board").rglob("*.html"))
