"""The first episodes of a data set and settings that make them small."""

SMALL = "--data.image_size=64"


def first_episodes(experiment, count=3):
    batches = iter(experiment.data.test_dataloader())
    return [next(batches)[0] for _ in range(count)]
