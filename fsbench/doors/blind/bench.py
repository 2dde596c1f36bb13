"""The test of a method that is kept in a process of its own: it gets episodes, and is counted here.

This process never imports the method. It reads the data, sends each episode without names and truth, and takes back one
line of text, of which it believes nothing.
"""

import glob
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint, locked, make_folder, read_json, sha256_file, write_text
from fsbench.base.paths import BENCHMARKS
from fsbench.core.loading import LoadingConfig, load_item
from fsbench.data.batch import EpisodeBatch
from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.episodic import check_unseen
from fsbench.doors.blind.connection import MethodConnection
from fsbench.doors.blind.episodes import pack_episode
from fsbench.doors.blind.request import absolute_request, check_request, method_files, readable_files
from fsbench.doors.blind.sandbox import SANDBOX, MethodPlace
from fsbench.doors.blind.statement import Statement, read_statement
from fsbench.doors.evaluate import evaluate_parts, finished_episodes
from fsbench.doors.parts import Parts
from fsbench.doors.results import Result
from fsbench.protocols.blind import BlindTest, new_secret
from fsbench.protocols.evaluation import Answerer
from fsbench.protocols.kit.answers import Asked
from fsbench.protocols.segmentation import Segmentation
from fsbench.protocols.test import Test
from fsbench.records.record import Record
from fsbench.records.run import Blind
from fsbench.runner.config.request import Request
from fsbench.scores.answers import SegmentationAnswer
from fsbench.scores.controls import ControlOutcome


def bench_blind(request: Request, say: Callable[[str], None], *, sandbox: bool = True, progress: bool = True) -> Result:
    """Test a method blind, and write its record.

    Interrupted, the same call goes on where it was. A call with other settings or files begins a test of its own.

    Args:
        request: of one method and one fold.
        say: gets lines about the process and its controls.
        sandbox: try to keep the method in a sandbox.
        progress: show how far it is.

    Raises:
        SettingsError: an option is none of a blind test, or the method cannot answer this one.
        RunError: the method's process ended, or gave no answer.
    """
    check_request(request)
    named, folder = absolute_request(request), make_folder(Path(request.runs))
    with tempfile.TemporaryDirectory(prefix="fsbench-blind-") as private:
        work = Path(private) / "method"
        work.mkdir()
        place = MethodPlace(work, readable_files(named), sandbox)
        with MethodConnection(place, named) as method:
            statement = read_statement(method.greet(), request)
            test = statement.load_test(named)
            check_hidden(place, test, named)
            parameters = method.get_ready(test)
            files = {name: sha256_file(file) for name, file in method_files(named).items()}
            blind_run = _BlindRun(method, statement, test, parameters, files, folder)
            return Result(blind_run.evaluate(say, progress), test)


def check_hidden(place: MethodPlace, test: Test, request: Request) -> None:
    """Raise SettingsError where the sandbox would show a file of the test, or the folder of runs with its secret."""
    if place.kind != SANDBOX:
        return
    own = [Path(given).expanduser() for given in (request.runs, request.manifest, *request.lists) if given is not None]
    hidden = [file for file in own if not file.resolve().is_relative_to(BENCHMARKS.resolve())]  # those are everybody's
    seen = place.seen([*hidden, *test.files])
    if seen is not None:
        raise SettingsError(
            f"the method's sandbox would show {seen}; expected the data set, its lists and manifest, and the folder of "
            "runs apart from programs, weights, and modules and packages that the method may import; move it, and name "
            "it with --data-root, --lists, --manifest or --runs"
        )


@dataclass
class _Ledger:
    """The secret of a blind test and the outcomes of its controls, in a folder that outlives an interruption."""

    folder: Path
    outcomes: dict[int, bool | None] = field(default_factory=dict)

    @cached_property
    def secret(self) -> str:
        """The secret of the test that was begun, or a new one."""
        file = self.folder / "secret.json"
        if file.is_file():
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = read_json(file, "record")
                outcomes = {int(number): value for number, value in content["answers"].items()}
                secret = content["secret"]
                if isinstance(secret, str) and set(outcomes.values()) <= {True, False, None}:
                    self.outcomes = outcomes
                    return secret
        secret = new_secret()
        self._write(secret)
        return secret

    def add(self, number: int, right: bool | None) -> None:
        """Keep the outcome of a control, by its number."""
        self.outcomes[number] = right
        self._write(self.secret)

    @property
    def outcome(self) -> ControlOutcome:
        """The outcomes of all controls in sum."""
        return ControlOutcome.from_answers([self.outcomes[number] for number in sorted(self.outcomes)])

    def _write(self, secret: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "secret.json", json.dumps({"secret": secret, "answers": self.outcomes}) + "\n")


class _Batches(Sequence[EpisodeBatch]):
    """Some episodes of a test, loaded one by one with their truth."""

    def __init__(self, test: Test, config: LoadingConfig, episodes: Sequence[Episode]):
        self.test, self.config, self.episodes = test, config, episodes
        self.files = config.files(test.index)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, place: Any) -> Any:
        assert isinstance(self.test.protocol, Segmentation)
        return load_item(self.test.protocol, self.test.index, self.episodes[place], self.config, self.files)


