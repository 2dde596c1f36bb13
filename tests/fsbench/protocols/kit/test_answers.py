"""The file that foreign programs write: nothing but numpy, whole lines, one answer to each episode."""

import ast
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fsbench.protocols.kit import answers
from fsbench.protocols.kit.answers import Answers, AnswersError, decode

TEST = "ab" * 32


def masks(rng: np.random.RandomState, count: int) -> list[np.ndarray]:
    """Return label maps of several sizes: noise, blocks, one colour."""
    sizes = rng.randint(1, 40, (count, 2))
    return [
        rng.randint(0, 3, (h, w)) if n % 3 == 0 else np.kron(rng.randint(0, 4, (h, w)), np.ones((3, 5), int))
        if n % 3 == 1 else np.full((h, w), n % 7)
        for n, (h, w) in enumerate(sizes.tolist())
    ]  # fmt: skip


def stored(path: Path) -> dict[int, dict]:
    """Return the answers of a file by number."""
    lines = path.read_bytes().splitlines(keepends=True)
    read = [answers.read_answer(line, place, str(path)) for place, line in enumerate(lines[1:], 1)]
    return {one["number"]: one for one in read}


def test_masks_come_back(tmp_path):
    drawn = masks(np.random.RandomState(0), 40)
    with Answers(tmp_path / "a.fsa", TEST) as written:
        for number, mask in enumerate(drawn):
            written.add(number * 3, mask)
        assert len(written) == 40 and written.done == set(range(0, 120, 3))
    for number, one in stored(tmp_path / "a.fsa").items():
        np.testing.assert_array_equal(decode(one["runs"], *one["size"]), drawn[number // 3])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.int32, np.uint16, np.float32])
def test_all_kinds_of_whole_numbers(tmp_path, dtype):
    with Answers(tmp_path / "a.fsa") as written:
        written.add(np.int64(4), np.eye(3, dtype=dtype), presence=np.array([True]), score=np.float32([0.25]))
    (one,) = stored(tmp_path / "a.fsa").values()
    assert (one["number"], one["presence"], one["score"]) == (4, [True], [0.25])


def test_tensors_and_episodes_are_taken(tmp_path):
    episode = SimpleNamespace(number=9)
    with Answers(tmp_path / "a.fsa") as written:
        written.add(episode, torch.eye(3).long(), torch.tensor([True]), torch.tensor([0.5], requires_grad=True))
    assert stored(tmp_path / "a.fsa")[9]["score"] == [0.5]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(mask=np.full((2, 2), np.nan)), "float64 and not of whole numbers; expected 0"),
        (dict(mask=np.zeros((1, 2, 2), int)), r"shape \(1, 2, 2\)"),
        (dict(mask=np.zeros((0, 2), int)), "shape"),
        (dict(mask=np.full((2, 2), -1)), "values -1 to -1"),
        (dict(mask=np.full((2, 2), 255)), "values 255 to 255"),
        (dict(mask=255 * np.eye(2)), "marks a way with 255; write its number, from 1 to N"),
        (dict(mask=np.ma.masked_equal(np.eye(2), 0)), "a masked array"),
        (dict(mask="cat"), "shape"),
        (dict(mask=None), "shape"),
        (dict(mask=np.eye(2, dtype=int), score=[0.5]), "without presence"),
        (dict(mask=np.eye(2, dtype=int), presence=[0.5]), "a bool for each way"),
        (dict(mask=np.eye(2, dtype=int), presence=[]), "expected a list"),
        (dict(mask=np.eye(2, dtype=int), presence=[True], score=[np.nan]), "from 0 to 1"),
        (dict(mask=np.eye(2, dtype=int), presence=[True], score=[1.5]), "from 0 to 1"),
        (dict(mask=np.eye(2, dtype=int), presence=[True], score=[0.5, 0.5]), "one of each for each way"),
        (dict(mask=np.eye(2, dtype=int), labels=[1]), "labels and more"),
        (dict(labels=[0]), "from 1"),
    ],
)
def test_answers_that_cannot_be_counted(tmp_path, arguments, words):
    with Answers(tmp_path / "a.fsa") as written:
        with pytest.raises(AnswersError, match=words):
            written.add(0, **arguments)
        assert written.done == set()


@pytest.mark.parametrize("number", [-1, 1.5, "3", True, None, float("nan"), 2**60])
def test_numbers_of_episodes(tmp_path, number):
    with Answers(tmp_path / "a.fsa") as written, pytest.raises(AnswersError, match="a whole number from 0"):
        written.add(number, np.eye(2, dtype=int))


def test_one_answer_to_each_episode(tmp_path):
    with Answers(tmp_path / "a.fsa") as written:
        written.add(0, np.eye(2, dtype=int))
        with pytest.raises(AnswersError, match="has an answer"):
            written.add(0, np.eye(2, dtype=int))
    with pytest.raises(AnswersError, match="closed"):
        written.add(1, np.eye(2, dtype=int))


def test_every_cut_loses_the_last_line_alone(tmp_path):
    """Whatever a killed writer left is gone on with, and the file is that of a writer that nobody stopped."""
    drawn = masks(np.random.RandomState(1), 3)
    path = tmp_path / "a.fsa"
    with Answers(path, TEST) as written:
        for number, mask in enumerate(drawn):
            written.add(number, mask)
    whole = path.read_bytes()
    starts = [0, *(place + 1 for place, byte in enumerate(whole) if byte == ord("\n"))]
    for end in sorted({*range(0, len(whole), 11), *starts, *(start + 1 for start in starts[:-1]), len(whole) - 1}):
        path.write_bytes(whole[:end])
        with Answers(path, TEST) as written:
            assert len(written) == max(0, sum(start <= end for start in starts) - 2), end
            for number, mask in enumerate(drawn):
                if number not in written.done:
                    written.add(number, mask)
        assert path.read_bytes() == whole, end


