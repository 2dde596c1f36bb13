"""A training whose lists stand for absent ones, by the real command: what is said, and what its record keeps."""

import pytest

from fsbench.cli.main import main
from fsbench.data.list_substitutes import print_once
from fsbench.records.card import shown_entries
from fsbench.records.record import find_records


@pytest.mark.slow(25)
def test_a_record_names_the_lists_and_the_protocol_that_it_was_trained_by(real_data, tmp_path, capfd):
    """VRP-SAM on PASCAL's sample without SBD's list, by BAM's lists, beside a method that is not trained."""
    pytest.importorskip("transformers")
    place = ["--dataset", "pascal", "--data-root", str(real_data / "voc-mini"), "--runs", str(tmp_path)]
    few = ["--data.test.episodes=3", "--data.image_size=64", "--backbone", "demo", "--data.loading.workers=0"]
    sam = ["--model.backbone.sam=sam_demo", "--model.backbone.sam_weights=random:0", "--model.width=32"]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--data.training.validation_episodes=2"]
    print_once.cache_clear()  # as in a new process: another test of this one may have printed these notes
    assert main(["bench", "--method", "vrp_sam", *place, *few, *sam, *short]) == 0
    said = capfd.readouterr()
    assert main(["table", str(tmp_path), "--all"]) == 0
    table = capfd.readouterr().out
    assert main(["bench", "--method", "prototype", "--protocol", "hsnet", *place, *few]) == 0
    trained, untrained = sorted(find_records(tmp_path), key=lambda record: record.run.identity.training is None)
    assert [remark.partition(";")[0] for remark in trained.run.remarks] == [
        "pascal, training images: ImageSets/Segmentation/sbd_train.txt is absent",
        "pascal, training images: the authors' list pfenet-trn is absent",
    ]
    for remark in trained.run.remarks:
        assert f"fsbench: note: {remark}\n" in said.err and f"* vrp_sam_demo: {remark}\n" in table
    assert untrained.run.remarks == []
    assert trained.run.identity.training["training_protocol"] == "pfenet"
    shown = shown_entries(trained)
    assert shown["trained_on"] == "base classes of pascal fold 0, by protocol pfenet"
    assert shown["novel_pixels"] == "no" and trained.header.protocol == "hsnet"