class _OpaqueNames:
    """Names of images for the other process: numbers in the order in which it first sees them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        return self._names.setdefault(name, f"image-{len(self._names):06d}")


@dataclass(frozen=True)
class _BlindRun:
    """A method's process that answers a test and its controls.

    Attributes:
        method: the connection with the process.
        statement: settings that the process states.
        test: with the truth.
        parameters: (learned, all) of the method; None where it does not state them.
        files: sha256 of the files that the method's answers follow from, see `method_files`.
        runs: folder of all runs.
    """

    method: MethodConnection
    statement: Statement
    test: Test
    parameters: tuple[int, int] | None
    files: dict[str, str]
    runs: Path

    def evaluate(self, say: Callable[[str], None], progress: bool) -> Record:
        """Let the process answer, from where that was interrupted, and write the record."""
        name, state = self.statement.name, self._state_folder()
        header, protocol = self.test.manifest.header, self.test.protocol
        assert isinstance(protocol, Segmentation)
        for seen in self.statement.trained_on:
            check_unseen(seen.model_dump(), f"what {name} starts from", self.test.index, protocol, header)
        self.method.name = name
        taken = f"another process tests {name} blind on this test; wait for it"
        with locked(state.with_name(f"{state.name}.lock"), refusal=taken):
            others = sorted(self.runs.glob(f"{glob.escape(self._test_words())}-*.blind"))
            if others and state not in others:
                say(
                    f"blind: {others[0]} is an unfinished test of {name} with other settings, weights or code. This "
                    "test begins beside it. The command that began that one goes on with it; or remove the folder"
                )
            ledger = _Ledger(state)
            parts = self._parts(ledger, state)
            if not finished_episodes(parts, name, self.runs):  # nothing to see by whether the method is the same
                ledger.outcomes.clear()
            try:
                record = evaluate_parts(parts, name, self.runs, None, True, progress)
            except BaseException:
                if not finished_episodes(parts, name, self.runs):  # nothing to go on from
                    shutil.rmtree(state, ignore_errors=True)
                raise
            shutil.rmtree(state)
        say(f"blind: {self.method.place.kind}; {ledger.outcome.words}")
        return record

    def _test_words(self) -> str:
        """Return the beginning of the names of folders of unfinished blind tests of this method on this test."""
        digits = fingerprint([self.test.manifest.sha256, self.test.files_state, self.statement.data.image_size])[:10]
        return f".{self.statement.name}-{digits}"

    def _state_folder(self) -> Path:
        """Return the folder for the secret of this test with these settings and files of the method."""
        settings = self.statement.model_dump(mode="json")
        return self.runs / f"{self._test_words()}-{fingerprint([settings, self.files])[:10]}.blind"

    def _parts(self, ledger: _Ledger, state: Path) -> Parts:
        """Return the test in parts, which the process answers after the controls that come before each."""
        test, config, opaque = self.test, self.statement.loading(self.test), _OpaqueNames()
        protocol, side = test.protocol, self.statement.data.image_size
        assert isinstance(protocol, Segmentation)
        blind = BlindTest(test, ledger.secret)

        def ask(seen: EpisodeBatch) -> SegmentationAnswer:
            number = blind.all_numbers[int(seen.episodes[0])]
            size, ways = seen.query_sizes[0].tolist(), int(seen.valid.shape[1])
            asked: Asked = {number: {"ways": ways, "size": size, "queries": None}}
            return self.method.answer(pack_episode(seen, number, opaque), number, asked)

        def ask_controls(end: int) -> None:
            for control in (episode for episode in blind.order[:end] if episode.index < 0):
                if control.index not in ledger.outcomes:
                    (batch,) = _Batches(test, config, [control])
                    found = ask(protocol.separate(batch)[0])
                    ledger.add(control.index, blind.is_right(control.index, found, side))

        def answer(seen: EpisodeBatch) -> list[SegmentationAnswer]:
            ask_controls(blind.all_numbers[int(seen.episodes[0])])
            return [ask(seen)]

        @contextmanager
        def answering() -> Iterator[Answerer]:
            yield answer
            ask_controls(len(blind.order))

        def batches(numbers: Sequence[int]) -> _Batches:
            chosen = [test.manifest.episodes[test.places[number]] for number in numbers]
            return _Batches(test, config, sorted(chosen, key=lambda episode: blind.numbers[episode.index]))

        def entry() -> Blind:
            return Blind(
                process=self.method.place.kind,
                controls=ledger.outcome.controls,
                told=ledger.outcome.told,
                right=ledger.outcome.right,
                secret=ledger.secret,
                files=self.files,
                stated=self.statement.settings,
            )

        return Parts(
            test,
            answering,
            batches,
            protocol,
            self.parameters,
            ("blind", side, ledger.secret),
            entry,
            f"remove {state} to begin anew",
        )
