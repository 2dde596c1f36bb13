"""A kit or a manifest of a stranger names a data set that is known here, and never a file whose code is run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fsbench.base.errors import FsbenchError
from fsbench.cli.main import main
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.kit.kit import read_kit, write_kit
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.kits import load_kit_test

CODE = """
from pathlib import Path
from fsbench.datamodules.datasets.folder import Folder
Path({mark!r}).touch()

class Stranger(Folder):
    pass
"""


@pytest.fixture
def names(tmp_path) -> tuple[list[str], Path]:
    """Names of data sets that would run a stranger's code, and the file that shows it did."""
    mark = tmp_path / "was_run"
    (tmp_path / "stranger.py").write_text(CODE.format(mark=str(mark)))
    (tmp_path / "stranger.yaml").write_text(
        "task: segmentation\ndata:\n  init_args:\n    dataset:\n      class_path: stranger.Stranger\n"
    )
    return [f"{tmp_path}/stranger.py:Stranger", f"{tmp_path}/stranger.yaml", "../data/folder", "folder.yaml"], mark


def check(open_it: Callable[[str], object], names: tuple[list[str], Path]) -> None:
    for name in names[0]:
        with pytest.raises(
            FsbenchError, match=r"is of the data set .* which is not known here; .* --dataset|which is a path"
        ) as error:
            open_it(name)
        assert "\n" not in str(error.value)
    assert not names[1].exists()


def renamed(test, name: str, file: Path) -> Path:
    Manifest(test.manifest.entries | {"dataset": name}, test.manifest.episodes).write(file)
    return file


def test_manifests(blocks_folder, tmp_path, names, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(tmp_path))
    test = load_test("folder", root=blocks_folder, episodes=3)
    file = tmp_path / "episodes.jsonl"
    check(lambda name: load_test(manifest=renamed(test, name, file), root=blocks_folder), names)
    for name in names[0]:
        renamed(test, name, file)
        for words in (["data", "manifest", "verify"], ["kit", "--out", str(tmp_path / "kit"), "--manifest"]):
            assert main([*words, str(file), "--data-root", str(blocks_folder)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "which is not known here" in line or "which is a path" in line
    assert not names[1].exists()
    test.manifest.write(file)
    assert len(load_test("folder", root=blocks_folder, manifest=file)) == 3


def test_kits(blocks_folder, tmp_path, names, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write_kit(load_test("folder", root=blocks_folder, episodes=3), tmp_path / "kit", dataset="folder")
    kit = read_kit(tmp_path / "kit")
    check(lambda name: load_kit_test(kit.model_copy(update={"dataset": name}), root=blocks_folder), names)
    assert len(load_kit_test(kit, root=blocks_folder)) == 3
