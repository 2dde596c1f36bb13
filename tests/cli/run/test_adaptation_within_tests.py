"""Heads that are fitted to the first episode of a class are the same on any ranks, workers and batches, and resumed."""

import pytest

from tests.cli.commands import run_command
from tests.cli.pausing import pause_after
from tests.cli.processes import in_journal, the_record, wait_for

FEW = ["--data.test.episodes=10", "--data.test.shot=2", "--model.epochs=1", "--model.width=16"]
PLAIN, DIVIDED = ["--data.loading.workers=0"], ["--data.loading.workers=2", "--data.loading.eval_batch_size=5"]


@pytest.mark.slow(60)
@pytest.mark.parametrize("method", ["abcdfss", "abcdfss_every"])
def test_adaptation_follows_from_the_manifest_alone(method, spawn, finish, small_demo, tmp_path):
    def command(name: str, *options: str, devices: int = 1) -> list[str]:
        return run_command(method, tmp_path / name, small_demo, *FEW, *options, devices=devices)

    finish(command("whole", *PLAIN))
    begun = spawn(*command("killed", *PLAIN, "--data.loading.eval_batch_size=1", *pause_after(6)))
    wait_for(lambda: in_journal(tmp_path / "killed") >= 6, begun)
    begun.kill()
    begun.wait()
    finish(command("killed", *PLAIN))
    finish(command("divided", *DIVIDED, devices=2), 2)
    whole = the_record(tmp_path / "whole")
    for name in ("killed", "divided"):
        record = the_record(tmp_path / name)
        assert record.counts_sha256 == whole.counts_sha256 and record.episodes.equals(whole.episodes), name
    fitted = "query and supports of " + ("the first episode of each class" if method == "abcdfss" else "each episode")
    assert any(fitted in remark for remark in whole.run.remarks)
