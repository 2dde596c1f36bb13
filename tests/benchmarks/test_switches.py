"""The switches of tests across domains: which runs they ask for, and what moves."""

from types import SimpleNamespace

import pytest

from benchmarks.protocols import single_run, switches
from benchmarks.protocols.__main__ import main


@pytest.fixture
def asked(monkeypatch):
    """The requests for runs; a run's mIoU is 50, one less for each request before it, its IFA-figure 20 more."""
    requests: list = []

    def bench(request):
        requests.append(request)
        score = 51.0 - len(requests)
        learns = request.methods == ["hsnet"]
        run = SimpleNamespace(
            scores={"mIoU": score, "IFA-figure": score + 20},
            made=SimpleNamespace(checkpoint="best.ckpt" if learns else None),
        )
        return [SimpleNamespace(run=run)], []

    monkeypatch.setattr(single_run, "bench", bench)
    return requests


def rows(shown: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| ")]
    return {setting: figures for _, setting, *figures in lines[1:]}


def test_each_setting_is_a_run_and_its_change_is_that_from_the_first(asked, capsys):
    assert main(["--across-domains", "--method", "hsnet --model.width=8", "--data-root", "data", "--", "--a=b"]) == 0
    found = rows(capsys.readouterr().out)
    assert found["three (isic)"] == ["50.0"] and found["one (isic_one)"] == ["49.0 (-1.0)"]
    assert found["IFA-figure (cdfss_ifa)"] == ["61.0 (+19.0)"]
    assert found["on the target's test (--data.validation novel)"] == ["39.0 (-1.0)"]
    assert len(found) == len(asked) == len(switches.SETTINGS)
    assert [(r.dataset, r.protocol, r.data_root) for r in asked[:4]] == [
        ("isic", "cdfss", "data/isic"), ("isic_one", "cdfss", "data/isic"), ("fss1000", "cdfss", "data/fss1000"),
        ("fss1000", "cdfss_ifa", "data/fss1000"),
    ]  # fmt: skip
    assert [(r.dataset, r.protocol, r.extra) for r in asked[-3:]] == [
        (*test, ["--model.width=8", "--a=b"])  # trained on its own classes
        for test in (("isaid", "isaid"), ("isaid", "isaid_sdm"), ("isaid512", "isaid_r2net"))
    ]
    assert found["SDM's, void is background (isaid_sdm)"] == ["37.0 (-1.0)"]
    assert asked[-4].extra == [
        "--data.source=fsbench.datamodules.datasets.pascal.PascalAll", "--data.source.root=data/pascal",
        "--data.validation=novel", "--model.width=8", "--a=b",
    ]  # fmt: skip


def test_a_checkpoint_that_is_there_is_not_chosen_again(asked, capsys):
    methods = ["--method", "hsnet=best.ckpt", "--method", "prototype"]
    assert main(["--across-domains", *methods, "--data-root", "data"]) == 0
    shown = capsys.readouterr().out
    assert rows(shown)["chosen on the source (--data.validation source)"] == ["-", "-"]
    assert "hsnet: its checkpoint is chosen already" in shown and "prototype: it is not trained" in shown
    assert {request.checkpoint for request in asked} == {"best.ckpt", None}
