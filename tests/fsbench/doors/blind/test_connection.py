"""A method's process is not believed: whatever it does ends in one clear line. Real processes, without torch."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fsbench.base.errors import FsbenchError, RunError, SettingsError
from fsbench.base.paths import BENCHMARKS
from fsbench.doors.blind.bench import check_hidden
from fsbench.doors.blind.connection import LONGEST_LINE, MethodConnection
from fsbench.doors.blind.request import absolute_request, check_request, files_beside, method_files, readable_files
from fsbench.doors.blind.sandbox import APART, SANDBOX, MethodPlace
from fsbench.protocols.kit.answers import encode, line_of
from fsbench.runner.config.request import Request
from fsbench.runner.config.tests import load_test

ASKED = {3: {"ways": 2, "size": [4, 5], "queries": None}}
MASK = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3


@contextmanager
def answering(tmp_path: Path, code: str, longest_line: int = LONGEST_LINE) -> Iterator[MethodConnection]:
    """Run `code` as the method's process, which has `line` (the next frame's answer) and `ask()` at hand."""
    work = tmp_path / "method"
    work.mkdir()
    head = (
        "import os, struct, sys, time\n"
        "def ask():\n"
        "    return sys.stdin.buffer.read(struct.unpack('>Q', sys.stdin.buffer.read(8))[0])\n"
        "def say(line):\n"
        "    sys.stdout.buffer.write(line); sys.stdout.buffer.flush()\n"
    )
    (work / "fake.py").write_text(head + code)
    place = MethodPlace(work, wants_sandbox=False)
    with MethodConnection(place, Request(methods=["mine"]), "fake", longest_line) as method:
        yield method


def answer_of(**changes: object) -> str:
    """Return code that answers with a sound line, but for the changes."""
    value = {"number": 3, "size": [4, 5], "runs": encode(MASK), "presence": [True, False], "score": [1.0, 0.25]}
    return f"ask(); say({line_of(value | changes)!r}); ask()"


def test_a_sound_answer(tmp_path):
    with answering(tmp_path, answer_of()) as method:
        found = method.answer(b"an episode", 3, ASKED)
    assert np.array_equal(found.label_map, MASK) and not found.failed
    assert found.present.tolist() == [True, False] and found.score.tolist() == [1, 0.25]


@pytest.mark.parametrize(
    "code, kind, words",
    [
        ("ask(); os._exit(7)", RunError, r"mine: its process hung up \(status 7\)"),
        ("ask(); sys.exit('\\x1b[31mbad news\\n')", RunError, r"status 1; \\u001b\[31mbad news"),
        ("ask(); os.kill(os.getpid(), 9)", RunError, r"hung up \(status -9\)"),
        ("sys.stdin.close(); os.close(0); time.sleep(0.1); os.close(1); os._exit(0)", RunError, "hung up"),
        ("ask(); say(b'\\x80\\x04garbage\\n')", RunError, "in place of an answer"),
        ("ask(); say(b'{}')", RunError, "hung up"),
        ("ask(); say(b'00000000 {}\\n')", RunError, "in place of an answer"),
        (answer_of(size=[5, 4]), SettingsError, "has the size 5 x 4"),
        (answer_of(number=4), SettingsError, "answers episode 4 instead of 3"),
        (answer_of(runs=encode(MASK + 1)), SettingsError, "the value 3"),
        (answer_of(runs="AAAA"), SettingsError, "damaged"),
        (answer_of(presence=[True], score=None), SettingsError, "length 1; expected 2"),
        (answer_of(score=[2.0, 0.0]), SettingsError, "score"),
        (answer_of(size=[10**6, 10**6]), SettingsError, "size"),
        (f"ask(); say({line_of({'error': 'x' * 5000})!r}); ask()", SettingsError, "^x+ … x+$"),
    ],
)
def test_whatever_it_does_is_one_line(tmp_path, code, kind, words):
    with pytest.raises(FsbenchError) as raised, answering(tmp_path, code) as method:
        method.answer(b"an episode", 3, ASKED)
    assert type(raised.value) is kind and re.search(words, str(raised.value))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000


def test_a_flood_is_not_kept(tmp_path):
    flood = "while 1: say(b'x' * 999)"
    with pytest.raises(RunError, match="more than 10000 bytes"), answering(tmp_path, flood, 10_000) as method:
        method.answer(b"an episode", 3, ASKED)


def test_it_ends_with_the_block_whatever_it_does(tmp_path):
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ask(); time.sleep(600)"
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), answering(tmp_path, code) as method:
        process = method.process
        signal.raise_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGKILL and time.monotonic() - began < 60


@pytest.mark.parametrize("end", ["time.sleep(600)", "os._exit(0)"])
def test_its_children_end_with_it(tmp_path, end):
    """Without a sandbox, too, and where the process has ended before."""
    code = f"import subprocess; child = subprocess.Popen(['sleep', '600']); say(b'%d\\n' % child.pid); {end}"
    with answering(tmp_path, code) as method:
        assert method.process.stdout is not None
        child = int(method.process.stdout.readline())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and is_running(child):
        time.sleep(0.02)
    assert not is_running(child)


def is_running(process: int) -> bool:
    """Return whether a process is there that has not ended (nobody may have asked for its status yet)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_options_that_no_blind_test_has():
    for given in (
        {"devices": 2}, {"support_annotation": "box"}, {"keep_predictions": "soft"}, {"force": True}, {"filter": "1"},
        {"extra": ["--data.dataset.root=x"]},
    ):  # fmt: skip
        with pytest.raises(SettingsError, match="--blind is given with"):
            check_request(Request(**given))
    check_request(Request(devices=1))


