"""Commands that run a method on the small data set, in one process or as the ranks of several."""

from pathlib import Path

from fsbench.runner.config.run_config import RunConfig
from tests.config_words import settings_file
from tests.ports import free_port

FEW = ["--data.test.episodes=9", "--data.training.validation_episodes=5", "--data.loading.workers=0"]
"""A run that is over in seconds."""


def images_of(folder: Path | str) -> list[str]:
    """Return the settings that test on the images of a folder, whatever the data set is called."""
    return ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={folder}"]


def run_command(
    method: str, runs: Path | str, small_demo: Path, *options: str, devices: int | None = None
) -> list[str]:
    """Return the arguments of `fsbench bench --config` on a folder of images, with a file beside that folder.

    The file has all settings but the trainer's where those add callbacks.

    Args:
        method: name of the method.
        runs: folder of runs.
        small_demo: folder of the data set.
        options: further settings, which win over those given here.
        devices: number of processes; the configuration's own if None.
    """
    extra = images_of(small_demo)
    if devices is not None:
        extra += [f"--trainer.devices={devices}", f"--trainer.strategy={'ddp' if devices > 1 else 'auto'}"]
    adds = any("+=" in option for option in options)
    trainer = [option for option in options if adds and option.startswith("--trainer.")]
    extra += [option for option in options if option not in trainer]
    run = RunConfig(method, "demo", fold=0, runs=str(runs), extra=extra)
    return ["bench", settings_file(run.values, small_demo.parent), *trainer]


def environments_of_ranks(ranks: int) -> list[dict[str, str]]:
    """Variables of torchrun, so that each process is a rank and starts no other."""
    if ranks == 1:
        return [{}]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
    common |= {"LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
