"""PASCAL VOC's 20 classes as one source of training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.adaptation import Adaptation
from fsbench.datamodules.datasets.fss1000 import Fss1000
from fsbench.datamodules.datasets.isic import Isic
from fsbench.datamodules.datasets.pascal import Pascal, PascalAll
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.prepare.job import Job
from fsbench.protocols.draws.patnet import recurring_epoch
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.runner.engine.identity import adaptation_identity
from tests.data_modules import episodic
from tests.drawn_domains import draw_fss1000, draw_isic, draw_pascal


@pytest.fixture(scope="module")
def pascal(tmp_path_factory) -> Path:
    return draw_pascal(tmp_path_factory.mktemp("voc"))


@pytest.fixture(scope="module")
def isic(tmp_path_factory) -> Isic:
    folder = tmp_path_factory.mktemp("isic")
    Isic.prepare(Job(root=folder, source=draw_isic(folder / "archives"), allow_unverified=True))
    return Isic(str(folder))


def test_the_lists_of_four_folds_are_one(pascal, real_data, monkeypatch):
    every = PascalAll(str(pascal))
    assert every.train_classes(0) == every.test_classes(0) == [*range(1, 21)]
    assert len(pair_list(every, "trn", 0).pairs) == len(pair_list(every, "val", 0).pairs) == 40
    monkeypatch.setattr(Pascal, "require_files", lambda *_: None)
    lists = pair_list(PascalAll(str(pascal), [str(real_data / "official-lists" / "hsnet")]), "trn", 0)
    assert len(lists.pairs) == 13_680 and lists.origin == "official"
    folds = [(number - 1) // 5 for _, number in lists.pairs]
    assert folds == sorted(folds) and set(folds) == {0, 1, 2, 3}  # cd-fss-protocol §1


def module(isic: Isic, pascal: Path | None, **settings) -> EpisodicDataModule:
    source = None if pascal is None else lambda: PascalAll(str(pascal))
    return episodic(isic, "cdfss", source=source, workers=0, image_size=64, batch_size=2, **settings)


def test_another_data_set_is_trained_on(isic, pascal):
    data = module(isic, pascal, validation="source", validation_episodes=7, episodes=6)
    assert set(data.training_pool.class_ids) == {*range(1, 21)}
    assert all(data.source.image_path(name).is_file() for name in data.training_pool.images)
    assert data.validation_manifest.header.dataset == "pascal_all" and len(data.validation_manifest.episodes) == 7
    assert data.manifest.header.dataset == "isic" and data.training_options == {"source": "pascal_all"}
    batch = next(iter(data.val_dataloader()))
    assert batch.image_names[0].startswith("20")
    data.train_dataloader()
    trained_on = data.trained_on
    assert trained_on["dataset"] == "pascal_all" and len(trained_on["classes"]) == 20
    data.check_unseen(trained_on, "the checkpoint")  # lesions were not among them
    own = episodic(Pascal(str(pascal)), "hsnet", episodes=5, workers=0)
    with pytest.raises(SettingsError, match="the checkpoint was trained on fold 0 of pascal_all"):
        own.check_unseen(trained_on, "the checkpoint")


def test_the_checkpoint_may_be_chosen_on_the_held_out_classes_of_a_third_data_set(isic, pascal, tmp_path):
    """PATNet's by FSS-1000's validation classes (cd-fss-protocol §1)."""
    fss = draw_fss1000(tmp_path)
    third = dict(validation="held_out", validation_source=lambda: Fss1000(str(fss)), validation_episodes=6)
    data = module(isic, pascal, **third)
    header = data.validation_manifest.header
    assert (header.dataset, header.classes, header.seed) == ("fss1000", "held_out", 0)
    held_out = {number for _, number in pair_list(data.validation_dataset, "held_out", 0).pairs}
    assert {episode.query_class for episode in data.validation_manifest.episodes} <= held_out
    assert held_out and not held_out & set(data.validation_dataset.test_classes(0))
    assert data.training_options == {"source": "pascal_all", "validation_source": "fss1000"}
    assert data.manifest.header.dataset == "isic" and next(iter(data.val_dataloader())).image_names
    other = module(isic, pascal, **third | {"validation": "source"})
    assert (
        other.validation_manifest.header.dataset == "pascal_all" and "validation_source" not in other.training_options
    )


def orders_by_torch(length: int, seed: int) -> list[int]:
    """Return the order that torch's own loader and sampler take after `manual_seed`."""
    generator = torch.Generator().manual_seed(seed)
    _, sampler = (int(torch.empty((), dtype=torch.int64).random_(generator=generator)) for _ in range(2))
    return torch.randperm(length, generator=torch.Generator().manual_seed(sampler)).tolist()


