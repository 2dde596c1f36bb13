"""The leaderboard's figures against the tables', its refusals, its ranks, and names that mean harm."""

import html
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fsbench.base.files import sha256_file
from fsbench.cli.main import main
from fsbench.pages.board.ranking import unpaired_p
from fsbench.pages.board.site import MARK
from fsbench.records.record import Record, find_records
from fsbench.results.sheets.cells import ends
from fsbench.results.tables.table import build_blocks
from fsbench.runner.exchange.bundle import unpack
from fsbench.runner.exchange.verify import note_of, write_note
from fsbench.scores.estimate import Estimate, Scope
from tests.fsbench.pages.board.conftest import bundle_writer, finished
from tests.fsbench.runner.exchange.test_bundle import altered, edit
from tests.fsbench.runs import changed, reseal, rewrite
from tests.fsbench.scores.once import differences_once

HOSTILE = '</th><script>alert(1)</script>"><img src=x onerror=alert(2)>'
BIBTEX = "@inproceedings{good2024,\n  title = {A {Good} <b>Method</b>},\n  year = {2024}\n}"
BOTH = (0, 1)
NO_RANK = "no interval, no rank"
"""Words at a score of images that are all alike."""


def board(tmp_path: Path, *more: str) -> int:
    return main(["report", "--board", str(tmp_path / "bundles"), "--out", str(tmp_path / "site"), *more])


def log_lines(tmp_path: Path, words: str) -> list[str]:
    """Return the lines of the board's log with these words."""
    return [line for line in (tmp_path / "site/board.log").read_text().splitlines() if words in line]


def on_both_folds(make: Callable[..., Record], name: str, quality: int = 1, year: str = "2024", **task) -> list[Record]:
    """Return the finished runs of a method on both folds."""
    return [finished(make(name, fold, quality, **task), year=year) for fold in BOTH]


def table_rows(site: Path) -> dict[str, str]:
    """Return the rows of the table by their method."""
    page = (site / "index.html").read_text()
    return {html.unescape(m[1]): m[0] for m in re.finditer(r'<tr id="row.*?data-method="(.*?)".*?</tr>', page, re.S)}


def row_id(row: str) -> str:
    return re.search(r'data-row="(\w+)"', row)[1]


def cells(row: str) -> dict[str, tuple[float, str]]:
    """Return test -> the value and the words of the rank in a row of the table."""
    found = re.findall(r'data-test="([^"]*)" data-value="([^"]*)".*?class="rank">(?:rank )?(.*?)</span>', row)
    return {test: (float(value), rank) for test, value, rank in found}


@pytest.fixture(scope="module")
def site(shared_make) -> Path:
    """A board that no test changes, beside its bundles and runs. Four methods: two with all folds of two tests, one
    with a single fold, one whose card is another."""
    tests = ({}, {"shot": 2})
    good, bad = (
        [finished(shared_make(name, fold, quality, **task), year="2023") for fold in BOTH for task in tests]
        for name, quality in (("good", 2), ("bad", 5))
    )
    runs = good[0].path.parent
    hand_in = bundle_writer(runs / "bundles")
    hand_in("good", good, bibtex=BIBTEX)
    hand_in("bad", bad, trials=9)
    hand_in("half", [finished(shared_make("half", 0, 3))])
    told = {"supervision": ["boxes"], "saw_test_classes": "no"}
    hand_in("boxes", [finished(shared_make("boxes", fold, 3), told=told) for fold in BOTH], supervision=["boxes"])
    assert board(runs, "--strict") == 0
    return runs / "site"


def test_figures_are_those_of_the_tables(site):
    rows = table_rows(site)
    assert rows.keys() == {"good", "bad", "half", "boxes"}
    blocks = build_blocks(find_records(site.parent))
    assert len(blocks) == 2
    for block in blocks:
        for (method, fold), scores in block.lines.items():
            own = cells(rows[method])
            page = (site / "rows" / f"{row_id(rows[method])}.html").read_text()
            for score in scores.values():
                assert f"{score.value:.2f} {ends(score, 2)}".rstrip() in page
            if fold == "mean":
                score = scores["mIoU"]
                assert score.value in [value for value, _ in own.values()]
                shown = f'<span class="number">{score.value:.2f}</span> <span class="ends">{ends(score, 2)}</span>'
                assert shown in rows[method]
            elif method == "half":  # the fold that is there, which no rank is of
                score = scores["mIoU"]
                shown = f'<span class="number">{score.value:.2f}</span> <span class="ends">{ends(score, 2)}</span>'
                assert f"fold 0: {shown}" in rows["half"]
    assert cells(rows["half"]) == {} and "incomplete" in rows["half"] and "only fold 0 of 2" in rows["half"]
    assert 'data-year="2024"' in rows["good"]  # its paper's, as its card has it; runs without a paper have their own
    assert 'data-year="2023"' in rows["bad"] and 'data-year="2024"' in rows["half"]


