"""The episodes of VRP-SAM's program around its goldens."""

from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.streams import Generators
from fsbench.protocols.episode_rules.vrp import Division, training_epoch, training_steps, validation_episodes

NAMES = [f"image{i}" for i in range(11)]
IMAGES_OF = {1: NAMES[:5], 2: NAMES[4:9], 3: NAMES[6:]}
PAIRS = [(name, number) for name in NAMES for number, images in IMAGES_OF.items() if name in images]


def pool(sampling: str) -> Pool:
    return Pool(PAIRS, IMAGES_OF, [1, 2, 3], sampling)


def test_on_coco_all_processes_see_the_same_episodes():
    processes = training_epoch(pool("class_first"), epoch=2)
    shown = [[(e.query, e.supports) for e in own] for own in processes]
    assert len(processes) == 4 and shown[0] == shown[1] == shown[2] == shown[3]
    drawn = [validation_episodes(pool("class_first"), Generators.seeded(321), 1, process) for process in range(4)]
    assert len({next(own).query for own in drawn}) == 1


def test_on_pascal_each_image_is_a_query_once_and_epochs_differ_in_classes_and_supports():
    first, second = (training_steps(pool("sequential"), epoch) for epoch in (0, 1))
    assert [e.query for e in first] == [e.query for e in second]  # the sampler's epoch is never set
    assert sorted(e.query for e in first[:11]) == sorted(NAMES) and len(first) == 12
    assert [e.supports for e in first] != [e.supports for e in second]
    for episode in first:
        assert episode.query in IMAGES_OF[episode.query_class] and episode.query not in episode.supports[0]


def test_workers_change_the_episodes_and_steps_take_turns():
    eight, three = (training_epoch(pool("sequential"), 0, division=Division(2, 2, n)) for n in (8, 3))
    assert eight[0][:6] == three[0][:6] != []  # the first three batches are of workers 0, 1 and 2 in both
    steps = training_steps(pool("sequential"), 0, division=Division(2, 2, 8))
    assert steps[:4] == [*eight[0][:2], *eight[1][:2]]
