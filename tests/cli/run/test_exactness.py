"""A result depends neither on processes nor on loader workers nor on the batch: one hash, from real processes.

One method of each family is held against itself in all configurations, every other one in two processes with workers
and batches, and a few of them in processes that the command itself starts.

Weights are random, so that many pixels are near a tie. The number of threads is the system's, which Lightning would
divide among the processes.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import torch
from jsonargparse import Namespace

from fsbench.base.paths import REPOSITORY
from fsbench.core.released_format import WRITTEN_BY
from fsbench.records.record import find_records
from fsbench.runner.config.run_config import RunConfig
from tests.cli.commands import environments_of_ranks, images_of
from tests.cli.conftest import environment_of_test
from tests.cli.many_cells import settings_text
from tests.config_words import config_words, parse, parse_run
from tests.photos import arguments
from tests.ports import free_port
from tests.warm import Warm

ALONE = (1, 0, 1)
"""Processes, workers, batch: what all others are held against."""
DIVIDED = (2, 2, 3)
"""Processes, workers and batch of each method that is not in `FAMILIES`, beside `ALONE`."""
OTHERS = {1: [(0, 8), (2, 3)], 2: [(0, 3), (2, 1)], 4: [(2, 8)]}
"""Number of processes -> pairs of workers and batch. With `ALONE`, each number of workers occurs with each batch;
`cells` has four episodes, so that other batches only repeat one of these."""
FAMILIES = ("prototype", "pfenet", "persam_f", "matcher", "metaoptnet")
"""Methods that are run in all of them: without training, of base classes, with steps in each episode, with draws, and
of classification."""
PROTOCOLS = ("fscs", "hsnet", "pfenet")
METHODS = {
    "prototype": ["--model.selection=support"],
    "emat": ["--data.test.way=2", "--data.test.shot=2"],
    "emat_seg": ["--seed_everything=6"],
    "cst": ["--data.test.setting=fully_augmented"],  # as many ways and shots as each query asks for
    "cst_large": [],
    "cst_original": ["--data.test.shot=2"],
    "dcama": ["--model.support_pixels=40"],
    "dcama_resnet50": ["--model.backbone.name=resnet50", "--model.backbone.weights=random:5", "--data.image_size=64",
                       "--model.width=128", "--model.skip_scales=[4,8]", "--model.dropout=0.5", "--seed_everything=5"],
    "hsnet": ["--data.test.shot=2"],
    "hmnet": [],
    "bam": ["--data.test.shot=2", "--seed_everything=1"],
    "pfenet": [],
    "pspnet": ["--model.backbone.name=dilated_resnet50", "--model.backbone.weights=random", "--data.image_size=65",
               "--data.training.augmentation=none"],
    "insid3": ["--data.test.protocol=incontext"],
    "fssdino": ["--data.test.way=2", "--data.test.shot=2", "--run.keep_predictions=soft"],
    "linear_probe_dense": ["--data.test.shot=2", "--run.keep_predictions=soft"],
    "lora_probe_dense": ["--model.tuning_steps=2"],
    "gf_sam": ["--data.test.way=2", "--data.test.shot=2"],
    "persam": [],
    "persam_f": ["--model.steps=5"],
    "seggpt": ["--data.test.way=2", "--data.test.shot=2", "--run.keep_predictions=soft"],
    "matcher": ["--data.test.way=2", *(f"--model.prompting.{o}" for o in ("use_points=false", "num_centers=9"))],
     # draws
    "sam3_canvas": ["--data.test.shot=2"],
    "sam3_canvas_names": ["--data.test.way=2", "--run.keep_predictions=soft"],
    "sansa": ["--data.test.shot=2"],
    "segic": ["--data.test.way=2", "--data.test.shot=2", "--run.keep_predictions=soft"],
    "blind_saliency": ["--data.test.protocol=cdfss"],
    "diam": ["--model.backbone.name=pspnet_resnet50", "--model.backbone.weights=random", "--data.image_size=33",
             "--model.iterations=3"],
    "vrp_sam": ["--data.test.shot=2", "--model.annotation=scribble"],
    "hdmnet": [],
    "sam3_exemplars": ["--data.test.way=2", "--data.test.shot=2", "--model.nms=program"],
    "universeg": ["--data.test.way=2", "--data.test.shot=3", "--run.keep_predictions=soft"],
    "multiverseg": ["--data.test.shot=2", "--model.sets=2", "--model.set_size=2"],
}  # fmt: skip
CLASSIFIERS = {
    "metaoptnet": [],
    "lp": [],
    "vpt": ["--model.epochs=2", "--data.image_size=64"],
    "fort_lora": ["--model.epochs=2", "--data.image_size=64"],
}
ONLY_FSCS = ("--data.test.way", "--data.test.setting")


def protocol_of(method: str) -> str:
    """Each method under one, each protocol with several methods, among them all options that only one protocol has."""
    needs_fscs = any(option.startswith(ONLY_FSCS) for option in METHODS[method])
    return "fscs" if needs_fscs else PROTOCOLS[list(METHODS).index(method) % 3]


def run_of(small_demo: Path, method: str, protocol: str, *more: str) -> RunConfig:
    """Return a cell with random weights, without the settings that must not matter."""
    options = [o for o in METHODS[method] if protocol == "fscs" or not o.startswith(ONLY_FSCS)]
    extra = ["--data.test.episodes=7", "--data.training.validation_episodes=1", *images_of(small_demo)]
    return RunConfig(method, "demo", fold=0, extra=[*extra, f"--data.test.protocol={protocol}", *options, *more])


@pytest.fixture(scope="module")
def cell(small_demo, tmp_path_factory):
    """cell(method, *more) -> the settings of a cell, judged once for all tests; one that learns has a checkpoint."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def judged(method: str, *more: str) -> Namespace:
        parsed = parse_run(run_of(small_demo, method, protocol_of(method), *more), build=False)
        settings, built = parsed.config.clone(), parsed.build_method()
        if built.learns:
            settings["run.checkpoint"] = str(folder / f"{method}.ckpt")
            torch.save({"state_dict": built.state_dict(), WRITTEN_BY: built.describe()}, settings["run.checkpoint"])
        return settings

    return judged


