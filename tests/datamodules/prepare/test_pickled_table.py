"""Pickled tables: those of all versions of pandas are read, and nothing else is."""

import pickle
from base64 import b64decode
from pathlib import Path
from zlib import decompress

import numpy as np
import pandas
import pytest

from fsbench.base.errors import DataError
from fsbench.datamodules.prepare import pickled_table
from fsbench.datamodules.prepare.pickled_table import read_columns

TABLES = {
    "1.0.5": (
        "eNp9U1Fr1EAQTtLkPKtFCxYVoaCgnC+hJ6X4IBRsEWrwhL4fYZJbu6HJ3rHZVQ88sA+tCPvW8cf6VGd3LaT1bB6Szc7M9803++33+NfJSuAe"
        "sz4DMYE2LaeSpZ8kNAzN7X1Q8M6tz/HlCS5wYJJ8QptoNrv5lVBMCqjbtAEBR0y2aO6+rafl8Qf/7+sHYwJ4dLVwwr6yNi2gJb7VXLAv+YHd"
        "owJ+xySXa8sce+INoZvZ3Jc3ulYVSAlz4sslK6eiVVKXikpM4hLR3CI6l3KOWXCKe2GBP/AQB1mYRafIN0wyUfOZlWiij68pJwt9fMWE33A0"
        "Gr2/oMe9sl2FxU+rIm6gPUbT5zr34IwiJhZ2ViN9RvV8zTxZJpW6YrIqSe2BUDvbHYV8nT/gD22P/HG3w00TVdf6enOtr8D2tXc/9ocZRH+/"
        "SNt84PthY1wCn0VnyJ9aSf8GQxckdj3ssvNny7ijIHRs+zfgVK+u4Owsw4mT4PeFQ/oPziHlhKTQ5tihA+la4/dumJ+X95y/YJ1xwAJNbysd"
        "bqdD7y6gw0G+anqF9W2LY7fd+wy1toFd02+OZE4x8na/0BU5T9AyaeuqZM5bNE2nTYNunRty8hXdIuvbyxuVN0yBM/KYakEpuioL1EX6B7SJ"
        "WZo="
    ),
    "1.3.5": (
        "eNp9U99r1EAQTtJEeyKiD1qlIoI+9F4OlKJ9EAQrQo1G6KuUsEn2bkM3m7A/qAcW9OHOFvat4x/rU53dcHjF6ELC7O7MN99+M/Mt/rncCPyy"
        "dzoiKqImZSvpZCpJQ8GO3hJN3nn7Asbf4RR2bJw3Mwn20bp7LTSVgnA1aYggMyoV2JtveFsef+z3GG5HUyNK3bYcL693ROqacHf+cBipcOHo"
        "OhL0JPcbdF7AIeywW+NTsLGo6gbSSGUaCntXmKab9xiN4YgtJZkji1zSshVKS1Nqly3xjsgAc3qXC0iDBeyHBfxw4GmYRmm0BLZlk0rPO/dy"
        "G33ag/Oz/n7Dhl8hy7L3l7j8L32NDM6PkNg99sCBse0VVOihHtvIPPsDwJ5eDQ9c+H4UhIAGG/8HpX6+TuMVDOHESfDr0iP9A+cl+oRBFDgf"
        "6rTbLEyNigkUO1G8LqnXBGUIXeASvwXg6+z9q4Wq6BeKZSIKG+VG7qp04M4wmH2wycr2LVNhG8HffCLcPHHC2bgh6hjsJjN5XxVPLBau8zLj"
        "KLDMbg/lx3JSWZdI4UDoF7tradnhcEan41o52d6QirfjfixQp355RT/3XKj74SBge2B/uset5iVvqCb+tUcoJtEaJwF79Vo+5WTmzS3CeXui"
        "8sp0KDXRNOekoDgTZ8oUk9+MDWep"
    ),
}
"""Version of pandas -> a table that it pickled, compressed: two rows of mask (1, 2) and hu_array (1, 2)."""


def _check(path: Path) -> None:
    rows = read_columns(path, ["hu_array", "mask"], path.parent)
    assert [row["hu_array"].tolist() for row in rows] == [[[5, -7]], [[1, 2]]]
    assert [row["mask"].tolist() for row in rows] == [[[0, 1]], [[0, 1]]]
    assert {(row["hu_array"].dtype.name, row["mask"].dtype.name) for row in rows} == {("int16", "uint8")}


@pytest.mark.parametrize("version", TABLES)
def test_tables_of_old_versions_are_read(version: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(decompress(b64decode(TABLES[version])))
    _check(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", [2, 5])
def test_tables_of_the_installed_version_are_read(protocol: int, tmp_path: Path) -> None:
    scans = [np.array([[5, -7]], np.int16), np.array([[1, 2]], np.int16)]
    columns = {"label1": ["a", "b"], "place": [1, 2], "share": [0.5, 1], "mask": [np.array([[0, 1]], np.uint8)] * 2}
    table = pandas.DataFrame(columns | {"hu_array": scans}, index=[7, 3])
    table.to_pickle(tmp_path / "a.pkl", protocol=protocol)
    _check(tmp_path / "a.pkl")


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    pandas.DataFrame({"label1": [1], "scan": [2]}).to_pickle(tmp_path / "a.pkl")
    with pytest.raises(DataError, match=r"a\.pkl has no column mask, but label1, scan; fetch the authors' own"):
        read_columns(tmp_path / "a.pkl", ["scan", "mask"], tmp_path)


def test_without_pandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled_table, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"needs pandas, which is not installed; .*pip install 'fsbench\[medical\]'"):
        read_columns(tmp_path / "a.pkl", ["mask"], tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        ("builtins", "print"),
        ("polars", "DataFrame"),  # the name of a part, in another module
        ("pandas.io.pickle", "DataFrame"),
        ("pandas", "to_datetime"),  # a module with parts, and another name of it
        ("numpy", "sum"),
        ("pandas", "DataFrame.sum"),
    ],
)
def test_a_table_that_asks_for_anything_but_a_table_is_refused(asked: tuple[str, str], tmp_path: Path) -> None:
    module, name = (pickle.SHORT_BINUNICODE + bytes([len(word)]) + word.encode() for word in asked)
    (tmp_path / "a.pkl").write_bytes(pickle.PROTO + b"\x04" + module + name + pickle.STACK_GLOBAL + pickle.STOP)
    with pytest.raises(DataError, match=rf"a\.pkl cannot be read .*it asks for {asked[0]}\.{asked[1]}\); expected"):
        read_columns(tmp_path / "a.pkl", ["mask"], tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([1, 2]), "it has a list"),
        (b"no pickle", "UnpicklingError"),
        (pickle.dumps(pandas.DataFrame({"mask": [["a", None]]})), "it has objects in place of arrays"),
    ],
)
def test_other_files_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DataError, match=rf"cannot be read \(.*{words}.*expected a pickled table of pandas"):
        read_columns(tmp_path / "a.pkl", ["mask"], tmp_path)
