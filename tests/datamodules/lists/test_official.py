import os
import pickle
from pathlib import Path

import pytest

from fsbench.base.errors import DataError
from fsbench.data.dataset import pairs_sha256
from fsbench.data.published import Checksum, checksums
from fsbench.datamodules.lists import official as official_lists
from fsbench.datamodules.lists.official import joined_origin, read_official, verdict

TEXT = "2007_000033__01\n2007_000061__4\n"
PAIRS = (("2007_000033", 1), ("2007_000061", 4))
LISTS = {7: ["val2014/b.jpg", "val2014/a.jpg"], 3: ["val2014/c.jpg"], 5: []}
COCO_PAIRS = (("val2014/c.jpg", 4), ("val2014/b.jpg", 8), ("val2014/a.jpg", 8))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checksums of the two small lists above in place of the real ones."""

    def checksum(pairs: tuple) -> Checksum:
        return Checksum(len(pairs), 3, pairs_sha256(pairs, ordered=False), pairs_sha256(pairs, ordered=True))

    tables = {
        "pascal": {("val", 0): checksum(PAIRS), ("0-5", 0): checksum(PAIRS)},
        "coco": {("val", 0): checksum(COCO_PAIRS)},
    }
    monkeypatch.setattr(official_lists, "checksums", lambda name: tables.get(name, {}))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_tables_have_every_list_of_the_protocol() -> None:
    splits = ["trn", "val", "pfenet-trn", "pfenet-val", "0-5", "5-10", "10-15", "0-15"]
    everything = {(split, fold) for split in splits for fold in range(4)}
    assert set(checksums("pascal")) == everything
    assert everything - set(checksums("coco")) == {("pfenet-trn", f) for f in range(4)}  # not at hand then
    assert set(checksums("isaid")) == {(split, f) for split in ("trn", "val") for f in range(3)}
    assert checksums("pascal")["val", 0].pairs == 346
    assert checksums("coco")["trn", 0].images == 62040
    assert checksums("folder") == checksums("of-a-package") == {}


@pytest.mark.usefixtures("known")
def test_altered_list_is_refused_with_both_checksums(tmp_path: Path) -> None:
    swapped = "\n".join(reversed(TEXT.split()))
    write(tmp_path / "pascal/val/fold0.txt", swapped)
    found, expected = pairs_sha256(PAIRS[::-1], ordered=True), pairs_sha256(PAIRS, ordered=True)
    message = rf"found 2 pairs, sha256 {found}; expected 2 pairs, sha256 {expected}; .*allow_unverified_lists"
    with pytest.raises(DataError, match=message):
        read_official([tmp_path], "pascal", "val", 0)
    pairs = read_official([tmp_path], "pascal", "val", 0, allow_unverified=True)
    assert pairs is not None
    assert (pairs.pairs, pairs.origin) == (PAIRS[::-1], "official, unverified")


@pytest.mark.usefixtures("known")
def test_lists_are_found_in_all_places_and_keep_their_order(tmp_path: Path) -> None:
    """In a folder of a data set or one deeper, those of sizes also under `custom`; a pickle's keys are one lower."""
    write(tmp_path / "hsnet/coco/val/fold0.pkl", pickle.dumps(LISTS))
    write(tmp_path / "hsnet/pascal/val/fold0.txt", TEXT)
    write(tmp_path / "emat-size/pascal/custom/0-5/fold0.txt", TEXT)
    write(tmp_path / "alone/coco/val/fold0.pkl", pickle.dumps(LISTS))
    write(tmp_path / "hmnet/pascal/val/data_list_0.txt", "a.jpg a.png\n")  # no list of this form, nor an incomplete one
    for folders in ([tmp_path], [str(tmp_path / name) for name in ("alone", "emat-size", "hsnet")]):
        for dataset, split, expected in (
            ("pascal", "val", PAIRS), ("pascal", "0-5", PAIRS), ("coco", "val", COCO_PAIRS)
        ):  # fmt: skip
            pairs = read_official(folders, dataset, split, 0)
            assert pairs is not None and (pairs.pairs, pairs.origin) == (expected, "official")
    assert read_official([tmp_path / "hmnet"], "pascal", "val", 0) is None
    assert read_official([tmp_path / "hsnet"], "pascal", "0-5", 0) is None
    with pytest.raises(DataError, match=r"no lists for coco in .*emat-size"):
        read_official([tmp_path / "emat-size"], "coco", "val", 0)