# The sandbox


def place(tmp_path: Path, *given: Path) -> MethodPlace:
    """Return a place in the sandbox; the test skips where there is none."""
    work = tmp_path / "work"
    work.mkdir()
    found = MethodPlace(work, given)
    if found.kind != SANDBOX:
        pytest.skip("bubblewrap is not installed, or does not work here")
    return found


LOOK = """import os, socket, sys
found = [path for path in {paths!r} if os.path.exists(path)]
try:
    socket.create_connection(("127.0.0.1", {port}), 1)
    found.append("network")
except OSError:
    pass
try:
    os.kill({pid}, 0)
    found.append("process")
except OSError:
    pass
open("written", "w").close()
try:
    open({readable!r}, "a")
    found.append("writable")
except OSError:
    pass
sys.stdout.write(" ".join(map(os.path.basename, found)) + "\\n")
"""


def test_the_sandbox_hides_files_network_and_processes(tmp_path):
    """The sandbox shows the given file of two, and neither a process of this user nor a server of this machine."""
    import socket

    for name in ("given", "hidden"):
        (tmp_path / name).write_text(name)
    walls = place(tmp_path, tmp_path / "given")
    with socket.create_server(("127.0.0.1", 0)) as server:
        paths = [str(tmp_path / "given"), str(tmp_path / "hidden"), str(Path.home() / ".bashrc")]
        code = LOOK.format(paths=paths, port=server.getsockname()[1], pid=os.getpid(), readable=str(tmp_path / "given"))
        (walls.work / "look.py").write_text(code)
        process = walls.start("look")
        out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"given\n", 0), walls.log.read_text()
    assert (walls.work / "written").is_file()


def test_files_of_the_test_are_looked_for_behind_the_walls(tmp_path):
    (tmp_path / "given" / "data").mkdir(parents=True)
    inside, outside = tmp_path / "given" / "data" / "image.jpg", tmp_path / "image.jpg"
    walls = MethodPlace(tmp_path / "work", [tmp_path / "given"])
    assert walls.seen([outside]) is None and walls.seen([outside, inside]) == inside


