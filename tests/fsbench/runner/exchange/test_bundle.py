"""Bundles hold what was recorded, whoever changes them is found out, and hostile ones are refused."""

import hashlib
import json
import stat
import zipfile
from pathlib import Path

import polars as pl
import pytest
import yaml

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.records.card import CHOICES, Card, check_card
from fsbench.records.counts import hashes
from fsbench.records.record import Record, read_record
from fsbench.runner.exchange.bundle import LISTING, read_listing, unpack, write_bundle
from fsbench.runner.exchange.verify import verify
from tests.fsbench.runs import rewrite

CARD = {
    "novel_pixels": "no", "supervision": ["masks"], "backbone_data": "ImageNet-1k",
    "backbone_saw_test_images": "no", "trials": 3, "checkpoint_choice": "nothing trained",
}  # fmt: skip


def cards_of(records, **changes) -> dict[str, Card]:
    """Return the same card for each method of the records."""
    return {record.run.identity.method.name: check_card(CARD | changes, "card") for record in records}


def with_scores(record):
    """Give a record of the fixture scores that follow from its counts."""
    scores = record.protocol.statistics(record.episodes, record.header).scores()
    return rewrite(record, scores=scores)


@pytest.fixture(scope="module")
def runs(shared_make) -> list[Record]:
    return [with_scores(shared_make(method, 0)) for method in ("first", "second")]


@pytest.fixture
def bundle(runs, tmp_path) -> Path:
    """A bundle of two runs that a test may change."""
    write_bundle(runs, cards_of(runs), "CC-BY-4.0", "fsbench 1", tmp_path / "results.fsb")
    return tmp_path / "results.fsb"


def altered(bundle: Path, change, relist: bool = False) -> Path:
    """Write the entries of a bundle again after `change(contents)`; `relist` states the new hashes."""
    with zipfile.ZipFile(bundle) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    if relist:
        listing = json.loads(contents[LISTING])
        for run, files in listing["runs"].items():
            for file in files:
                files[file] = hashlib.sha256(contents[f"{run}/{file}"]).hexdigest()
        contents[LISTING] = json.dumps(listing).encode()
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return bundle


def entry(contents, file: str) -> str:
    return next(name for name in contents if name.endswith(f"/{file}"))


def test_a_bundle_holds_the_files_and_is_the_same_each_time(bundle, runs, tmp_path):
    with unpack(bundle) as (folder, listing):
        names, written = list(listing.runs), {record.path.name: record.path for record in runs}
        for name in names:
            for file in ("run.json", "episodes.parquet", "manifest.jsonl"):
                assert (folder / name / file).read_bytes() == (written[name] / file).read_bytes()
    assert not folder.exists() and len(names) == 2 and listing.card_of("second").trials == 3
    listing, findings = verify(bundle)
    assert [f.status for f in findings].count("failed") == 0
    assert sum("scores follow from the counts" in f.what for f in findings) == 2
    before = bundle.read_bytes()
    cards = [f"--card={name}={card_file(tmp_path)}" for name in ("second", "first")]
    runs = [str(written[name]) for name in reversed(names)]
    assert main(["bundle", *runs, *cards, "-o", str(tmp_path / "again.fsb")]) == 0
    with zipfile.ZipFile(tmp_path / "again.fsb") as again, zipfile.ZipFile(bundle) as first:
        assert again.namelist() == first.namelist()
        assert all(again.read(name) == first.read(name) for name in again.namelist() if name != LISTING)
    assert bundle.read_bytes() == before


def card_file(folder: Path, **changes) -> str:
    (folder / "card.yaml").write_text(yaml.safe_dump(CARD | changes))
    return str(folder / "card.yaml")


def edit(file: str, **values):
    def change(contents):
        name = entry(contents, file)
        contents[name] = json.dumps(json.loads(contents[name]) | values).encode()

    return change


def a_better_count(contents):
    name = entry(contents, "episodes.parquet")
    file = Path(name.replace("/", "-"))
    frame = pl.read_parquet(contents[name]).with_columns(pl.col("tp") + 1)
    frame.write_parquet(file)
    contents[name] = file.read_bytes()
    file.unlink()


def recount(change):
    """Other counts, with the hashes and the scores that follow from them."""

    def changed(contents):
        name = entry(contents, "episodes.parquet").rpartition("/")[0]
        folder = Path("recounted")
        folder.mkdir(exist_ok=True)
        for file in ("run.json", "episodes.parquet", "manifest.jsonl"):
            (folder / file).write_bytes(contents[f"{name}/{file}"])
        record = read_record(folder)
        frame = change(record.every_episode)
        scores = record.protocol.statistics(frame, record.header).scores()
        rewrite(record, scores=scores, **hashes(frame))
        frame.write_parquet(folder / "episodes.parquet")
        contents[f"{name}/episodes.parquet"] = (folder / "episodes.parquet").read_bytes()
        contents[f"{name}/run.json"] = (folder / "run.json").read_bytes()

    return changed


