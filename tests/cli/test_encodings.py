"""Terminals, pipes and locales that are not UTF-8."""

import pytest

from tests.cli.processes import the_record

PIPE = {"PYTHONIOENCODING": "ascii"}
LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python then takes ASCII for files and names, too, as it takes Latin-1 in an old locale."""


@pytest.mark.slow(30)
@pytest.mark.parametrize("words", [["list"], ["--help"], ["table", "{runs}", "--format=latex"], ["table", "{runs}"]])
def test_what_a_stream_cannot_show_is_escaped(fsbench, warm, finished_runs, words):
    words = [word.format(runs=finished_runs) for word in words]
    plain = warm(*words)
    assert plain.returncode == 0 and not plain.stdout.isascii()
    expected = plain.stdout.encode("ascii", "backslashreplace").decode()
    for environment in (PIPE, LOCALE):
        shown = fsbench(*words, **environment)
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, expected, ""), environment


@pytest.mark.slow(60)
def test_a_run_is_the_same_whatever_the_locale(fsbench, bench_arguments, finished_runs, tmp_path):
    """Its own process has the stream as well; files are UTF-8, also their names."""
    done = fsbench(*bench_arguments("prototype", "Läufe", "--no-trivial"), **LOCALE)
    assert (done.returncode, done.stdout.isascii()) == (0, True) and "L\\xe4ufe" in done.stdout, done.stderr
    record = the_record(tmp_path / "Läufe")
    assert record.counts_sha256 == the_record(finished_runs).counts_sha256
    assert "Läufe" in (record.path / "config.yaml").read_text(encoding="utf-8")
