"""Bundles hold what was recorded, accidents to a run in one are told, and hostile files are refused."""

import json
import stat
import zipfile
from pathlib import Path

import pytest
import yaml

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.records.card import CHOICES, Card, check_card
from fsbench.records.record import Record
from fsbench.runner.exchange.bundle import LISTING, config_without_folders, read_listing, unpack, write_bundle
from fsbench.runner.exchange.verify import verify
from tests.fsbench.records.test_accidents import ACCIDENTS
from tests.fsbench.runs import reseal

CARD = {
    "novel_pixels": "no", "supervision": ["masks"], "backbone_data": "ImageNet-1k",
    "backbone_saw_test_images": "no", "trials": 3, "checkpoint_choice": "nothing trained",
}  # fmt: skip


def cards_of(records, **changes) -> dict[str, Card]:
    """Return the same card for each method of the records."""
    return {record.run.identity.method.name: check_card(CARD | changes, "card") for record in records}


def card_file(folder: Path, **changes) -> str:
    (folder / "card.yaml").write_text(yaml.safe_dump(CARD | changes))
    return str(folder / "card.yaml")


@pytest.fixture(scope="module")
def runs(shared_make) -> list[Record]:
    return [shared_make(method, 0) for method in ("first", "second")]


@pytest.fixture
def bundle(runs, tmp_path) -> Path:
    """A bundle of two runs that a test may change."""
    write_bundle(runs, cards_of(runs), "CC-BY-4.0", "fsbench 1", tmp_path / "results.fsb")
    return tmp_path / "results.fsb"


def altered(bundle: Path, change) -> Path:
    """Write the entries of a bundle again after `change(contents)`."""
    with zipfile.ZipFile(bundle) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return bundle


def entry(contents, file: str) -> str:
    return next(name for name in contents if name.endswith(f"/{file}"))


def edit(file: str, **values):
    def change(contents):
        name = entry(contents, file)
        contents[name] = json.dumps(json.loads(contents[name]) | values).encode()

    return change


def test_a_bundle_holds_the_files_and_is_the_same_each_time(bundle, runs, tmp_path):
    written = {record.run.id: record.path for record in runs}
    with unpack(bundle) as (folder, listing):
        for name in listing.runs:
            for file in ("run.json", "episodes.parquet", "manifest.jsonl"):
                assert (folder / name / file).read_bytes() == (written[name] / file).read_bytes()
    assert not folder.exists() and {*listing.runs} == {*written} and listing.card_of("second").trials == 3
    write_bundle(runs[::-1], cards_of(runs), "CC-BY-4.0", "fsbench 1", tmp_path / "again.fsb")
    assert (tmp_path / "again.fsb").read_bytes() == bundle.read_bytes()


def test_scores_are_computed_and_what_is_not_repeated_is_said(bundle, runs, capsys):
    _, verdicts = verify(bundle)
    assert [(verdict.failure, verdict.episodes, verdict.repeated) for verdict in verdicts.values()] == [("", 24, 0)] * 2
    for record in runs:
        scores, repeated = verdicts[record.run.id].lines
        assert f"mIoU {record.scores['mIoU']:.2f}" in scores and repeated.startswith("repeated: 0 of 24, because")
    assert main(["verify", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "nothing failed, repeated: 0 of 48 episodes" in out and "because the bundle has no config.yaml" in out
    assert "drawn by --sample-seed" in out and "trials                    3" in out
    assert main(["verify", str(bundle), "--predict", "0"]) == 0
    assert "because none was asked for" in capsys.readouterr().out


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident_in_a_bundle_is_told(shared_make, capsys, tmp_path, name):
    file, happen, words = ACCIDENTS[name]
    records, bundle = [shared_make("mine", 0, 2), shared_make("other", 0, 3, shot=2)], tmp_path / "results.fsb"
    write_bundle(records, cards_of(records), "CC-BY-4.0", "fsbench 1", bundle)
    with unpack(bundle) as (folder, listing):
        mine, other = listing.runs
        happen(folder / mine / file, folder / other / file)
        content = (folder / mine / file).read_bytes() if (folder / mine / file).exists() else None
    entries = {f"{mine}/{file}": content} if content else {}
    altered(bundle, lambda contents: (contents.pop(f"{mine}/{file}"), contents.update(entries)))
    status = main(["verify", str(bundle)])
    shown = capsys.readouterr()
    if content is None:
        assert status == 2 and f"it lacks {mine}/{file}" in shown.err
        return
    (line,) = [line for line in shown.out.splitlines() if line.startswith("  failed: ")]
    assert status == 1 and "1 of 2 runs failed" in shown.out and "fsbench-bundle" not in line
    assert words in line or "of another run" in line


def test_counts_that_cannot_be_are_told_though_they_are_sealed(make, tmp_path, capsys):
    import polars as pl

    record = make("m", 0)
    write_bundle([record], cards_of([record]), "CC-BY-4.0", "fsbench 1", tmp_path / "m.fsb")
    frame = record.every_episode.with_columns(tp=pl.col("gt") + 1000)
    frame.write_parquet(record.path / "episodes.parquet")
    reseal(record)
    files = {f"{record.run.id}/{path.name}": path.read_bytes() for path in record.path.glob("*.[jp]*")}
    altered(tmp_path / "m.fsb", lambda contents: contents.update(files))
    assert main(["verify", str(tmp_path / "m.fsb")]) == 1
    assert "right pixels" in capsys.readouterr().out


def rename(contents, name: str):
    contents[name] = contents.pop(entry(contents, "run.json"))


def relist(**values):
    return lambda contents: contents.update({LISTING: json.dumps(json.loads(contents[LISTING]) | values).encode()})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: rename(c, "../run.json"), "it has '../run.json'"),
        (lambda c: rename(c, "..\\run.json"), "which no bundle has"),
        (lambda c: c.update({"x/weights.pth": b""}), "it has 'x/weights.pth'"),
        (lambda c: c.pop(entry(c, "run.json")), "it lacks first"),
        (lambda c: c.pop(LISTING), "it has no bundle.json"),
        (lambda c: c.update({LISTING: b"[" * 10_000}), "bundle.json"),
        (relist(format=2), "format is 2"),
        (relist(cards={"first": CARD | {"trials": 0}}), "cards.first.trials is 0"),
        (relist(runs=["../x"]), "runs"),
        (relist(runs=["x"]), "whose run bundle.json does not name"),
        (relist(runs=["x", "x"]), "names a run twice"),
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
        ("manifest.jsonl", lambda path, secret: path.symlink_to(secret), "manifest.jsonl "),
        ("config.yaml", lambda path, secret: path.hardlink_to(secret), "config.yaml holds no settings"),
    ],
)  # fmt: skip
def test_a_run_of_somebody_elses_takes_no_file_of_this_machine_into_a_bundle(make, tmp_path, file, plant, message):
    record, secret = make("first", 0), tmp_path / "secret"
    secret.write_text("root:x:0:0\n")
    (record.path / file).unlink(missing_ok=True)
    plant(record.path / file, secret)
    with pytest.raises(RecordError, match=message):
        write_bundle([record], cards_of([record]), "CC-BY-4.0", "fsbench 1", tmp_path / "out.fsb")
    assert not (tmp_path / "out.fsb").exists()