the_best_half = recount(lambda frame: frame.filter(pl.col("episode") % 2 == 0))
another_class = recount(
    lambda frame: frame.with_columns(
        class_id=pl.when(pl.col("slot") > 0).then(frame["class_id"].max()).otherwise(0).cast(frame["class_id"].dtype)
    )
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit("run.json", scores={"mIoU": 99.0}), "mIoU is"),
        (edit("run.json", counts_sha256="0" * 64), "does not hold the counts"),
        (edit("run.json", id="another"), "run.json is that of another"),
        (edit("run.json", identity=None), "is no record of fsbench"),
        (a_better_count, "does not hold the counts that run.json names"),
        (lambda c: c.update({entry(c, "manifest.jsonl"): b"{}\n{}\n"}), "manifest.jsonl"),
        (the_best_half, "counts 12 of 24 episodes"),
        (another_class, "its manifest names episode"),
    ],
)
def test_a_changed_run_with_new_hashes_is_found_out(bundle, change, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    altered(bundle, change, relist=True)
    assert main(["verify", str(bundle)]) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("  failed")]
    assert words in line and "NOT verified, 1 of" in out


def rename(contents, name: str):
    contents[name] = contents.pop(entry(contents, "run.json"))


def relist(**values):
    return lambda contents: contents.update({LISTING: json.dumps(json.loads(contents[LISTING]) | values).encode()})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit("run.json", scores={}), "has another sha256 than bundle.json says"),
        (lambda c: rename(c, "../run.json"), "lists other files than it has: '../run.json'"),
        (lambda c: rename(c, "..\\run.json"), "lists other files"),
        (lambda c: c.update({"x/weights.pth": b""}), "lists other files than it has: 'x/weights.pth'"),
        (lambda c: c.pop(LISTING), "it has no bundle.json"),
        (lambda c: c.update({LISTING: b"[" * 10_000}), "bundle.json"),
        (relist(format=3), "format is 3"),
        (relist(cards={"first": CARD | {"trials": 0}}), "cards.first.trials is 0"),
        (relist(runs={"../x": {}}), "has a run named '../x'"),
        (relist(runs={"x": {"../run.json": "0" * 64}}), "names '../run.json', which no bundle has"),
        (relist(runs={"x": {"run.json": "0" * 64}}), "the run x lacks episodes.parquet"),
    ],
)
def test_what_is_no_bundle_is_refused(bundle, change, words, tmp_path):
    altered(bundle, change)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(RecordError, match=r"is a folder.*\n  fsbench bundle .*--new-card card.yaml"), unpack(tmp_path):
        pytest.fail("it was unpacked")
    with pytest.raises(RecordError, match="is no bundle") as refused, unpack(bundle):
        pytest.fail("it was unpacked")
    assert words in str(refused.value) and len(str(refused.value)) < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("file", "plant", "message"),
    [
        ("config.yaml", lambda path, secret: path.symlink_to(secret), "config.yaml is a link; expected a file of"),
        ("manifest.jsonl", lambda path, secret: path.symlink_to(secret), "manifest.jsonl is "),
        ("config.yaml", lambda path, secret: path.hardlink_to(secret), "config.yaml holds no settings"),
    ],
)  # fmt: skip
def test_a_run_of_somebody_elses_takes_no_file_of_this_machine_into_a_bundle(make, tmp_path, file, plant, message):
    record, secret = with_scores(make("first", 0)), tmp_path / "secret"
    secret.write_text("root:x:0:0\n")
    (record.path / file).unlink(missing_ok=True)
    plant(record.path / file, secret)
    with pytest.raises(RecordError, match=message):
        write_bundle([record], cards_of([record]), "CC-BY-4.0", "fsbench 1", tmp_path / "out.fsb")
    assert not (tmp_path / "out.fsb").exists()


