"""Every command of the README and the manual is typed: cheap ones run on small data, others are given to the parsers
that would read them, down to the last option of the configuration."""

import argparse
import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fsbench import methods
from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.cli import main as cli
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.runner.config import registry as catalogue
from fsbench.runner.config.merge import setting
from fsbench.runner.config.parse import ParsedRun
from fsbench.runner.config.run_config import RunConfig
from tests.cli.test_readme import EXAMPLES
from tests.config_words import judged_parts
from tests.documents import DOCUMENTS, FENCE, Command, commands, other_blocks

RUN = [
    r"make bench( ARGS=--dry-run)?",
    r"fsbench (--version|list|list protocols( .*)?)",
    r"fsbench weights (list|check)",
    r"fsbench list here --clean.*",
    r"fsbench reproduce(?! my/)(?!.* slurm).*",
    r"make reproduce .*",
    r"fsbench bench .*(--(print_config|help).*|--dry-run)",
    r"fsbench (table|compare) runs(?!.*--by (shots|ways|side|kept|draw|annotation))([/ ].*)?",
    r"fsbench data check folder .*",
    r"fsbench data manifest (build|show|verify) (?!benchmarks).*",
    r"export .*",
]
"""Run on a small demo, on which `make bench` (with few episodes) was run first. Others are parsed: they train for
minutes or need data, weights, a network, a GPU or an account; tests of their own run them on what they need."""