def test_of_places_elsewhere_the_last_part_is_kept(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"root": "/home/me/coco", "lists": ["~/a", "../b/c", "data/d"], "n": 3}))
    assert yaml.safe_load(config_without_folders(file)) == {"root": "coco", "lists": ["a", "c", "data/d"], "n": 3}


def test_links_twins_and_bombs_are_refused(bundle, tmp_path):
    def write(add, size: int = 0) -> Path:
        listing = {"format": 3, "made_by": "m", "licence": "l", "cards": {"first": {}}, "runs": ["x"]}
        with zipfile.ZipFile(tmp_path / "bad.fsb", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(LISTING, json.dumps(listing))
            for file in ("episodes.parquet", "manifest.jsonl"):
                archive.writestr(f"x/{file}", b"")
            add(archive, b" " * size)
        return tmp_path / "bad.fsb"

    def refused(*of_file) -> str:
        with pytest.raises(RecordError) as error, unpack(write(*of_file)):
            pytest.fail("it was unpacked")
        return str(error.value)

    link = zipfile.ZipInfo("x/run.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with unpack(write(lambda archive, _: archive.writestr(link, "/etc/passwd"))) as (folder, _):
        assert (folder / "x/run.json").read_text() == "/etc/passwd"  # a text, and no link
    _, verdicts = verify(tmp_path / "bad.fsb")
    assert "is no JSON" in verdicts["x"].failure

    def twice(archive, content):
        with pytest.warns(UserWarning, match="Duplicate name"):
            for _ in range(2):
                archive.writestr("x/run.json", content)

    assert "it has one of its files twice" in refused(twice)
    assert "more than a bundle's files have" in refused(lambda a, text: a.writestr("x/run.json", text), 17 << 20)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # of which no part is decompressed alone
        found = refused(lambda a, text, method=method: a.writestr("x/run.json", text, method), 1000)
        assert "it is compressed in a way whose result has no bound" in found
    (tmp_path / "text.fsb").write_text("no zip")
    content = bytearray(bundle.read_bytes())
    place = content.index(b"run.json") + 20
    content[place : place + 40] = bytes(40)
    (tmp_path / "flipped.fsb").write_bytes(content)
    (tmp_path / "cut.fsb").write_bytes(bundle.read_bytes()[:-2000])
    for name in ("text.fsb", "absent.fsb", "flipped.fsb", "cut.fsb"):
        with pytest.raises(RecordError, match="is no bundle"), unpack(tmp_path / name):
            pytest.fail("it was unpacked")
        assert main(["verify", str(tmp_path / name)]) == 2


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
    assert main(asked) == main(asked) == 0  # a bundle is replaced
    assert read_listing(out).card_of("first").trials == 3
    (tmp_path / "thesis.txt").write_text("my own")
    assert main([*asked[:-1], str(tmp_path / "thesis.txt")]) == 2
    assert "which is there and cannot be read as a bundle" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "my own"


def test_a_sample_is_a_fresh_one_unless_its_seed_is_stated(bundle, capsys):
    def seed(*words: str) -> str:
        assert main(["verify", str(bundle), *words]) == 0
        (line,) = (one for one in capsys.readouterr().out.splitlines() if "drawn by --sample-seed " in one)
        return line.rpartition("drawn by --sample-seed ")[2]

    first, second = seed(), seed()
    assert first != second and len(first) == len(second) == 32
    assert seed("--sample-seed", first) == first
    assert seed("--public-value", "a") == seed("--public-value", "a") != seed("--public-value", "b")
    assert main(["verify", str(bundle), "--predict", "0", "--public-value", "a"]) == 2
