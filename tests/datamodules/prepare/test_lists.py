"""Released lists of episodes: fetched and verified, copied, or refused."""

import csv
import io
from hashlib import sha256
from pathlib import Path

import pytest

from fsbench.data import published
from fsbench.data.published import list_files
from fsbench.datamodules.datasets.pascal import Pascal
from tests.datamodules.prepare.archives import prepare
from tests.web import Web


@pytest.fixture
def few_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three list files in place of the released ones."""
    source = tmp_path / "released"
    rows = []
    for file, address in (
        ("hsnet/pascal/val/fold0.txt", "a/b/data/splits/pascal/val/fold0.txt"),
        ("emat-size/pascal/0-5/fold0.txt", "c/d/data/splits/pascal/custom/0-5/fold0.txt"),
        ("hmnet/pascal/val.txt", ""),
    ):
        path = source / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{file}\n")
        rows.append({"file": file, "source": address, "sha256": sha256(path.read_bytes()).hexdigest()})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["file", "source", "sha256"])
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "pascal.list_files.csv").write_text(text.getvalue())
    monkeypatch.setattr(published, "CHECKSUMS", tmp_path)
    list_files.cache_clear()
    return source


def lists_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root / "lists").as_posix() for path in (root / "lists").rglob("*") if path.is_file())


def test_lists_are_fetched_and_verified(ready: Path, few_lists: Path, web: Web, capsys) -> None:  # type: ignore[no-untyped-def]
    arguments = ("pascal", "--root", ready, "--url-base", web.url)
    hsnet, size = "hsnet/pascal/val/fold0.txt", "emat-size/pascal/0-5/fold0.txt"
    assert prepare(*arguments) == 2
    assert "/lists/hsnet/pascal/val/fold0.txt was refused: HTTP 404" in (error := capsys.readouterr().err)
    assert "--no-lists does without" in error
    web.files[f"/lists/{hsnet}"] = b"altered"
    assert prepare(*arguments) == 2
    assert "gave other bytes: sha256" in capsys.readouterr().err
    web.files[f"/lists/{hsnet}"] = (few_lists / hsnet).read_bytes()
    assert prepare(*arguments) == 0
    printed = capsys.readouterr().out
    assert "note: lists emat-size were not to be had" in printed
    assert "lists hmnet: no address is known; give a copy with --lists DIR" in printed
    web.files[f"/lists/{size}"] = (few_lists / size).read_bytes()
    assert prepare(*arguments) == 0
    assert {hsnet, size} <= set(lists_in(ready))
    asked = len(web.requests)
    assert prepare(*arguments) == 0
    assert len(web.requests) == asked


@pytest.mark.parametrize("layout", ["all", "checkout"])
def test_lists_are_copied(ready: Path, few_lists: Path, layout: str, capsys) -> None:  # type: ignore[no-untyped-def]
    if layout == "checkout":  # data/splits of a repository
        (few_lists / "pascal/custom").mkdir(parents=True)
        (few_lists / "hsnet/pascal/val").rename(few_lists / "pascal/val")
        (few_lists / "emat-size/pascal/0-5").rename(few_lists / "pascal/custom/0-5")
        (few_lists / "hmnet/pascal/val.txt").unlink()
    assert prepare("pascal", "--root", ready, "--lists", few_lists) == 0
    expected = ["emat-size/pascal/0-5/fold0.txt", "hmnet/pascal/val.txt", "hsnet/pascal/val/fold0.txt"]
    assert lists_in(ready) == [name for name in expected if layout == "all" or "hmnet" not in name]
    assert ("1 lists are not in" in capsys.readouterr().out) == (layout == "checkout")
    copy = ready / "lists/hsnet/pascal/val/fold0.txt"
    copy.write_text("altered")
    assert prepare("pascal", "--root", ready, "--lists", few_lists) == 0
    assert copy.read_text() == "hsnet/pascal/val/fold0.txt\n"
    copy.unlink()
    (few_lists / ("pascal/val" if layout == "checkout" else "hsnet/pascal/val") / "fold0.txt").write_text("altered")
    assert prepare("pascal", "--root", ready, "--lists", few_lists) == 2
    assert "fold0.txt was altered: found sha256" in capsys.readouterr().err
    assert not copy.exists()


def test_folder_without_lists_is_refused(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare("pascal", "--root", ready, "--lists", tmp_path) == 2
    assert "has none of the 45 lists, such as" in capsys.readouterr().err
    for option in ("--lists", "--from"):
        assert prepare("pascal", "--root", ready, option, tmp_path / "none") == 2
        assert f"{option} is {tmp_path / 'none'}, which is no folder" in capsys.readouterr().err


def test_released_lists_are_taken_as_they_are(real_data: Path, ready: Path) -> None:
    lists = real_data / "official-lists"
    assert prepare("pascal", "--root", ready, "--lists", lists) == 0
    assert len(lists_in(ready)) == 45
    assert Pascal(str(ready)).lists == [str(ready / "lists")]