def test_nothing_of_a_test_lies_where_its_method_looks(blocks_folder, tmp_path):
    """Neither data, manifest and lists nor the folder of runs, which has the secret."""
    (tmp_path / "package").mkdir()
    walls, test = place(tmp_path, tmp_path / "package"), load_test("folder", root=blocks_folder, episodes=2)
    inside, outside = str(tmp_path / "package" / "x"), str(tmp_path / "x")
    check_hidden(walls, test, Request(runs=outside, manifest=outside, lists=[outside]))
    check_hidden(walls, test, Request(manifest=str(BENCHMARKS / "manifests" / "x.jsonl.gz")))  # everybody has it
    for shown in ({"runs": inside}, {"manifest": inside}, {"lists": [outside, inside]}):
        with pytest.raises(SettingsError, match=f"sandbox would show {inside};"):
            check_hidden(walls, test, Request(**({"runs": outside} | shown)))
    with pytest.raises(SettingsError, match="--data-root"):
        check_hidden(MethodPlace(walls.work, [blocks_folder]), test, Request(runs=outside))
    check_hidden(MethodPlace(walls.work, [blocks_folder], wants_sandbox=False), test, Request(runs=outside))


def test_without_a_sandbox_the_record_says_so(tmp_path, monkeypatch):
    assert MethodPlace(tmp_path, wants_sandbox=False).kind == APART
    monkeypatch.setenv("PATH", str(tmp_path))  # no bwrap
    assert MethodPlace(tmp_path).kind == APART
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")  # as where the kernel forbids user namespaces
    broken.chmod(0o755)
    assert MethodPlace(tmp_path).kind == APART


def test_files_beside_a_method(tmp_path):
    for name in ("mine.py", "other.py", "notes.txt", "package/__init__.py", "data/image.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {file.name for file in files_beside(tmp_path / "mine.py")}
    assert found == {"mine.py", "other.py", "package"}


def test_the_files_of_a_request(tmp_path, monkeypatch):
    """Whatever the paths are relative to, the method's process finds what the command named, and no more."""
    for name in ("mine.py", "best.ckpt", "more.yaml", "vit.pth", "fold-1.jsonl", "secret.txt"):
        (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    request = Request(
        methods=["mine.py:Mine"], folds=[1], checkpoint="best.ckpt", weights="vit.pth", manifest="fold-{fold}.jsonl",
        extra=["--config", "more.yaml", "--config=demo", "--model.side=3"],
    )  # fmt: skip
    named = absolute_request(request)
    assert named.methods == [f"{tmp_path}/mine.py:Mine"] and named.manifest == f"{tmp_path}/fold-1.jsonl"
    assert named.extra == [f"--config={tmp_path}/more.yaml", "--config=demo", "--model.side=3"]
    files = {"method": "mine.py", "checkpoint": "best.ckpt", "weights": "vit.pth"}
    assert method_files(named) == {name: tmp_path / file for name, file in files.items()}
    assert {file.name for file in readable_files(named) if file.exists()} == {*files.values(), "more.yaml"}
    assert absolute_request(Request(methods=["prototype"], folds=[0], weights="random")).weights == "random"


@pytest.mark.parametrize("sandbox", [True, False])
def test_modules_of_pythonpath_are_found(sandbox, tmp_path, monkeypatch):
    """Also by a path from the working folder; in the sandbox modules and packages alone are there."""
    for name in ("mine.py", "package/__init__.py", "data/truth.png"):
        (tmp_path / "own" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "own" / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), "own"]))
    walls = place(tmp_path) if sandbox else MethodPlace(tmp_path, wants_sandbox=False)
    truth = tmp_path / "own" / "data" / "truth.png"
    (walls.work / "look.py").write_text(f"import os, mine, package; print(os.path.exists({str(truth)!r}))")
    process = walls.start("look")
    out, _ = process.communicate(timeout=60)
    assert out == (b"False\n" if sandbox else b"True\n"), walls.log.read_text()
