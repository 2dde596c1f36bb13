"""Where authors' rules for several shots end: which methods say so, and when a run is beyond."""

import pytest

from fsbench.core.method import AuthorsShots
from fsbench.methods.bam import BAM
from fsbench.methods.emat import EMAT
from fsbench.methods.hmnet import HMNet
from fsbench.methods.matcher import Matcher
from fsbench.methods.persam import PerSAM
from fsbench.methods.pfenet import PFENet
from fsbench.methods.prototype import Prototype
from fsbench.methods.sam3_canvas import SAM3Canvas
from fsbench.methods.vrp_sam import VRPSAM
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse_run


@pytest.mark.parametrize(
    ("method", "numbers"), [(PerSAM, (1,)), (VRPSAM, (1,)), (SAM3Canvas, (1, 5)), (Matcher, (1, 5))]
)
def test_methods_say_where_their_authors_rule_ends(method, numbers):
    assert method.authors_shots.numbers == numbers
    assert "beyond" not in method.authors_shots.why and len(method.authors_shots.why) < 80


def test_rules_that_serve_every_number_have_no_end():
    assert all(method.authors_shots is None for method in (Prototype, EMAT, PFENet))


@pytest.mark.parametrize("method", [BAM, HMNet])
def test_learned_weights_of_shots_are_for_their_own_number(method):
    def covered(**options):
        return method(BackboneConfig("pspnet_vgg16", "random"), width=8, **options)

    assert covered().authors_shots.numbers == (1,) and covered(shots=5).authors_shots.numbers == (5,)
    assert covered().beyond_authors_rule(1) == "" and covered(shots=5).beyond_authors_rule(5) == ""
    assert "which covers 1: for each number the authors train weights" in covered().beyond_authors_rule(5)


def test_without_a_base_learner_hmnet_has_no_weights_of_shots():
    assert HMNet(BackboneConfig("demo"), width=8, bam=False).authors_shots is None


def test_an_ensemble_of_single_shots_is_within_a_rule_for_one(monkeypatch, blocks_folder):
    monkeypatch.setattr(Prototype, "authors_shots", AuthorsShots((1,), "more are averaged here"))

    folder = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]

    def beyond(*extra):
        request = RunConfig("prototype", "demo", shot=3, extra=[*folder, "--data.test.episodes=2", *extra])
        return Experiment(parse_run(request)).beyond_authors_rule

    assert beyond() == ("the number of shots is beyond the authors' rule, which covers 1: more are averaged here")
    assert beyond("--run.nshot_strategy=vote") == ""