def test_damage_before_the_last_line_is_named(tmp_path):
    path = tmp_path / "a.fsa"
    with Answers(path) as written:
        for number in range(3):
            written.add(number, np.eye(4, dtype=int))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"runs", b"rums")
    path.write_bytes(b"".join(lines))
    with pytest.raises(AnswersError, match=r"line 3 of .* is damaged"):
        Answers(path)
    assert path.read_bytes() == b"".join(lines)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "a.fsa"
    with Answers(path) as written:
        written.add(0, [[1]])
    header, line = path.read_bytes().splitlines(keepends=True)
    text = b'{"number": 1, ' + line.partition(b" {")[2].rstrip()
    path.write_bytes(header + b"%08x " % zlib.crc32(text) + text + b"\n")
    with pytest.raises(AnswersError, match=r"line 2 of .* is damaged"):
        Answers(path)
    (tmp_path / "kit.json").write_text('{"test": "a", "test": "b"}')
    with pytest.raises(AnswersError, match="a key stands twice"):
        answers.read_kit_folder(str(tmp_path))


@pytest.mark.parametrize("content", [b"hello\n", b"hello", b"\x00" * 50, b"00000000 {}\n"])
def test_other_files_stay_as_they_are(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(AnswersError, match="no file of answers"):
        Answers(path, TEST)
    assert path.read_bytes() == content


def test_answers_to_another_test(tmp_path):
    Answers(tmp_path / "a.fsa", TEST).close()
    with pytest.raises(AnswersError, match="answers the test abab"):
        Answers(tmp_path / "a.fsa", "cd" * 32)
    with pytest.raises(AnswersError, match="the folder of a kit"):
        Answers(tmp_path / "b.fsa", "kit")
    assert not (tmp_path / "b.fsa").exists()
    with pytest.raises(AnswersError, match="cannot write"):
        Answers(tmp_path / "no" / "b.fsa")


def test_a_version_to_come(tmp_path):
    text = b'{"format": "fsbench answers", "test": null, "version": 2}'
    (tmp_path / "a.fsa").write_bytes(b"%08x %s\n" % (zlib.crc32(text), text))
    with pytest.raises(AnswersError, match=r"version 2 .* expected 1"):
        Answers(tmp_path / "a.fsa")


def test_one_writer_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(answers.time, "sleep", lambda seconds: None)
    with Answers(tmp_path / "a.fsa") as written:
        with pytest.raises(AnswersError, match="another process writes"):
            Answers(tmp_path / "a.fsa")
        written.add(0, np.eye(2, dtype=int))
    assert len(Answers(tmp_path / "a.fsa")) == 1


WRITER = """
import sys
from answers import Answers
import numpy as np
with Answers("a.fsa") as answers:
    for number in range(len(answers), 10**9):
        answers.add(number, np.eye(50, dtype=int))
"""


def test_a_killed_writer(tmp_path):
    """A real process is killed three times in the middle; all that `add` returned for is there."""
    (tmp_path / "answers.py").write_bytes(Path(answers.__file__).read_bytes())
    before = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path)
        deadline = time.monotonic() + 60
        size = (tmp_path / "a.fsa").stat().st_size if before else 0
        while not (tmp_path / "a.fsa").exists() or (tmp_path / "a.fsa").stat().st_size < size + 20000:
            assert time.monotonic() < deadline and writer.poll() is None
            time.sleep(0.005)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        with Answers(tmp_path / "a.fsa") as found:
            assert found.done == set(range(len(found))) and len(found) > before
            before = len(found)


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """The size of files of a process is limited, as on a full disk."""
    (tmp_path / "answers.py").write_bytes(Path(answers.__file__).read_bytes())
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n" + WRITER
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and ("File too large" in done.stderr or "disk is full" in done.stderr)
    content = (tmp_path / "a.fsa").read_bytes()
    assert content.endswith(b"\n") and 2500 < len(content) <= 3000
    assert len(Answers(tmp_path / "a.fsa")) == content.count(b"\n") - 1


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01" * 9, b"\x00\x00\x00\x00\x01", b"\xff\xff\xff\xff\x01" * 2])
def test_runs_that_do_not_fill_the_mask(data):
    text = answers.base64.b64encode(zlib.compress(data)).decode()
    with pytest.raises(AnswersError, match=r"damaged|fill"):
        decode(text, 2, 3)
    with pytest.raises(AnswersError, match="damaged"):
        decode("é", 2, 3)


@pytest.mark.slow(2)
def test_a_bomb_takes_no_memory():
    bomb = answers.base64.b64encode(zlib.compress(bytes(1 << 28))).decode()
    with pytest.raises(AnswersError):
        decode(bomb, 2, 3)


def test_it_is_for_python_3_6():
    """Its syntax is that of Python 3.6, and it imports the standard library and numpy alone."""
    source = Path(answers.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {one.name for node in imported if isinstance(node, ast.Import) for one in node.names}
    names |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert names == {"base64", "fcntl", "io", "json", "numpy", "os", "time", "typing", "zlib"}
    assert not any(isinstance(node, ast.NamedExpr | ast.JoinedStr) for node in ast.walk(tree))
    assert not any(
        one.posonlyargs for node in ast.walk(tree) if isinstance(one := getattr(node, "args", None), ast.arguments)
    )