def test_what_lacks_folds_stands_below_without_a_rank(site):
    """Rows come first, then filters, then what is incomplete."""
    page = (site / "index.html").read_text()
    ranked, rest = page.split('<section id="filters">')
    filters, incomplete = rest.split('<section id="incomplete">')
    assert [f'data-method="{name}"' in ranked for name in ("good", "bad", "boxes", "half")] == [True] * 3 + [False]
    assert 'id="controls"' in filters and 'data-method="half"' in incomplete.partition("</section>")[0]
    assert (
        "rank 1 of 2†" in ranked and "† the ranked rows differ in the number of trials" in ranked and "‡" not in ranked
    )
    good = row_id(table_rows(site)["good"])
    assert (
        "; rank 1 of 2†; † the ranked rows differ in the number of trials"
        in (site / "rows" / f"{good}.html").read_text()
    )
    half = row_id(table_rows(site)["half"])
    assert "; no mean: only fold 0 of 2" in (site / "rows" / f"{half}.html").read_text()


def test_ranks_count_rows_of_equal_cards(site):
    rows = table_rows(site)
    assert "correction (2 comparisons in this table)" in (site / "index.html").read_text()  # of two columns
    assert [rank for _, rank in cells(rows["good"]).values()] == ["1 of 2†"] * 2  # the other had more trials
    assert [rank for _, rank in cells(rows["bad"]).values()] == ["2 of 2†"] * 2
    assert [rank for _, rank in cells(rows["boxes"]).values()] == ["1 of 1"]
    page = (site / "index.html").read_text()
    groups = [re.sub("<.*?>", "", group) for group in re.findall(r'<tr class="group">.*?</tr>', page, re.S)]
    assert len(groups) == 2 and "supervision: boxes" in groups[0] and "supervision: masks" in groups[1]


def test_what_a_record_states_is_ranked_apart_unless_asked(make, hand_in, tmp_path):
    """The cards do not say what the methods are told; the record of one does."""
    named = {"supervision": ["boxes", "class names"], "saw_test_classes": "unknown"}
    runs = on_both_folds(make, "plain", 5)
    hand_in("all", [*runs, *(finished(make("named", fold, 2), told=named) for fold in BOTH)], supervision=None)
    ranks = []
    for option in ((), ("--rank-all",)):
        assert board(tmp_path, *option) == 0
        rows = table_rows(tmp_path / "site")
        ranks.append({name: [rank for _, rank in cells(row).values()] for name, row in rows.items()})
        assert 'data-supervision="boxes, class names"' in rows["named"] and 'data-classes="unknown"' in rows["named"]
        assert 'data-supervision="masks"' in rows["plain"] and 'data-classes="no"' in rows["plain"]
    assert ranks == [{"plain": ["1 of 1"], "named": ["1 of 1"]}, {"plain": ["2 of 2‡"], "named": ["1 of 2‡"]}]


def moved(record):
    """The record with a manifest that has an entry more, hence another hash."""
    return rewrite(record, header={"mine": 5})


def of_files(record, name="a"):
    """The record with another hash of the files of images."""
    return rewrite(record, {"files_sha256": f"{record.header.fold}{name}"})


@pytest.mark.parametrize(
    "change", [moved, pytest.param(partial(of_files, name="b"), marks=pytest.mark.slow(1))], ids=["episodes", "images"]
)
def test_other_episodes_or_images_are_compared_by_errors(change, make, hand_in, tmp_path):
    """The first and third row saw the same; the errors of both scores do not tell the second from the first."""
    for name, quality, lost in (("first", 2, 0.2), ("second", 2, 0.21), ("third", 6, 0.0)):
        other = change if name == "second" else lambda record: record
        hand_in(name, [finished(other(of_files(lose(make(name, fold, quality), lost)))) for fold in BOTH])
    assert board(tmp_path) == 0
    assert ranks_of(tmp_path / "site") == {"first": ["1–2 of 3~"], "second": ["1–2 of 3~"], "third": ["3 of 3~"]}


