"""Training on PASCAL and testing on other domains, through the real command line."""

import json
from statistics import fmean

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.cli.main import main
from fsbench.records.card import resolve_card
from fsbench.records.record import find_records
from fsbench.runner.config.stored import parse_stored
from fsbench.runner.grid.spec import read_grid
from tests.drawn_domains import prepare_drawn

SMALL = ["--data.image_size=64", "--data.loading.workers=0", "--data.test.episodes=6"]
TRAINED = ["--data.training.validation_episodes=3", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1",
           "--data.training.batch_size=2"]  # fmt: skip


@pytest.mark.slow
def test_a_method_is_trained_on_pascal_tested_elsewhere_and_held_against_a_blind_baseline(warm, tmp_path):
    roots = {name: prepare_drawn(tmp_path, name) for name in ("isic", "pascal")}
    source = ["--data.source=fsbench.datamodules.datasets.pascal.PascalAll", f"--data.source.root={roots['pascal']}"]
    place = ["--dataset", "isic", "--data-root", str(roots["isic"]), "--runs", str(tmp_path / "runs")]
    asked = ["--method", "hsnet,blind_saliency", "--backbone", "demo", "--data.training.validation=source"]
    asked += [*source, *SMALL]
    done = warm("bench", *asked, *place, *TRAINED)
    assert done.returncode == 0, done.stderr
    trained, blind = sorted(find_records(tmp_path / "runs"), key=lambda record: record.run.id, reverse=True)
    card = resolve_card(trained)
    assert card.trained_on == "base classes of pascal_all fold 0, by protocol cdfss"
    assert (card.novel_pixels, card.checkpoint_choice) == ("no", "base classes")
    assert trained.run.identity.training["source"] == "pascal_all" and "source" not in trained.run.identity.dataset
    assert not blind.run.sees_supports and blind.run.identity.training is None and trained.run.sees_supports
    table = warm("table", str(tmp_path / "runs"), "--all").stdout
    assert "scores no higher than a baseline that sees no support" in table
    assert "known defect of isic" in table and "METHOD=blind_saliency adds it" not in table
    checkpoint = trained.path / "checkpoints" / trained.run.made.checkpoint
    again = ["--method", "hsnet", "--backbone", "demo", "--ckpt", str(checkpoint), *SMALL]  # no source is needed
    done = warm("bench", *again, *place, "--protocol", "cdfss_ifa")
    assert done.returncode == 0 and "IFA-figure" in done.stdout, done.stderr


@pytest.mark.slow
def test_patnet_is_trained_and_chosen_as_its_authors_do_and_fine_tuned_by_its_checkpoint(warm, tmp_path):
    roots = {name: prepare_drawn(tmp_path, name) for name in ("isic", "pascal", "fss1000")}
    authors = [f"--config={CONFIGS / 'ablations' / 'patnet' / 'from_pascal.yaml'}"]
    authors += [f"--data.source.root={roots['pascal']}", f"--data.validation_source.root={roots['fss1000']}"]
    place = ["--dataset", "isic", "--data-root", str(roots["isic"]), "--runs", str(tmp_path / "runs")]
    place += ["--backbone", "demo"]
    done = warm("bench", "--method", "patnet", "--no-trivial", *authors, *place, *SMALL, *TRAINED)
    assert done.returncode == 0, done.stderr
    (trained,) = [record for record in find_records(tmp_path / "runs") if record.run.identity.training]
    settings = trained.run.identity.training
    assert (settings["source"], settings["validation_source"]) == ("pascal_all", "fss1000")
    assert settings["validation"] == "held_out" and settings["epoch_seeds"] == "program"
    assert resolve_card(trained).checkpoint_choice == "held-out classes"
    checkpoint = trained.path / "checkpoints" / trained.run.made.checkpoint
    again = ["--method", "patnet_tfi", "--ckpt", str(checkpoint), "--model.tuning_steps=2", "--no-trivial"]
    assert warm("bench", *again, *place, *SMALL).returncode == 0
    (tuned,) = [record for record in find_records(tmp_path / "runs") if record.path.name.startswith("patnet_tfi_")]
    assert any(
        "fine-tuned to query and supports of each episode (TFI), by 2 steps" in words for words in tuned.run.remarks
    )
    assert resolve_card(tuned).checkpoint_choice == "held-out classes"


