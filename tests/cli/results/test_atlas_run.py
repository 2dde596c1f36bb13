"""`fsbench atlas run` on PASCAL's sample: bench's records, what one word of a test moves, and what is refused."""

import json
from math import nan
from pathlib import Path

import pytest

from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.atlas.islands import islands
from fsbench.results.tables.ruler.tests import printed_figures, ruler_tables

PLACE = ["--dataset", "pascal", "--method", "prototype", "--backbone", "demo", "--drop-small"]
FEW = ["--data.image_size=64", "--data.workers=0"]


@pytest.fixture(scope="module")
def place(real_data, tmp_path_factory) -> list[str]:
    runs = tmp_path_factory.mktemp("atlas") / "runs"
    return [*PLACE, "--data-root", str(real_data / "voc-mini"), "--runs", str(runs), *FEW]


@pytest.mark.slow(60)
def test_a_method_under_all_tests(place, tmp_path, capfd):
    """The table is that of the records, which are bench's; a second call makes nothing anew."""
    out = tmp_path / "out"
    command = ["atlas", "run", *place, "--episodes", "12", "--plot", str(tmp_path / "ruler.png"), "--out", str(out)]
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert "prototype_demo under 17 tests of the atlas · pascal fold 0" in shown
    assert "not the authors': no published figures beside these scores" in shown
    (table,) = json.loads((out / "atlas.json").read_text())
    by_test = {line["test"]: line for line in table["lines"]}
    assert by_test.keys() == {one.protocol.removeprefix("atlas:") for one in islands("pascal")}
    values = [line["scores"][line["metric"]]["value"] for line in table["lines"] if line["metric"] in line["scores"]]
    assert values == sorted(values, reverse=True) and not any(line["printed"] for line in table["lines"])
    assert by_test["mlc-baseline/pascal-5i"]["spirit"] and not by_test["hsnet/pascal-5i"]["spirit"]

    runs = Path(place[place.index("--runs") + 1])
    records = {record.header.protocol.removeprefix("atlas:"): record for record in find_records(runs)}
    assert len(records) == 17
    for test, line in by_test.items():
        own = records[test].run.scores[line["metric"]]
        assert line["scores"].get(line["metric"], {"value": nan})["value"] == pytest.approx(own, nan_ok=True)
    recounted = [move for move in table["moves"] if move["test"] == move["other"]]
    assert {move["axes"][0] for move in recounted} == {"void", "score"}
    for move in recounted:
        record = records[move["test"]]
        if move["axes"] == ["void"]:
            ignored, background = (
                record.protocol.statistics_with_void(record.episodes, record.header, rule).scores()[move["metric"]]
                for rule in ("ignore", "background")
            )
            assert move["words"] == ["ignored", "background"] and move["is_paired"]
            assert move["difference"]["value"] == pytest.approx(background - ignored)
    for move in [move for move in table["moves"] if move not in recounted]:
        one, other = (by_test[move[name]]["scores"][move["metric"]]["value"] for name in ("test", "other"))
        assert move["difference"]["value"] == pytest.approx(other - one)
        same = records[move["test"]].manifest.episodes == records[move["other"]].manifest.episodes
        assert move["is_paired"] == same and len(move["axes"]) <= 2
        differing = [axis for axis, word in by_test[move["test"]]["words"].items()
                     if by_test[move["other"]]["words"][axis] != word]  # fmt: skip
        assert differing == move["axes"]
    compared = [set(move["words"]) for move in table["moves"] if move["axes"] == ["compared at"]]
    assert {"network input, torch nearest", "original, height and width"} in compared

    finished = {test: record.run.provenance.as_json()["finished"] for test, record in records.items()}
    assert main(command[: command.index("--plot")]) == 0
    again = {record.header.protocol.removeprefix("atlas:"): record for record in find_records(runs)}
    assert {test: record.run.provenance.as_json()["finished"] for test, record in again.items()} == finished

    # with the authors' lists and number of episodes, published figures would stand beside
    def printed(test, lists="official", side=400, folds=(0,)):
        header = records[test].header
        changes = {"lists": lists, "requested": header.official_episodes}
        rows = next(one.rows for one in islands("pascal") if f"atlas:{test}" in one.rows)
        found = printed_figures(header.model_copy(update=changes), folds, side, rows, shipped_atlas())
        return {(one.method, one.backbone): one.value for one in found}

    by_input = printed("hsnet/pascal-5i")
    assert by_input["HSNet", "ResNet-101"] == 67.3 and "DCAMA" not in {method for method, _ in by_input}  # S is 384
    assert printed("hsnet/pascal-5i", side=384)["DCAMA", "ResNet-50"] == 67.5
    assert printed("hsnet/pascal-5i", folds=(0, 1, 2, 3))["HSNet", "ResNet-101"] == 66.2
    assert printed("sccan/pascal-5i", side=128)["BAM", "VGG-16"] == 63.2  # counted at the query's size
    assert not printed("hsnet/pascal-5i", lists="derived") and not printed("sccan/pascal-5i", folds=(0, 1))

    # a report of some of them has a page of tests
    few = [str(records[f"{name}/pascal-5i"].path) for name in ("hsnet", "msdnet")]
    assert main(["report", *few, "--out", str(tmp_path / "report"), "--gallery", "0", "--no-photos"]) == 0
    page = (tmp_path / "report/tests.html").read_text()
    assert "prototype_demo under 2 tests of the atlas" in page and "original, height and wi…" in page

    # bench finds the run as its own
    capfd.readouterr()
    assert main(["bench", *place, "--protocol", "atlas:hsnet/pascal-5i", "--data.episodes=12", "--dry-run"]) == 0
    assert "done" in capfd.readouterr().out


def test_islands_are_those_of_the_page():
    """Each row that can be run is in one island; rows of one have the same words, whatever their seeds."""
    found = islands("pascal")
    rows = [row for one in found for row in one.rows]
    assert len(rows) == len(set(rows)) == 46 and len(found) == 17
    by_row = {row: one for one in found for row in one.rows}
    hsnet = by_row["atlas:hsnet/pascal-5i"]
    assert hsnet is by_row["atlas:afanet/pascal-5i"] and hsnet.protocol == "atlas:hsnet/pascal-5i"  # another seed
    assert hsnet is not by_row["atlas:vat/pascal-5i"] and hsnet is not by_row["atlas:msdnet/pascal-5i"]


def test_only_protocols_of_the_atlas_are_compared():
    assert ruler_tables([], shipped_atlas()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "demo"], "the atlas has no row of demo that can be run; expected one of pascal, coco"),
        (["--method", "prototype,hsnet"], "atlas run was given prototype, hsnet and 1 folds; expected one method"),
        (["--episodes", "0"], "episodes is '0', expected a number above 0|--episodes"),
        (["--plot", "ruler.txt"], "--plot is ruler.txt, expected a name that ends in"),
        (["--protocol", "hsnet"], "unrecognized arguments|protocol"),
    ],
)
def test_refusals(words, message, capfd):
    try:
        status = main(["atlas", "run", "--dataset", "pascal", "--method", "prototype", *words])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    error = capfd.readouterr().err
    assert any(part in error for part in message.split("|")) and "Traceback" not in error