def lose(record: Record, share: float, seed: int = 0) -> Record:
    """Return a 1-way record without a share of its right pixels, 0 to twice `share`, drawn for each episode."""
    lost = np.random.RandomState(seed).uniform(0, 2 * share, len(record.manifest.episodes))
    frame = pl.read_parquet(record.path / "episodes.parquet")
    gone = (frame["tp"].to_numpy() * lost[frame["episode"].to_numpy()]).astype(int)
    frame = frame.with_columns(tp=frame["tp"] - gone, pred=frame["pred"] - gone)
    frame.write_parquet(record.path / "episodes.parquet")
    return reseal(record)


def ranks_of(site: Path) -> dict[str, list[str]]:
    """Return the ranks of every row of the table, in the order of its columns."""
    return {name: [rank for _, rank in cells(row).values()] for name, row in table_rows(site).items()}


def paired_p(first: Sequence[Record], second: Sequence[Record]) -> float:
    """Compare the mIoU of two methods' runs, one of each fold, alone."""
    both = (
        [record.protocol.statistics(record.episodes, record.header).only(["mIoU"]) for record in records]
        for records in (first, second)
    )
    return differences_once(*both)["mIoU"].p


@pytest.mark.slow(2)
def test_what_is_told_apart_holds_for_the_whole_table(make, hand_in, tmp_path):
    """A p between 0.025 and 0.05 is a difference where it is the only one, and none beside that of another column."""

    def runs(name, share, seed, shot):
        return [finished(lose(make(name, fold, 2, shot=shot), share, seed + 5 * fold)) for fold in BOTH]

    near = {shot: runs("near", 0.2, 36, shot) for shot in (1, 2)}
    far = {shot: runs("far", 0.32, 37, shot) for shot in (1, 2)}
    assert 0.025 < paired_p(near[1], far[1]) < 0.05 < paired_p(near[2], far[2])
    hand_in("near", near[1])
    hand_in("far", far[1])
    assert board(tmp_path) == 0 and ranks_of(tmp_path / "site") == {"near": ["1 of 2"], "far": ["2 of 2"]}
    assert "Two rows are told apart if p &lt; 0.05 (one comparison)." in (tmp_path / "site/index.html").read_text()
    hand_in("near", [*near[1], *near[2]])
    hand_in("far", [*far[1], *far[2]])
    assert board(tmp_path) == 0
    assert ranks_of(tmp_path / "site") == {"near": ["1–2 of 2"] * 2, "far": ["1–2 of 2"] * 2}
    assert "correction (2 comparisons in this table)" in (tmp_path / "site/index.html").read_text()


def one_support(record: Record) -> Record:
    """The record with the support of its first episode in all others that do not ask for it."""
    supports = record.manifest.episodes[0].supports
    episodes = tuple(
        one if one.query in supports[0] else replace(one, supports=supports) for one in record.manifest.episodes
    )
    manifest = replace(record.manifest, episodes=episodes)
    manifest.write(record.path / "manifest.jsonl")
    return rewrite(record, {"manifest_sha256": manifest.sha256})


@pytest.mark.slow(2)
def test_scores_are_ranked_among_those_that_hold_for_the_same(make, hand_in, tmp_path):
    """Other supports are in the intervals of some rows, not in those of others; one has none, since nothing varies."""
    for name, share in (("best", 0.1), ("worst", 0.5)):
        hand_in(name, [finished(lose(make(name, fold, 2), share)) for fold in BOTH])
        few = [finished(one_support(lose(make(f"{name}-here", fold, 2), share))) for fold in BOTH]
        hand_in(f"{name}-here", few)
    hand_in("right", on_both_folds(make, "right", 1))
    assert board(tmp_path, "--strict") == 0
    assert ranks_of(tmp_path / "site") == {
        "best": ["1 of 2"], "worst": ["2 of 2"], "best-here": ["1 of 2°"], "worst-here": ["2 of 2°"],
        "right": [NO_RANK],
    }  # fmt: skip