def threads_of_the_system() -> dict[str, str]:
    """Return the environment without a number of threads: bits depend on it, so that all processes have the same."""
    return {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def write_plan(
    folder: Path, cells: list[Namespace], configurations: Sequence[tuple[int, int, int]], accelerator: str = "cpu"
) -> Path:
    """Write a file of `tests.cli.many_cells`: cells with what must not matter, processes, workers and batch."""
    plan = []
    for processes, workers, batch in configurations:
        indifferent = {
            "trainer.accelerator": accelerator, "trainer.devices": processes, "trainer.enable_progress_bar": False,
            "trainer.strategy": "ddp" if processes > 1 else "auto", "data.init_args.loading.workers": workers,
            "data.init_args.loading.eval_batch_size": batch, "run.keep_predictions": "soft",
            "run.runs": str(runs_of(folder, (processes, workers, batch))),
        }  # fmt: skip
        for cell in cells:
            plan.append(cell.clone())
            for key, value in indifferent.items():
                plan[-1][key] = value
    file = folder / f"{configurations[0][0]}.plan"
    file.write_text(settings_text(plan))
    return file


def hashes_of(runs: Path, cells: int, processes: int) -> dict[str, str]:
    """Return the hashes of the bytes of each run's counts and, of segmentation, its predictions."""
    records = find_records(runs)
    assert len(records) == cells and {r.run.provenance.processes for r in records} == {processes}
    hashes = {}
    for record in records:
        tables = [record.path / "episodes.parquet", *record.path.glob("predictions.parquet")]
        hashes[record.path.name] = hashlib.sha256(b"".join(table.read_bytes() for table in tables)).hexdigest()
    return hashes


def runs_of(folder: Path, configuration: tuple[int, int, int]) -> Path:
    return folder / "-".join(map(str, configuration))


def evaluate(
    folder: Path, cells: list[Namespace], configuration: tuple[int, int, int], accelerator: str = "cpu"
) -> dict[str, str]:
    """Evaluate cells in processes that Lightning starts; returns run -> hash of its tables."""
    plan = write_plan(folder, cells, [configuration], accelerator)
    command = [sys.executable, "-m", "tests.cli.many_cells", str(plan)]
    environment = threads_of_the_system()
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return hashes_of(runs_of(folder, configuration), len(cells), configuration[0])


@pytest.mark.slow(60)
def test_two_processes_of_a_command_give_the_same_bits(cell, photos, tmp_path):
    """A segmenter and a classifier in processes that Lightning starts, which does so alike for all methods."""
    chosen = [cell("cst"), parse(arguments("vpt", photos, tmp_path, *CLASSIFIERS["vpt"]), build=False).config]
    alone = evaluate(tmp_path, chosen, ALONE)
    assert evaluate(tmp_path, chosen, DIVIDED) == alone
    threads = {record.run.provenance.threads for name in ("1-0-1", "2-2-3") for record in find_records(tmp_path / name)}
    assert len(threads) == 1
    for record in find_records(tmp_path / "1-0-1"):
        assert record.episodes.filter(pl.col("slot") > 0)["pred"].n_unique() > 1, record.path.name  # no constant answer


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_every_method_gives_the_same_bits_on_two_gpus(cell, tmp_path):
    """Through NCCL. Kernels that add in no fixed order are named, and none is used in an evaluation."""
    chosen = [cell(method) for method in METHODS]
    assert evaluate(tmp_path, chosen, DIVIDED, "cuda") == evaluate(tmp_path, chosen, ALONE, "cuda")
    for record in find_records(tmp_path / "2-2-3"):
        assert record.run.provenance.unordered_kernels == [], record.path.name


@pytest.mark.slow(40)
def test_two_nodes_of_torchrun_give_the_same_bits(small_demo, tmp_path):
    cell = run_of(small_demo, "prototype", "fscs")
    alone = evaluate(tmp_path, [parse_run(cell, build=False).config], ALONE)
    address = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    options = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.num_nodes=2", "--trainer.strategy=ddp"]
    options += ["--data.loading.workers=0", "--run.keep_predictions=soft", f"--run.runs={tmp_path / 'nodes'}"]
    run = ["-m", "fsbench", "bench", *config_words(cell), *options]
    environment = threads_of_the_system() | {"PYTHONPATH": str(REPOSITORY)}
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}", *address, *run],
            cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for node in (0, 1)
    ]  # fmt: skip
    for node in nodes:
        _, err = node.communicate(timeout=400)
        assert node.returncode == 0, err
    assert hashes_of(tmp_path / "nodes", 1, 2) == alone


