"""`fsbench weights fetch`: from a local server that breaks off, refuses or sends something else."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from fsbench.base.errors import SettingsError
from fsbench.base.files import locked
from fsbench.base.paths import CONFIGS
from fsbench.cli.main import main
from fsbench.networks.weights import table
from tests.fsbench.networks.weights.conftest import saved
from tests.web import Web

QUICK = ("--retries", "0", "--backoff", "0", "--timeout", "60")
pytestmark = pytest.mark.usefixtures("small_table")


@pytest.fixture
def fetch(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """fetch(*arguments) -> exit status and what was printed; licences are accepted unless told otherwise."""

    def call(*arguments: str | Path, accept: bool = True) -> tuple[int, str, str]:
        options = [*map(str, arguments), *QUICK, *["--accept-licence"] * accept]
        status = main(["weights", "fetch", *options])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_a_file_arrives_verified_and_is_fetched_once(fetch, web, weights, vit_bytes):
    status, out, _ = fetch("demo")
    assert status == 0 and "checksum agrees" in out and "Made-Up-1.0: https://licence.invalid" in out
    assert (weights / "vit.pth").read_bytes() == vit_bytes
    status, out, _ = fetch("demo")
    assert status == 0 and "vit.pth is here" in out
    assert web.requests == [("/vit.pth", None)]
    assert sorted(p.name for p in weights.iterdir()) == ["accepted-licences.json", "vit.pth"]


def test_the_licence_is_accepted_once_and_before_anything_is_fetched(fetch, web, weights, monkeypatch):
    status, out, err = fetch("demo", accept=False)  # no terminal, so nobody can be asked
    assert status == 2 and web.requests == []
    assert "the licence of demo (Made-Up-1.0, https://licence.invalid) was not accepted" in err
    assert "--accept-licence" in err and "comes under the licence Made-Up-1.0" in out
    answers = iter(["n", "y"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert fetch("demo", accept=False)[0] == 2 and web.requests == []
    assert fetch("demo", accept=False)[0] == 0 and len(web.requests) == 1
    (weights / "vit.pth").unlink()
    assert fetch("demo", accept=False)[0] == 0  # not asked again
    assert json.loads((weights / "accepted-licences.json").read_text()) == ["Made-Up-1.0, https://licence.invalid"]


def test_other_bytes_are_set_aside_and_not_used(fetch, web, weights):
    web.files["/vit.pth"] = web.files["/plain.pth"] = b"<html>please log in</html>"
    status, _, err = fetch("demo")
    assert status == 2 and "gave other bytes: 26 bytes; expected" in err and "vit.pth.bad" in err
    status, _, err = fetch("plain")  # without size or checksum
    assert status == 2 and "begin with '<html>please log in</html>'; expected a .pth file" in err
    assert sorted(p.name for p in weights.glob("*.pth*")) == ["plain.pth.bad", "vit.pth.bad"]


TENSORS = {"w": torch.arange(6.0), "v": torch.ones(500)}


@pytest.mark.parametrize(
    ("name", "body"),
    [("plain", saved(TENSORS)), ("plain", saved(TENSORS, legacy=True)), ("tensors", save(TENSORS))],
    ids=["zip", "pickle", "safetensors"],
)
def test_without_a_checksum_the_files_own_end_and_sums_are_held_against_it(fetch, web, weights, name, body):
    path = f"/{table.weight_files()[name].name}"
    damaged = [body[:-1], body[: len(body) // 2], body[:60]]
    damaged += [body.replace(b"\x80?\0\0", b"\x80@\0\0", 1)] if body.startswith(b"PK") else []
    for wrong in damaged:
        web.files[path] = wrong
        status, _, err = fetch(name)
        assert status == 2 and err.count("\n") == 1 and f"{path[1:]}.bad and not used" in err, err
        assert (weights / f"{path[1:]}.bad").read_bytes() == wrong and not (weights / path[1:]).exists()
    web.files[path] = body
    assert fetch(name)[0] == 0 and (weights / path[1:]).read_bytes() == body


def test_same_size_with_another_checksum(fetch, web, weights, vit_bytes):
    web.files["/vit.pth"] = altered = bytes([*vit_bytes[:-1], vit_bytes[-1] ^ 1])
    status, _, err = fetch("demo")
    assert status == 2
    assert f"sha256 {hashlib.sha256(altered).hexdigest()}; expected {hashlib.sha256(vit_bytes).hexdigest()}" in err
    assert not (weights / "vit.pth").exists()


def test_a_damaged_file_is_put_aside_and_fetched_again(fetch, weights, vit_bytes):
    weights.mkdir()
    (weights / "vit.pth").write_bytes(vit_bytes[:1000])
    status, out, _ = fetch("demo")
    assert status == 0 and "1000 bytes; expected" in out and "put aside as vit.pth.bad" in out
    assert (weights / "vit.pth").read_bytes() == vit_bytes
    assert (weights / "vit.pth.bad").read_bytes() == vit_bytes[:1000]


def test_refusals_and_silence_name_other_ways(fetch, web):
    web.answers = [404]
    status, _, err = fetch("demo")
    assert status == 2 and "was refused: HTTP 404" in err and "--url-base" in err and "--from DIR" in err
    status, _, err = fetch("demo", "--url-base", "http://127.0.0.1:9")
    assert status == 2 and "cannot download http://127.0.0.1:9/vit.pth: Connection refused, 1 time;" in err


def test_a_full_disk(fetch, weights, monkeypatch, tmp_path):
    usage = type("usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr("fsbench.base.download.shutil.disk_usage", lambda _: usage)
        status, _, err = fetch("demo")
        assert status == 2 and "has 0.0 GB of space left" in err
    (weights / "vit.pth.part").symlink_to("/dev/full")  # every write fails there
    status, _, err = fetch("demo")
    assert status == 2 and "No space left on device); make space and run the same command again" in err


def test_names_are_judged_before_anything_is_fetched(fetch, web):
    status, _, err = fetch("demo", "plian")
    assert status == 2 and "no weights are called 'plian'; did you mean 'plain'?" in err and web.requests == []
    status, _, err = fetch("xyzzy")
    assert "there are: demo, hubbed, manual, plain, tensors, shop (see: fsbench weights list)" in err
    status, _, err = fetch()
    assert status == 2 and "nothing to fetch was named" in err
    assert fetch("vit.pth")[0] == 0  # the file's name will do


def test_what_no_program_can_fetch_says_what_to_do_and_the_rest_is_fetched(fetch, weights, vit_bytes):
    status, _, err = fetch("manual", "shop", "demo")
    assert status == 2 and (weights / "vit.pth").is_file()
    for part in ("no program can fetch manual: ask the authors", "https://page.invalid", f"{weights / 'manual.pth'}"):
        assert part in err
    assert "no program can fetch shop: ask the authors" in err
    manual, shop = err.split("no program can fetch shop")
    assert "(a file at hand: --from DIR)" in manual and "--from" not in shop and f"put them below {weights}" in shop


def test_a_method_names_its_authors_checkpoints(monkeypatch):
    monkeypatch.setattr(table, "TABLE", CONFIGS / "weights.yaml")
    with pytest.raises(SettingsError, match="no weights are called 'emat'; did you mean 'emat-checkpoints'"):
        table.find("emat")


def test_files_at_hand_are_verified_and_copied(fetch, web, weights, tmp_path, vit_bytes):
    hand = tmp_path / "hand"
    hand.mkdir()
    for name in ("vit.pth", "manual.pth"):
        (hand / name).write_bytes(vit_bytes)
    assert fetch("demo", "manual", "--from", hand)[0] == 0
    assert (weights / "vit.pth").read_bytes() == (weights / "manual.pth").read_bytes() == vit_bytes
    status, _, err = fetch("plain", "--from", hand)
    assert status == 2 and "has no plain.pth; expected it there" in err and web.requests == []
    (weights / "vit.pth").unlink()
    (hand / "vit.pth").write_bytes(b"PK\3\4")
    status, _, err = fetch("demo", "--from", hand)
    assert status == 2 and "is not the published file: 4 bytes; expected" in err
    assert fetch("demo", "--from", tmp_path / "none")[0] == 2


@pytest.mark.slow(1)
def test_two_at_once(fetch, web, weights):
    weights.mkdir()
    with locked(weights / ".vit.pth.lock"):  # held by this process; another one asks
        process = command("demo")
        _, err = process.communicate(timeout=240)
    assert process.returncode == 2 and "another `fsbench weights fetch` is fetching vit.pth; wait for it" in err
    assert web.requests == []


def command(*names: str, **more: str) -> "subprocess.Popen[str]":
    """Start `fsbench weights fetch` with the table of this test in a process of its own, with more environment."""
    from fsbench.networks.weights import table

    code = (
        "import sys; from pathlib import Path; from fsbench.networks.weights import table; "
        "table.TABLE = Path(sys.argv[1]); "
        "from fsbench.cli.main import main; status = main(sys.argv[2:]); assert 'torch' not in sys.modules; "
        "sys.exit(status)"
    )
    arguments = [sys.executable, "-c", code, str(table.TABLE), "weights", "fetch", *names, "--accept-licence"]
    pipe = subprocess.PIPE
    given = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    return subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True, env=given | more)


@pytest.mark.slow
def test_ctrl_c_keeps_the_part_and_the_same_command_goes_on(web: Web, weights: Path, vit_bytes: bytes) -> None:
    web.break_after, web.delays = [50_000], [0, 600]  # the second answer never comes
    process = command("demo", "--timeout", "600")
    deadline = time.monotonic() + 240
    while len(web.requests) < 2:
        assert process.poll() is None and time.monotonic() < deadline, web.requests
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130 and "stopped; run the same command again to continue" in err
    assert (weights / "vit.pth.part").stat().st_size == 50_000
    web.delays = []
    process = command("demo")
    assert process.communicate(timeout=240) and process.returncode == 0
    assert web.requests[-1] == ("/vit.pth", "bytes=50000-")
    assert (weights / "vit.pth").read_bytes() == vit_bytes


@pytest.mark.slow
def test_the_hubs_own_code_fetches_what_is_on_the_hub(web: Web, weights: Path, tmp_path: Path) -> None:
    body = save({"w": torch.zeros(3)})
    path = "/owner/net/resolve/main/model.safetensors"
    web.files[path] = body
    web.headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "0" * 40}
    home = {"HF_ENDPOINT": web.url, "HF_HOME": str(tmp_path / "hub")}

    def run(**more: str) -> tuple[int, str]:
        process = command("hubbed", **home | more)
        _, err = process.communicate(timeout=240)
        return process.returncode, err

    web.drops = 1000
    status, err = run()
    assert status == 2 and "the hub gave no owner/net/model.safetensors: " in err
    web.drops = 0
    status, err = run()
    assert status == 0, err
    assert (weights / "hubbed.safetensors").read_bytes() == body
    (weights / "hubbed.safetensors").unlink()
    web.requests.clear()
    assert run(HF_HUB_OFFLINE="1")[0] == 0 and web.requests == []  # from the hub's cache
    assert (weights / "hubbed.safetensors").read_bytes() == body
    (weights / "hubbed.safetensors").unlink()
    status, err = run(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"))
    assert status == 2 and web.requests == []
    assert "the hub gave no owner/net/model.safetensors: " in err and "unset HF_HUB_OFFLINE" in err
    web.files[path] = bytes(len(body))
    status, err = run(HF_HOME=str(tmp_path / "other"))
    assert status == 2 and f"expected {hashlib.sha256(body).hexdigest()}; remove it" in err
    assert not (weights / "hubbed.safetensors").exists()


def test_what_methods_need(fetch, capsys):
    status, out, err = fetch("--method", "prototype,nn")  # whose backbones this small table does not have
    assert status == 0 and err == ""
    assert out.splitlines() == ["prototype needs no published weights", "nn needs no published weights"]
    status, _, err = fetch("--method", "protoype")
    assert status == 2 and "unknown method 'protoype'" in err