def test_a_row_is_cited_and_its_bundle_downloaded(site):
    row = table_rows(site)["good"]
    name = row_id(row)
    page = (site / "rows" / f"{name}.html").read_text()
    assert html.escape(BIBTEX, quote=False) in page and "<b>Method" not in page
    (copy,) = re.findall(r'href="\.\./(bundles/\w+\.fsb)" download', page)
    assert (site / copy).read_bytes() == (site.parent / "bundles/good.fsb").read_bytes()
    (entry,) = re.findall(r"<pre>(@misc.*?)</pre>", page, re.S)
    assert f"fsbench-{name}," in entry and "year = {2023}" in entry and "A result of" not in entry
    assert re.search(r"note = \{sha256 [0-9a-f]{64}\}", entry)[0][15:47] in copy
    assert f'href="../index.html#row={name}"' in page
    other = row_id(table_rows(site)["bad"])
    assert "The card states no paper" in (site / "rows" / f"{other}.html").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow(2)
def test_equal_bundles_give_equal_sites_and_only_a_board_is_replaced(site, tmp_path, capsys):
    before, own = contents(site), tmp_path / "site"
    shutil.copytree(site.parent / "bundles", tmp_path / "bundles")
    assert board(tmp_path) == 0 and contents(own) == before and (own / MARK).is_file()
    assert str(site.parent).encode() not in b"".join(before.values())
    ranks = [{name: sorted(cells(row).items()) for name, row in table_rows(site).items()}]
    for number, file in enumerate(sorted((tmp_path / "bundles").iterdir(), reverse=True)):
        file.rename(tmp_path / f"bundles/{number}.fsb")  # ranks follow from the runs, not from the names of files
    assert board(tmp_path) == 0
    ranks.append({name: sorted(cells(row).items()) for name, row in table_rows(own).items()})
    assert ranks[0] == ranks[1]
    (own / MARK).unlink()
    capsys.readouterr()
    assert board(tmp_path) == 2 and "is there and is no board" in capsys.readouterr().err
    assert main(["report", "--board", str(tmp_path / "bundles"), "--out", str(tmp_path)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_bundles_that_are_none_are_said_with_a_reason(make, hand_in, tmp_path, capsys):
    good = hand_in("good", on_both_folds(make, "good"))
    folder = tmp_path / "bundles"
    better = shutil.copy(good, folder / "better.fsb")
    altered(Path(better), edit("run.json", label="better"))
    altered(Path(shutil.copy(good, folder / "outside.fsb")), lambda c: c.update({"../../x": b""}))
    (folder / "text<b>.fsb").write_text("no zip")
    (folder / "folder.fsb").mkdir()
    (folder / "link.fsb").symlink_to(good)
    (folder / "README.md").write_text("passed over")
    assert board(tmp_path) == 0 and board(tmp_path, "--strict") == 1
    log = (tmp_path / "site/board.log").read_text().splitlines()
    reasons = dict(re.fullmatch(r"refused: (\S+): (.*)", line).groups() for line in log if line.startswith("refused"))
    assert reasons.keys() == {"better.fsb", "outside.fsb", "text<b>.fsb", "folder.fsb", "link.fsb"}
    assert "edited by hand" in reasons["better.fsb"]
    assert "which no bundle has" in reasons["outside.fsb"] and "is no bundle" in reasons["text<b>.fsb"]
    assert "folder" in reasons["folder.fsb"] and "it is a link" in reasons["link.fsb"]
    page = (tmp_path / "site/bundles.html").read_text()
    quoted = page.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    assert all(html.escape(reason) in quoted for reason in reasons.values())
    assert "text&lt;b&gt;.fsb" in page and str(tmp_path) not in page + "\n".join(log)
    assert len(list((tmp_path / "site/bundles").iterdir())) == 1 and table_rows(tmp_path / "site").keys() == {"good"}
    assert not (tmp_path / "x").exists()


@pytest.mark.slow(1)
def test_a_run_in_two_bundles_is_one_row(make, hand_in, tmp_path):
    records = on_both_folds(make, "m")
    hand_in("a", records[:1])
    hand_in("b", records)
    hand_in("c", records, trials=1)
    shutil.copy(tmp_path / "bundles/b.fsb", tmp_path / "bundles/d.fsb")
    assert board(tmp_path, "--strict") == 0
    index = (tmp_path / "site/index.html").read_text()
    rows = re.findall(r'<tr id="row.*?</tr>', index, re.S)
    assert len(rows) == 2 and ['data-trials="3"' in row for row in rows].count(True) == 1
    assert all(len(cells(row)) == 1 and "another row has the same counts or the same run" in row for row in rows)
    log = log_lines(tmp_path, "twice: ")
    assert len(log) == 3 and log[0] == "twice: d.fsb is the same file as b.fsb"
    assert "a.fsb and b.fsb have the same runs of m on" in log[1] and "with the same card" in log[1]
    assert re.search("m in a.fsb|m in b.fsb and m in c.fsb have the same counts on", log[2])
    (shown,) = [row for row in rows if 'data-trials="3"' in row]
    assert "handed in as a.fsb, then b.fsb, then d.fsb" in shown
    page = (tmp_path / f"site/rows/{row_id(shown)}.html").read_text()
    assert "<dd>a.fsb</dd><dd>b.fsb</dd><dd>d.fsb</dd>" in page


def test_repeated_is_what_the_note_beside_the_bundle_says(make, hand_in, tmp_path):
    """Of just this file, and of no more episodes than there are; a note that cannot be read stops nothing."""
    noted, other, broken = (hand_in(name, on_both_folds(make, name)) for name in ("noted", "other", "broken"))
    with unpack(noted) as (_, listing):
        first, second = listing.runs
    write_note(noted, sha256_file(noted), "mine", {first: 3, second: 10_000})
    shutil.copy(note_of(noted), note_of(other))
    note_of(broken).write_text('{"repeated": 7}')
    assert board(tmp_path, "--strict") == 0
    rows = table_rows(tmp_path / "site")
    assert "repeated: 3 of 48 episodes" in rows["noted"]
    assert "not repeated" in rows["other"] and "not repeated" in rows["broken"]
    page = (tmp_path / f"site/rows/{row_id(rows['noted'])}.html").read_text()
    assert "<dd>repeated: 3 of 48 episodes</dd>" in page
    text = "".join(path.read_text() for path in (tmp_path / "site").rglob("*.html"))
    assert "erified" not in text


@pytest.mark.slow(1)
def test_the_older_of_equal_rows_is_first_and_both_say_so(make, hand_in, tmp_path):
    """Whatever names say; the history of the repository tells which is older, else the date in the runs."""
    bundles = tmp_path / "bundles"

    def git(*words: str) -> None:
        name = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(bundles), *name, *words], check=True)

    def rows() -> list[str]:
        assert board(tmp_path, "--strict") == 0
        return list(table_rows(tmp_path / "site"))

    genuine = on_both_folds(make, "m", 2, year="2024")
    hand_in("z-genuine", genuine)
    hand_in("a-stolen", [rewrite(finished(one, year="2023"), {"method": {"name": "mine"}}) for one in genuine])
    assert rows() == ["mine", "m"]
    git("init", "-q")
    for file in ("z-genuine.fsb", "a-stolen.fsb"):
        git("add", file)
        git("commit", "-qm", "x")
    shutil.copy(bundles / "z-genuine.fsb", bundles / "0-not-committed.fsb")
    assert rows() == ["m", "mine"]
    (line,) = log_lines(tmp_path, "same counts")
    assert line.startswith("twice: m in z-genuine.fsb and mine in a-stolen.fsb have the same counts on")
    page = (tmp_path / "site/index.html").read_text()
    assert page.count("another row has the same counts or the same run") == 2
    assert "handed in as z-genuine.fsb, then 0-not-committed.fsb" in page


