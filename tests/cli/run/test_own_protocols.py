"""Methods are trained and tested from nothing under their own programs' protocols, on real photos."""

import pytest

from fsbench.records.record import find_records

SEGIC = ["--data.image_size=128", "--model.training=episodes", "--model.width=32",
         "--model.backbone.text=clip_text_demo", "--model.backbone.text_weights=random:0"]  # fmt: skip
HDMNET = ["--data.image_size=96", "--model.base_learner=false", "--model.width=32", "--model.transformer_width=32"]
TRAINED = ["--data.loading.workers=0", "--data.test.episodes=3", "--data.training.validation_episodes=2",
           "--data.training.batch_size=2",
           "--data.training.micro_batch=null", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]  # fmt: skip


@pytest.mark.slow(30)
@pytest.mark.parametrize(
    ("method", "dataset", "folder", "options"),
    [("segic", "coco", "coco-mini", SEGIC), ("hdmnet", "pascal", "voc-mini", HDMNET)],
)
def test_a_method_runs_from_nothing_under_its_own_protocol(method, dataset, folder, options, warm, real_data, tmp_path):
    place = ["--dataset", dataset, "--data-root", str(real_data / folder), "--runs", str(tmp_path / "runs")]
    asked = ["--method", method, "--backbone", "demo", "--protocol", method, "--drop-small", "--no-trivial"]
    done = warm("bench", *asked, *place, *options, *TRAINED)
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    assert record.header.protocol == method and record.header.episodes == 3
    assert record.episodes["gt"].sum() > 0 and record.run.identity.training["max_epochs"] == 1