@pytest.mark.slow
def test_abcdfss_runs_from_nothing_under_each_protocol(warm, tmp_path):
    """Its heads are fitted to the first episode of a class, which another protocol draws otherwise."""
    place = ["--dataset", "isic", "--data-root", str(prepare_drawn(tmp_path, "isic")), "--backbone", "demo"]
    asked = ["--method", "abcdfss", "--model.epochs=2", "--no-trivial", "--runs", str(tmp_path / "runs"), *SMALL]
    done = warm("bench", *asked, *place, "--protocol", "cdfss,cdfss_ifa,cdfss_abcdfss")
    assert done.returncode == 0, done.stderr
    records = find_records(tmp_path / "runs")
    assert len(records) == 3
    assert all("the first episode of each class" in record.run.remarks[0] for record in records)


@pytest.mark.slow
def test_ifas_result_is_the_mean_over_its_seeds(warm, tmp_path):
    root = prepare_drawn(tmp_path, "isic")
    place = ["--dataset", "isic", "--data-root", str(root), "--runs", str(tmp_path / "runs")]
    asked = ["--method", "blind_centre", "--protocol", "cdfss_ifa", *SMALL]
    for seed in range(5):
        assert warm("bench", *asked, *place, f"--data.test.seed={seed}").returncode == 0
        if seed == 3:
            assert "Not run yet: seeds 4 " in warm("table", str(tmp_path / "runs")).stdout
    done = warm("table", str(tmp_path / "runs"), "--format", "json")
    (drawn,) = [line["by_draw"] for block in json.loads(done.stdout) for line in block["rows"] if line["by_draw"]]
    scores = [record.scores for record in find_records(tmp_path / "runs")]
    for name in ("mIoU", "IFA-figure"):
        assert drawn["mean over test seeds"][name]["value"] == pytest.approx(fmean(own[name] for own in scores))


def test_the_grid_names_five_targets_and_one_source():
    cells = read_grid([CONFIGS / "grids" / "cdfss.yaml"])
    assert {cell.dataset for cell in cells} == {"deepglobe", "isic", "lung", "fss1000", "suim"}
    assert {cell.own_protocol or cell.protocol for cell in cells} == {"cdfss"}
    assert {cell.shot for cell in cells} == {1, 5}
    for cell in cells:
        values = cell.values["data"]["init_args"]
        assert values["source"]["class_path"] == "fsbench.datamodules.datasets.pascal.PascalAll"
        assert values["source"]["init_args"] == {"root": "data/pascal"} and values["training"]["validation"] == "source"


def test_the_grid_is_shown_without_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = ["grid", str(CONFIGS / "grids" / "cdfss.yaml"), "--dry-run"]
    assert main(grid) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("deepglobe", "suim", "blind_saliency")) and not (tmp_path / "runs").exists()


def test_a_stored_source_of_a_foreign_class_is_not_loaded(tmp_path, capsys):
    """A config.yaml may be anybody's; `source` is a class, so that it is held to the same rule as `dataset`."""
    for source in ("os.system", {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}):
        config = tmp_path / "config.yaml"
        data = {"class_path": "fsbench.datamodules.episodic.EpisodicDataModule", "init_args": {"source": source}}
        config.write_text(json.dumps({"trainer": {}, "data": data}))
        with pytest.raises(SettingsError, match="which is none of fsbench's"):
            parse_stored(config)
    assert main(["list", "protocols", "cdfss"]) == 0 and "known defects" in capsys.readouterr().out