def drawn_epoch(data: EpisodicDataModule, epoch: int) -> list[tuple[str, str]]:
    """Return query and support of the episodes of an epoch, in their order."""
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return [
        (batch.image_names[query], batch.image_names[support])
        for batch in loader
        for query, support in zip(batch.query, batch.support[:, 0, 0], strict=True)
    ]


@pytest.mark.slow(2)
def test_epochs_may_recur_as_in_the_authors_program(isic, pascal):
    settings = dict(validation="source", validation_episodes=2, epoch_seeds="program")
    first, second, third = (drawn_epoch(module(isic, pascal, **settings, seed=3), epoch) for epoch in range(3))
    assert first != second == third == drawn_epoch(module(isic, pascal, **settings, seed=4), 1)
    data = module(isic, pascal, **settings)
    pairs, rng = data.training_pool.pairs, np.random.RandomState(84442)
    expected = []
    for item in orders_by_torch(len(pairs), 84442):
        query, number = pairs[item]
        support = query
        while support == query:
            support = rng.choice(data.training_pool.images_of[number], 1, replace=False)[0]
        expected.append((query, support))
    assert second == expected
    fresh = module(isic, pascal, validation="source", validation_episodes=2)
    assert drawn_epoch(fresh, 1) != drawn_epoch(fresh, 2) and fresh.training_options == {"source": "pascal_all"}
    assert data.training_options == {"source": "pascal_all", "epoch_seeds": "program"}
    with pytest.raises(SettingsError, match="are the draws of two programs"):
        module(isic, pascal, **settings, episode_streams="official")


def test_the_source_is_opened_where_a_method_is_trained_alone(isic, tmp_path):
    data = module(isic, tmp_path / "not there", episodes=6)
    assert len(data.manifest.episodes) == 6 and data.files_sha256
    with pytest.raises(Exception, match="not there does not exist"):
        data.training_pool  # noqa: B018


def test_a_choice_on_the_source_needs_one(isic):
    with pytest.raises(SettingsError, match="validation is source, but there is no other data set to train on"):
        module(isic, None, validation="source").validation_manifest  # noqa: B018


def test_a_recurring_epoch_may_have_queries_without_their_class(pascal):
    data = episodic(PascalAll(str(pascal)), "fscs", way=1, workers=0, image_size=64, epoch_seeds="program")
    epoch = recurring_epoch(data.training_pool, 40, 84442, background=True)
    classes = {
        name: {n for image, n in data.training_pool.pairs if image == name} for name in data.training_pool.images
    }
    absent = [episode for episode in epoch if not set(episode.classes) & classes[episode.query]]
    assert 8 < len(absent) < 32 and epoch == recurring_epoch(data.training_pool, 40, 84442, background=True)


def test_the_identity_of_an_adaptation_follows_from_all_that_it_reads(isic, pascal, tmp_path):
    fss = draw_fss1000(tmp_path)
    third = dict(validation="held_out", validation_source=lambda: Fss1000(str(fss)), validation_episodes=6)

    def identity(adaptation=Adaptation(epochs=3), **settings):
        return adaptation_identity(module(isic, pascal, **third | settings), adaptation)

    usual = identity()
    assert usual["validation_source"] == "fss1000" and usual == identity()
    others = [identity(**change) for change in ({"seed": 1}, {"validation": "novel"}, {"validation_episodes": 5})]
    others += [identity(Adaptation(epochs=4)), identity(shot=2)]
    assert all(other != usual for other in others) and "validation_source" not in others[1]
    assert identity(Adaptation(epochs=3, choice="last")).keys() == {"items_sha256", "files_sha256"}