@pytest.fixture(scope="module")
def cells(cell, photos, tmp_path_factory):
    """cells(methods) -> the settings of a cell of few episodes of each."""
    folder, few = tmp_path_factory.mktemp("photos"), ["--data.test.episodes=4"]

    def judged(method: str) -> Namespace:
        if method in METHODS:
            return cell(method, *few)
        words = arguments(method, photos, folder, *CLASSIFIERS[method], *few, "--data.test.way=2")
        return parse(words, build=False).config

    return lambda methods: [judged(method) for method in methods]


def evaluate_in_forks(
    warm_process: Warm, folder: Path, cells: list[Namespace], configurations: Sequence[tuple[int, int, int]]
) -> dict[tuple[int, int, int], dict[str, str]]:
    """Evaluate cells in configurations of one number of processes, in one group of forks.

    Returns:
        Configuration (processes, workers, batch) -> run -> hash of its table's file.
    """
    folder.mkdir()
    ((processes, *_), *_) = configurations
    plan = write_plan(folder, cells, configurations)
    environments = [environment_of_test(folder) | rank for rank in environments_of_ranks(processes)]
    ended = warm_process.call_ranks([str(plan)], folder, environments, program="tests.cli.many_cells")
    assert [done.returncode for done in ended] == [0] * processes, ended[0].stderr
    return {each: hashes_of(runs_of(folder, each), len(cells), processes) for each in configurations}


@pytest.mark.slow(210)
def test_every_other_method_gives_the_same_bytes_in_two_processes(warm_process, cells, tmp_path):
    """In forks, whose starts cost nothing."""
    chosen = cells(method for method in (*METHODS, *CLASSIFIERS) if method not in FAMILIES)
    (alone,) = evaluate_in_forks(warm_process, tmp_path / "alone", chosen, [ALONE]).values()
    (divided,) = evaluate_in_forks(warm_process, tmp_path / "divided", chosen, [DIVIDED]).values()
    assert divided == alone and len(alone) == len(METHODS) + len(CLASSIFIERS) - len(FAMILIES)


@pytest.mark.slow(180)
def test_a_method_of_each_family_gives_the_same_bytes_in_every_configuration(warm_process, cells, tmp_path):
    chosen = cells(FAMILIES)
    (alone,) = evaluate_in_forks(warm_process, tmp_path / "alone", chosen, [ALONE]).values()
    for processes, pairs in OTHERS.items():
        configurations = [(processes, workers, batch) for workers, batch in pairs]
        found = evaluate_in_forks(warm_process, tmp_path / f"{processes}", chosen, configurations)
        assert len(found) == len(configurations)
        for configuration, hashes in found.items():
            assert hashes == alone, configuration