CONTEXTS = ["METHOD=emat", "METHOD=dcama", "METHOD=hmnet", "METHOD=nn DATASET=cub", "METHOD=nn DATASET=imagefolder"]
"""Calls that a sentence which shows a single option may be about."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_blocks_are_commands_or_say_what_they_are(document):
    """A block without a label that holds no commands is a table of the suite."""
    assert all(re.match(r"demo(-cls)? · ", line) for line in other_blocks(document))


def test_commands_that_are_run_are_there():
    typed = {command for document in DOCUMENTS for command in commands(document) if not command.mention}
    assert len(typed) > 120
    for pattern in RUN:
        assert any(re.fullmatch(pattern, command.text) for command in typed), f"nothing is {pattern}"


class Typed:
    """A reader's working folder, in which commands are run or parsed."""

    def __init__(self, folder: Path, small: list[str]):
        self.folder, self.small = folder, small
        self.judged: set[str] = set()

    def type(self, words: Sequence[str], run: bool = False) -> None:
        """Run the command, or parse it; raise the error that the reader would see."""
        while re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        words = [str(path) for word in words for path in (sorted(Path().glob(word)) if "*" in word else [word])]
        program, *rest = words
        if program not in ("make", "fsbench", "pip", "python", "torchrun", "srun", "wandb", "export"):
            raise AssertionError(f"unknown program {program}")
        getattr(self, program)(rest, run)

    def make(self, words: list[str], run: bool) -> None:
        # variables of the make that runs the tests (make test ARGS=…) are not the reader's
        environment = {"PATH": os.environ["PATH"]}
        installed = ["-o", ".venv/.fsbench-installed", "-o", ".venv/.fsbench-test-installed"]
        done = subprocess.run(["make", "-n", *installed, *words], cwd=REPOSITORY,
                              env=environment, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        for line in done.stdout.splitlines():
            if " -m fsbench " in line:
                self.fsbench(shlex.split(line.partition(" -m fsbench ")[2]), run)

    def fsbench(self, words: list[str], run: bool) -> None:
        out = None
        if ">" in words:
            *words, _, out = words
        if run and words[0] == "bench" and "--print_config" not in words:
            words = [*words, *self.small]
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                if run:
                    status = cli.main(words)
                elif words[0] == "bench":
                    with pytest.MonkeyPatch.context() as patch:
                        patch.setattr("fsbench.cli.bench.absent_files", lambda runs: [])
                        patch.setattr("fsbench.runner.grid.bench.bench", self.judge)
                        patch.setattr("fsbench.runner.grid.children.start_server", lambda: None)
                        patch.setattr("fsbench.runner.engine.run.run_parsed", lambda composed: None)
                        patch.setattr(ParsedRun, "build", lambda composed: composed)
                        status = cli.main(words)
                else:
                    _, unknown = cli.parser_for(words).parse_known_args(words)
                    status = f"unrecognised {unknown}" if unknown else 0
        except SystemExit as stopped:
            status = stopped.code
        assert not status, f"exit status {status}"
        if out is not None:
            Path(out).write_text(printed.getvalue())

    def judge(self, runs: Sequence[RunConfig]) -> tuple[list, list]:
        """Parse the configuration of each method, if one of its settings is new, and run nothing.

        It stands in for `fsbench.runner.grid.bench.bench`. The parser takes nearly all of this test's time.
        """
        for run in {run.method: run for run in runs}.values():
            parts = judged_parts(run.values)
            if not parts <= self.judged:
                run.parse()
                self.judged |= parts
        return [], []

    def pip(self, words: list[str], run: bool) -> None:
        """`pip install` and `pip wheel` of the suite, with extras that it has."""
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = [re.fullmatch(r"(?:fsbench|\.)(?:\[([\w,]+)\])?", word) for word in words[1:]]
        assert words[0] in ("install", "wheel") and any(named)
        assert {extra for found in named if found and found[1] for extra in found[1].split(",")} <= set(extras)

    def python(self, words: list[str], run: bool) -> None:
        """`python -m module …`, until its arguments are parsed."""

        class Parsed(Exception):
            pass

        def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> None:
            original(parser, arguments)
            raise Parsed

        if words[0].startswith(".ci/"):
            assert (REPOSITORY / words[0]).is_file()
            return
        assert words[0] == "-m"
        if words[1] == "fsbench":
            return self.fsbench(words[2:], run)
        original = argparse.ArgumentParser.parse_args
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Parsed):
            patch.setattr(argparse.ArgumentParser, "parse_args", parse)
            patch.setattr(sys, "argv", [words[1], *words[2:]])
            runpy.run_module(words[1], run_name="__main__")
            raise AssertionError(f"{words[1]} reads no arguments")

    def torchrun(self, words: list[str], run: bool) -> None:
        from torch.distributed.run import parse_args

        options = parse_args(words)
        assert options.module
        self.python(["-m", options.training_script, *options.training_script_args], run)

    def srun(self, words: list[str], run: bool) -> None:
        """Its own options may stand in a sentence without the program that it starts."""
        if not words[0].startswith("-"):
            self.type(words)

    def wandb(self, words: list[str], run: bool) -> None:
        from wandb.cli.cli import cli as commands_of_wandb

        with commands_of_wandb.make_context("wandb", list(words)) as context:
            name, command, rest = commands_of_wandb.resolve_command(context, list(words))
            command.make_context(name, rest, parent=context)

    def export(self, words: list[str], run: bool) -> None:
        line = "export " + " ".join(f'"{word}"' for word in words)
        subprocess.run(["bash", "-euc", line], check=True)


@pytest.fixture
def folder(small_demo, tmp_path):
    """The reader's working folder: a copy of the repository with data, the README's method and a guide's protocol."""
    folder = tmp_path / "reader"
    folder.mkdir()
    for name in ("benchmarks", "tests"):
        (folder / name).symlink_to(REPOSITORY / name)
    for path in CONFIGS.rglob("*.yaml"):
        copy = folder / "configs" / path.relative_to(CONFIGS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    for path, text in EXAMPLES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    guide = (REPOSITORY / "docs" / "guides" / "protocols.md").read_text()
    (own,) = (block for _, block in FENCE.findall(guide) if block.startswith("# mine.yaml"))
    (folder / "mine.yaml").write_text(own)
    (folder / "my").mkdir()
    for name in ("folder", "photos"):
        (folder / "my" / name).symlink_to(small_demo)
    (folder / "emat-pascal").mkdir()
    return folder


@pytest.fixture
def typed(folder, small_demo, monkeypatch, bench_arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(catalogue, "CONFIGS", folder / "configs")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder / "methods")])
    forget_names()
    small = bench_arguments("", "")
    typed = Typed(folder, small[small.index("--runs") + 2 :])
    yield typed
    forget_names()