def test_links_twins_and_bombs_are_refused(bundle, tmp_path):
    def refused(write, size: int = 0) -> str:
        listing = {"format": 2, "made_by": "m", "licence": "l", "cards": {"first": {}}}
        content = b" " * size
        hashes = dict.fromkeys(("episodes.parquet", "manifest.jsonl"), hashlib.sha256(b"").hexdigest())
        hashes["run.json"] = hashlib.sha256(content).hexdigest()
        with zipfile.ZipFile(tmp_path / "bad.fsb", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(LISTING, json.dumps(listing | {"runs": {"x": hashes}}))
            for file in ("episodes.parquet", "manifest.jsonl"):
                archive.writestr(f"x/{file}", b"")
            write(archive, content)
        with pytest.raises(RecordError) as error, unpack(tmp_path / "bad.fsb"):
            pytest.fail("it was unpacked")
        return str(error.value)

    link = zipfile.ZipInfo("x/run.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "another sha256" in refused(lambda archive, _: archive.writestr(link, "/etc/passwd"))

    def twice(archive, content):
        with pytest.warns(UserWarning, match="Duplicate name"):
            for _ in range(2):
                archive.writestr("x/run.json", content)

    assert "lists other files than it has: 'one of them twice'" in refused(twice)
    assert "more than a bundle's files have" in refused(lambda a, text: a.writestr("x/run.json", text), 17 << 20)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # of which no part is decompressed alone
        found = refused(lambda a, text, method=method: a.writestr("x/run.json", text, method), 1000)
        assert "it is compressed in a way whose result has no bound" in found
    (tmp_path / "text.fsb").write_text("no zip")
    content = bytearray(bundle.read_bytes())
    place = content.index(b"run.json") + 20
    content[place : place + 40] = bytes(40)
    (tmp_path / "flipped.fsb").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "lzma.fsb", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x/run.json", "{}")
    for name in ("text.fsb", "absent.fsb", "flipped.fsb", "lzma.fsb"):
        with pytest.raises(RecordError, match="is no bundle"), unpack(tmp_path / name):
            pytest.fail("it was unpacked")


def test_the_command_line(runs, capsys, tmp_path):
    record = runs[0]
    new, out = tmp_path / "new.yaml", tmp_path / "results.fsb"
    assert main(["bundle", "--new-card", str(new)]) == 0 and new.read_text() == CHOICES
    assert main(["bundle", "--new-card", str(new)]) == 2 and "exists already" in capsys.readouterr().err
    assert main(["bundle", str(record.path)]) == 2 and "lacks --card, -o;" in capsys.readouterr().err
    assert main(["bundle", str(record.path), "--card", "a b.yaml"]) == 2
    commands = f"  fsbench bundle {record.path} --card 'a b.yaml' -o results.fsb\n  fsbench verify results.fsb\n"
    assert capsys.readouterr().err.endswith(f"and a file to write:\n{commands}")
    assert main(["bundle", str(record.path), "--card", str(new), "-o", str(out)]) == 2 and not out.exists()
    asked = ["bundle", str(record.path), "--card", card_file(tmp_path), "-o", str(out)]
    assert main([*asked, "--licence", "a\nb"]) == 2 and "--licence is" in capsys.readouterr().err and not out.exists()
    assert main(["bundle", str(record.path), "--card", card_file(tmp_path), "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["verify", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "trials                    3" in printed and "not checked  predictions" in printed
    assert "verified, no finding failed" in printed
    assert main(["verify", str(tmp_path / "absent.fsb")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_sample_is_named_when_it_is_drawn(bundle, capsys, tmp_path):
    """Once for all runs, and not before it is known whether the file is a bundle."""
    (tmp_path / "words.txt").write_text("no bundle")
    for file in (tmp_path / "words.txt", tmp_path / "absent.fsb"):
        for seed in ([], ["--public-value", "a commit"]):
            assert main(["verify", str(file), "--predict", "1", *seed]) != 0
            out, err = capsys.readouterr()
            assert out == "" and len(err.splitlines()) == 1 and "FSBENCH_TRACEBACK" not in err
    assert main(["verify", str(bundle), "--predict", "1", "--sample-seed", "mine"]) == 1  # no run that can be repeated
    assert capsys.readouterr().out.count("drawn by --sample-seed mine") == 1


def test_a_sample_is_a_fresh_one_unless_its_seed_is_stated(bundle, capsys):
    def seed(*words: str) -> str:
        main(["verify", str(bundle), "--predict", "1", *words])
        (line,) = (one for one in capsys.readouterr().out.splitlines() if "drawn by --sample-seed " in one)
        return line.rpartition("drawn by --sample-seed ")[2]

    first, second = seed(), seed()
    assert first != second and len(first) == len(second) == 32
    assert seed("--sample-seed", first) == first


def test_a_file_that_is_no_bundle_is_not_replaced(runs, capsys, tmp_path):
    record, card = runs[0], card_file(tmp_path)
    thesis, archive, out = tmp_path / "thesis.txt", tmp_path / "photos.zip", tmp_path / "results.fsb"
    thesis.write_text("my own")
    with zipfile.ZipFile(archive, "w") as photos:
        photos.writestr("photo.png", b"pixels")
    for path in (thesis, archive):
        content = path.read_bytes()
        assert main(["bundle", str(record.path), "--card", card, "-o", str(path)]) == 2
        assert f"-o is {path}, which is there and cannot be read as a bundle" in capsys.readouterr().err
        assert path.read_bytes() == content
    for _ in range(2):  # a bundle is replaced
        assert main(["bundle", str(record.path), "--card", card, "-o", str(out)]) == 0
    assert read_listing(out).card_of("first").trials == 3


def test_a_card_of_a_method_without_runs_is_found_out(bundle):
    def add(contents):
        listing = json.loads(contents[LISTING])
        listing["cards"]["third"] = listing["cards"]["first"]
        contents[LISTING] = json.dumps(listing).encode()

    _, findings = verify(altered(bundle, add))
    assert [finding.what for finding in findings if finding.status == "failed"] == [
        "there is a card of third, but no run of it"
    ]