def test_folders_that_lack_a_list_are_named(tmp_path: Path) -> None:
    for dataset, source in (("coco", "github.com/juhongm999/hsnet"), ("isaid", "github.com/ANDYZAQ/GF-SAM")):
        with pytest.raises(DataError, match=f"no lists for {dataset} in") as caught:
            read_official([tmp_path / "wrong"], dataset, "val", 0)
        assert source in str(caught.value) and ("hsnet" in str(caught.value)) == (dataset == "coco")
    write(tmp_path / "pascal/val/fold0.txt", TEXT)
    with pytest.raises(DataError, match=r"no list of fold 2 in .*val; expected fold2\.txt"):
        read_official([tmp_path], "pascal", "val", 2)


class Malicious:
    """A pickle that would run a command."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    write(tmp_path / "coco/val/fold0.pkl", pickle.dumps({0: [Malicious(tmp_path / "made")]}))
    with pytest.raises(DataError, match=r"fold0\.pkl cannot be read \(it asks for posix\.mkdir\)"):
        read_official([tmp_path], "coco", "val", 0, allow_unverified=True)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        *(
            ("pascal/val/fold0.txt", f"2007_000033__01\n{line}\n", r"line 2 of list .*fold0\.txt")
            for line in ("2007_000033", "2007_000033__00", "2007_000033__123", "../x__01")
        ),
        *(
            ("coco/val/fold0.pkl", pickle.dumps(content), "holds something else")
            for content in ({"0": ["a"]}, {0: [b"a"]}, {0: ("a",)}, {-1: ["a"]}, [["a"]], 3)
        ),
        ("coco/val/fold0.pkl", pickle.dumps(LISTS)[:-20], r"list .*fold0\.pkl cannot be read"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, file: str, content: str | bytes, message: str) -> None:
    write(tmp_path / file, content)
    with pytest.raises(DataError, match=message):
        read_official([tmp_path], file.split("/")[0], "val", 0, allow_unverified=True)


@pytest.mark.usefixtures("known")
def test_verdict_tells_set_from_order() -> None:
    assert verdict(PAIRS, "pascal", "val", 0) == "official"
    assert verdict(PAIRS[::-1], "pascal", "val", 0) == "derived, official set in another order"
    assert verdict(PAIRS[:1], "pascal", "val", 0) == "derived"
    assert verdict(PAIRS, "shapes", "val", 0) == "derived"


def test_joined_list_is_as_certain_as_its_weakest_part() -> None:
    assert joined_origin(["official", "official"]) == "official"
    assert joined_origin(["official", "official, unverified", "official"]) == "official, unverified"
    same, reordered = "official", "derived, official set in another order"
    assert joined_origin([same, reordered, same]) == reordered


@pytest.mark.parametrize("fold", [0, *(pytest.param(fold, marks=pytest.mark.slow(4)) for fold in (1, 2, 3))])
def test_all_official_files_have_the_published_checksums(real_data: Path, large_lists: Path, fold: int) -> None:
    lists = real_data / "official-lists"
    tables = {(name, *key): known for name in ("pascal", "coco") for key, known in checksums(name).items()}
    for (dataset, split, own), known in tables.items():
        if split.startswith("pfenet") or own != fold:
            continue
        large = dataset == "coco" and split == "trn"
        folders = [large_lists / "hsnet"] if large else [lists / "hsnet", lists / "emat-size"]
        pairs = read_official(folders, dataset, split, fold)
        assert pairs is not None
        assert pairs.origin == "official"
        assert len({name for name, _ in pairs.pairs}) == known.images
        assert pairs_sha256(pairs.pairs, ordered=False) == known.sha256_sorted