def test_a_run_with_two_counts_is_two_rows_and_both_say_so(make, hand_in, tmp_path):
    """As of another machine: one name, since the settings are the same."""
    hand_in("a", [first := finished(make("m", 0, 2))])
    hand_in("b", [rewrite(finished(make("m", 0, 3)), id=first.run.id)])
    assert board(tmp_path, "--strict") == 0
    (line,) = log_lines(tmp_path, "with other counts")
    assert line.startswith("twice: m in a.fsb and m in b.fsb have the same run, with other counts, on")


@pytest.mark.slow(1)
def test_names_are_words(make, hand_in, tmp_path):
    name = {"method": {"name": HOSTILE + "x}, note = {y\u202e"}, "backbone": {"name": HOSTILE}}
    for file, folds in (("x", BOTH), ("half", (0,))):
        records = [
            finished(changed(make(file, fold), name), dataset=HOSTILE.replace("/", ""), remarks=[HOSTILE])
            for fold in folds
        ]
        hand_in(file, records, backbone_data=HOSTILE)
    assert board(tmp_path, "--strict") == 0
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text()
        assert "<script>alert" not in text and "<img" not in text and "\u202e" not in text
        scripts = 4 if page.name == "index.html" else 3  # address, search, buttons; the table of the first page
        assert text.count("<script>") == text.count("</script>") == scripts
    assert html.escape(HOSTILE)[:20] in (tmp_path / "site/index.html").read_text()
    for page in (tmp_path / "site/rows").iterdir():  # a name stays within its value of BibTeX
        (entry,) = re.findall(r"<pre>(@misc.*?)</pre>", page.read_text(), re.S)
        (title,) = [line for line in entry.splitlines() if line.startswith("  title = {")]
        inside = title.removeprefix("  title = {").removesuffix("},")
        assert min(accumulate((c == "{") - (c == "}") for c in inside)) == 0 and "note = " in inside


