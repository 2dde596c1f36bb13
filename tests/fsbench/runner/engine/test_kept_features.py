"""Features that are kept in a narrow type make another run; where they are kept makes none."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.records.grouping import variants
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment
from tests.fsbench.runner.engine.runs import folder_run


@pytest.fixture(scope="module")
def experiment(small_demo, tmp_path_factory):
    """experiment(options) -> the prototype on a small data set, two ways and five episodes."""
    folder = tmp_path_factory.mktemp("kept")

    def make(*options):
        run = folder_run("prototype", small_demo, folder / "runs", *options, episodes=5, way=2)
        return Experiment(run.parse())

    return make


BFLOAT16 = "--model.backbone.cache_dtype=bfloat16"


@pytest.mark.slow(3)
def test_a_narrow_type_is_another_run_and_what_fits_is_none(experiment):
    usual, narrow = run_experiment(experiment()), run_experiment(experiment(BFLOAT16, "--model.backbone.cache_mib=0"))
    assert experiment(BFLOAT16).folder == narrow.path
    assert "cache_dtype" not in usual.run.identity.backbone.as_json()
    assert narrow.path != usual.path
    assert narrow.run.identity.backbone.cache_dtype == "bfloat16"
    assert not narrow.episodes.equals(usual.episodes)
    assert set(variants([usual, narrow])) == {"prototype (cache_dtype float32)", "prototype (cache_dtype bfloat16)"}


@pytest.mark.slow(1)
def test_a_narrow_type_beside_a_narrow_precision_is_refused(experiment):
    with pytest.raises(SettingsError, match="cache_dtype is bfloat16, which is for segmentation with precision 32-tru"):
        experiment(BFLOAT16, "--trainer.precision=bf16-mixed")


@pytest.mark.slow(2)
def test_the_precision_of_the_network_is_another_run_and_named_everywhere(experiment):
    usual, narrow = run_experiment(experiment()), run_experiment(experiment("--model.backbone.precision=bf16"))
    assert narrow.path != usual.path and "backbone_precision" not in usual.run.identity.backbone.as_json()
    assert narrow.run.identity.backbone.backbone_precision == "bf16"
    assert usual.run.identity.backbone.backbone_precision == "fp32"
    assert set(variants([usual, narrow])) == {
        "prototype (backbone_precision bf16)",
        "prototype (backbone_precision fp32)",
    }
    with pytest.raises(SettingsError, match="backbone_precision is bf16, which is for precision 32-true, but this is"):
        experiment("--model.backbone.precision=bf16", "--trainer.precision=bf16-mixed")