def forget_names():
    """Let the registry look at its folders again."""
    for known in (catalogue._named, catalogue.names):
        known.cache_clear()


def why_refused(typed: Typed, command: Command) -> str | None:
    words = command.words
    if command.mention and words[0] in ("fsbench", "python", "srun", "torchrun"):
        words = (*words, "--help")
    attempts, run = [words], any(re.fullmatch(pattern, command.text) for pattern in RUN) and not command.mention
    if words[:2] == ("make", "bench") and len(words) > 2 and not any(word.startswith("METHOD=") for word in words):
        attempts += [("make", "bench", *context.split(), *words[2:]) for context in CONTEXTS]
    reasons = []
    for attempt in attempts:
        try:
            typed.type(attempt, run)
            return None
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and not error.code:
                return None
            reasons.append(f"{command.text}: {type(error).__name__}: {error}")
    return reasons[0]


@pytest.mark.slow(200)
def test_every_command_is_understood(typed):
    """One test, since all of them share the runs that the first of them makes."""
    typed.make(["bench"], run=True)
    first = {command: document for document in reversed(DOCUMENTS) for command in commands(document)}
    refused = [
        f"{first[command].name}: {reason}"
        for command in dict.fromkeys(command for document in DOCUMENTS for command in commands(document))
        if (reason := why_refused(typed, command))
    ]
    assert not refused, "\n".join(refused)


def trainings_on_devices() -> Iterator[tuple[str, str, str, int]]:
    """Yield command, method, data set and number of processes of the documented trainings with several of these."""
    for document in DOCUMENTS:
        for command in commands(document):
            given = dict(word.removeprefix("--").split("=", 1) for word in command.words if "=" in word)
            if "DEVICES" in given and "METHOD" in given:
                for method in given["METHOD"].split(","):
                    yield command.text, method, given.get("DATASET", "demo"), int(given["DEVICES"])
            elif "trainer.num_nodes" in given:  # of a configuration that is printed for PASCAL under the method's name
                processes = int(given["trainer.num_nodes"]) * int(given["trainer.devices"])
                (file,) = (word for word in command.words if word.endswith(".yaml"))
                yield command.text, file.removesuffix(".yaml"), "pascal", processes


def test_documented_numbers_of_devices_divide_the_papers_batch():
    found = list(trainings_on_devices())
    assert {"cst_large", "dcama", "hmnet"} <= {method for _, method, _, _ in found}
    for text, method, dataset, processes in found:
        values = RunConfig(method, dataset).values
        batch, micro_batch = (setting(values, f"data.training.{name}") for name in ("batch_size", "micro_batch"))
        assert StepDivision(batch, processes, micro_batch).share * processes == batch, text  # else it raises


def test_mistyped_commands_are_seen(typed):
    for line in (
        "make bench METHOD=emat ARGS='--model.learning_ratee 1e-4'",
        "make bench METHOD=emat ARGS='--model.learning_rate fast'",
        "make bench METHOD=emmat DATASET=pascal",
        "make bensh",
        "make sweep METHOD=nothing",
        "fsbench table runs/ --bye size",
        "fsbench bench --config emat.yam",
        "torchrun --nnodez=2 -m fsbench bench",
        "pip install -e '.[tests]'",
        "wandb logn",
        "python -m benchmarks.ablations --repeats one",
    ):
        assert why_refused(typed, Command(tuple(shlex.split(line)))), line