@pytest.mark.slow(1)
def test_classification_has_a_column_of_its_own(classified, make, hand_in, tmp_path):
    hand_in("near", [finished(classified("near", 0))], supervision=["image labels"])
    hand_in("far", [finished(classified("far", 1))], supervision=["image labels"])
    hand_in("masks", on_both_folds(make, "masks"))
    assert board(tmp_path, "--strict") == 0
    rows = table_rows(tmp_path / "site")
    (near,), (far,) = (list(cells(rows[name]).items()) for name in ("near", "far"))
    assert near[0] == far[0] and near[1] == (100.0, "1 of 1")  # of the other one of three is wrong in every episode
    (block,) = [block for block in build_blocks(find_records(tmp_path)) if "classification" in block.title]
    assert far[1] == (block.lines["far", "all"]["accuracy"].value, NO_RANK)


def test_nothing_to_rank_and_nothing_asked(make, hand_in, tmp_path, capsys):
    assert board(tmp_path) == 0 and "no bundle in" in capsys.readouterr().err
    assert "No bundle has been accepted yet" in (tmp_path / "site/index.html").read_text()
    hand_in("half", [finished(make("half", 0, 3))])
    assert board(tmp_path) == 0
    page = (tmp_path / "site/index.html").read_text()
    assert "Nothing to rank" in page and "only fold 0 of 2" in page and '<table id="board"' not in page
    capsys.readouterr()
    for words in ([], [str(tmp_path / "absent")], ["x", "--new", "y"], ["x", "y"], ["x", "--gallery", "3"]):
        assert main(["report", "--board", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    for words in ([], ["x", "--strict"], ["--new", "y"]):
        assert main(["report", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow(1)
def test_a_board_among_its_bundles_is_passed_over(make, hand_in, tmp_path, capsys):
    """The folder of the pages may lie below that of the bundles, also when it is made again."""
    hand_in("good", on_both_folds(make, "good"))
    pages = []
    for _ in range(2):
        assert main(["report", "--board", str(tmp_path), "--out", str(tmp_path / "site"), "--strict"]) == 0
        assert "1 row of 1 bundle\n" in capsys.readouterr().out
        pages.append(contents(tmp_path / "site"))
    assert pages[0] == pages[1] and "1 row of 1 bundle." in (tmp_path / "site/index.html").read_text()
    assert b"twice" not in pages[1]["board.log"]


@pytest.mark.slow(1)
def test_another_number_of_folds_or_another_list_is_another_test(make, hand_in, tmp_path):
    hand_in("whole", on_both_folds(make, "whole", 2))
    for name, header in (("folds", {"folds": 1}), ("lists", {"lists": "another of 24 images"})):
        hand_in(name, [finished(rewrite(make(name, 0, 2), header=header))])
    assert board(tmp_path, "--strict") == 0
    rows = table_rows(tmp_path / "site")
    whole, *others = (cells(rows[name]) for name in ("whole", "folds", "lists"))
    assert [rank for _, rank in whole.values()] == ["1 of 1"]
    assert not any(whole.keys() & other.keys() for other in others)


def test_scores_on_other_episodes_are_compared_by_the_errors_of_both():
    """Welch's test, against scipy's; a score that holds for its supports alone ranks nobody."""
    first, second = (
        Estimate(value, value - 1, value + 1, error=error, df=df, queries=30)
        for value, error, df in ((50.0, 0.8, 12.0), (53.0, 1.1, 20.0))
    )
    expected = stats.ttest_ind_from_stats(50.0, 0.8 * 13**0.5, 13, 53.0, 1.1 * 21**0.5, 21, equal_var=False).pvalue
    assert unpaired_p(first, second) == pytest.approx(expected)
    assert np.isnan(unpaired_p(first, replace(second, scope=Scope.THESE_SUPPORTS)))
