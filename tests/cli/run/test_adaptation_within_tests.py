"""Heads that are fitted to the first episode of a class are the same on any ranks, workers and batches, and resumed."""

import pytest

from tests.cli.commands import environments_of_ranks, run_command
from tests.cli.conftest import environment_of_test
from tests.cli.pausing import pause_after
from tests.cli.run.test_flows import the_record

FEW = ["--data.test.episodes=24", "--data.training.validation_episodes=3", "--model.epochs=2", "--data.test.shot=2"]


@pytest.mark.slow(60)
@pytest.mark.parametrize("method", ["abcdfss", "abcdfss_every"])
def test_adaptation_follows_from_the_manifest_alone(method, spawn, warm_process, small_demo, tmp_path):
    def command(name: str, *options: str, devices: int = 1) -> list[str]:
        return run_command(method, tmp_path / name, small_demo, *FEW, *options, devices=devices)

    def finish(name: str, *options: str, devices: int = 1):
        environments = [environment_of_test(tmp_path) | rank for rank in environments_of_ranks(devices)]
        ended = warm_process.call_ranks(command(name, *options, devices=devices), tmp_path, environments)
        assert not any(done.returncode for done in ended), ended[0].stderr
        return the_record(tmp_path / name)

    plain = "--data.loading.workers=0"
    whole = finish("whole", plain)
    begun = spawn(*command("killed", plain, "--data.loading.eval_batch_size=1", *pause_after(15)))
    folder = tmp_path / "killed"
    while not any(part.read_bytes().count(b"\n") > 15 for part in folder.glob("*/evaluation/part-*.jsonl")):
        assert begun.poll() is None, begun.communicate()[1]
    begun.kill()
    begun.wait()
    others = {
        "killed": finish("killed", plain),
        "ranks": finish("ranks", plain, devices=2),
        "workers": finish("workers", "--data.loading.workers=2", "--data.loading.eval_batch_size=5"),
    }
    assert {name: record.run.counts_sha256 for name, record in others.items()} == dict.fromkeys(
        others, whole.run.counts_sha256
    )
    assert all(record.episodes.equals(whole.episodes) for record in others.values())
    words = (
        "the first episode of each class in the manifest's order" if method == "abcdfss" else "each episode by itself"
    )
    assert any(words in remark for remark in whole.run.remarks)
