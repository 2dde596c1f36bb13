"""The test of a method that is kept in a process of its own: it gets episodes, and is counted here.

This process never imports the method. It reads the data, sends each episode without names and truth, and takes back one
line of text, of which it believes nothing: a line is a mask of the asked size with labels of the ways, or an error.
"""

import glob
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import RunError, SettingsError
from fsbench.base.files import fingerprint, locked, make_folder, read_json, write_text
from fsbench.base.files.validation import first_problem
from fsbench.base.terminal import one_line
from fsbench.core.loading import LoadingConfig, load_item
from fsbench.data.batch import EpisodeBatch
from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.episodic import check_unseen
from fsbench.doors.blind.episodes import pack_episode
from fsbench.doors.blind.method_process import frame
from fsbench.doors.blind.sandbox import SANDBOX, MethodPlace, files_beside
from fsbench.doors.evaluate import evaluate_parts
from fsbench.doors.parts import Parts
from fsbench.doors.results import Result
from fsbench.protocols.blind import BlindTest, new_secret
from fsbench.protocols.evaluation import Answerer
from fsbench.protocols.geometry import InputResize
from fsbench.protocols.kit.answers import AnswersError, Asked, read_answer, read_line
from fsbench.protocols.kit.reader import handed_in
from fsbench.protocols.segmentation import Segmentation
from fsbench.protocols.test import Test
from fsbench.records.run import Blind, Count, Name
from fsbench.runner.config.compose import compose, setting
from fsbench.runner.config.limits import check_name
from fsbench.runner.config.request import Request
from fsbench.runner.config.tests import load_test
from fsbench.scores.answers import SegmentationAnswer
from fsbench.scores.controls import ControlOutcome

LONGEST_LINE = 2**26
"""Most bytes of a line of the method's process."""

_NOT_TAKEN = {
    "devices": "a blind test is one process on one device",
    "support_annotation": "supports of a blind test have masks",
    "keep_predictions": "a blind test keeps masks",
    "force": "a blind test is made anew with every call",
    "filter": "a blind test does not train",
    "micro_batch": "a blind test does not train",
}
"""Options of `fsbench bench` that a blind test does not have, and why."""


def bench_blind(request: Request, say: Callable[[str], None], *, sandbox: bool = True, progress: bool = True) -> Result:
    """Test a method blind, and write its record.

    Interrupted, the same call goes on where it was.

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
    folder = make_folder(Path(request.runs))
    with tempfile.TemporaryDirectory(prefix="fsbench-blind-") as private:
        work = Path(private) / "method"
        work.mkdir()
        place = MethodPlace(work, _readable(request), sandbox)
        with MethodConnection(place, request) as method:
            statement = _Statement.checked(method.greet(), request)
            test = statement.load_test(request)
            _check_hidden(place, test)
            parameters = method.get_ready(test)
            return _evaluate(method, statement, test, parameters, folder, say, progress)


def check_request(request: Request) -> None:
    """Raise SettingsError for an option that a blind test does not have."""
    for option in fields(Request):
        value = getattr(request, option.name)
        if option.name in _NOT_TAKEN and value != option.default and not (option.name == "devices" and value == 1):
            raise SettingsError(
                f"--blind is given with --{option.name.replace('_', '-')}, and {_NOT_TAKEN[option.name]}; leave one out"
            )
    if setting(compose(request.extra).values, "data.dataset") is not None:
        raise SettingsError(
            "--blind is given with data.dataset; expected --dataset, --data-root and --lists, since this process reads "
            "the data set and the method's does not"
        )


def _readable(request: Request) -> list[Path]:
    """Return the files that the method's process is to read: its own, its checkpoint and weights, configurations."""
    named: list[Path] = []
    for text in (request.methods[0], request.dataset):
        file = Path(text.rpartition(":")[0] if ".py:" in text else text).expanduser()
        if file.suffix in (".py", ".yaml", ".yml"):
            named += files_beside(file)
    given = [text.removeprefix("--config=") for text in request.extra if text.startswith("--config=")]
    given += [after for word, after in zip(request.extra, request.extra[1:], strict=False) if word == "--config"]
    given += [text for text in (_checkpoint(request), request.weights) if text]
    return [*named, *(Path(text).expanduser().absolute() for text in given if Path(text).expanduser().exists())]


def _checkpoint(request: Request) -> str | None:
    """Return the checkpoint of the request's fold."""
    if request.checkpoint is None:
        return None
    path = request.checkpoint.replace("{fold}", str(request.folds[0])).replace("{dataset}", request.dataset)
    path = path.replace("{method}", request.methods[0])
    folder = Path(path).expanduser()
    return str((folder / f"fold-{request.folds[0]}" / "best.ckpt" if folder.is_dir() else folder).absolute())


def _check_hidden(place: MethodPlace, test: Test) -> None:
    """Raise SettingsError where the sandbox would show a file of the test."""
    seen = place.sees(test.files) if place.kind == SANDBOX else None
    if seen is not None:
        raise SettingsError(
            f"the method's sandbox would show {seen}, which is of the test; expected the data set in a folder apart "
            "from programs, weights and the method's file; move it, and name it with --data-root"
        )


class _DataSettings(BaseModel):
    """Settings of the test and of loading by the names of `EpisodicTest`, and no others."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    image_size: Annotated[int, Field(gt=0, le=10_000)]
    input_resize: InputResize = "protocol"
    protocol: Name | None = None
    way: Count | None = None
    shot: Count = 1
    setting: Name = "original"
    empty_masks: bool = True
    episodes: Count | None = None
    test_seed: Count | None = None
    draws: Count = 1
    drop_small_classes: bool = False
    support_annotation: Literal["mask", "all_ways"] = "mask"
    kept_support: Literal[1] | Annotated[float, Field(ge=1, le=1)] = 1
    nested_in: None = None


class _TrainedOn(BaseModel):
    """The data that weights were trained on, as a checkpoint tells."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    dataset: Name
    fold: Count
    classes: list[Name]


class _Statement(BaseModel):
    """The settings that a method's process states, of which nothing is believed.

    Attributes:
        name: of the method in tables.
        data: settings of the test and of loading.
        hints: parts of an episode that the method asks for beside images and masks.
        trained_on: data that its weights were trained on.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    name: Name
    data: _DataSettings
    hints: list[Literal["photos", "boxes"]]
    trained_on: list[_TrainedOn]

    @classmethod
    def checked(cls, said: dict[str, Any], request: Request) -> "_Statement":
        """Return the statement of a process. Raises SettingsError for settings that a blind test does not have."""
        try:
            statement = cls.model_validate(said)
        except ValidationError as error:
            raise SettingsError(
                f"{request.methods[0]}: its settings are none of a blind test: {first_problem(error, said)}"
            ) from error
        check_name(statement.name, "the name of the method")
        return statement

    def load_test(self, request: Request) -> Test:
        """Draw the test that the request and the method's settings ask for, from this process's own data."""
        fold, data = request.folds[0], self.data
        if request.manifest is not None:
            path = request.manifest.replace("{fold}", str(fold))
            return load_test(
                request.dataset, root=request.data_root, lists=request.lists, manifest=path, image_size=self.side
            )
        return load_test(
            request.dataset,
            root=request.data_root,
            lists=request.lists,
            protocol=data.protocol,
            fold=fold,
            way=data.way,
            shot=data.shot,
            setting=data.setting,
            empty=data.empty_masks,
            episodes=data.episodes,
            seed=data.test_seed,
            draws=data.draws,
            drop_small=data.drop_small_classes,
            image_size=self.side,
        )

    @property
    def side(self) -> int:
        """Side of the images that the method sees."""
        return self.data.image_size

    def loading(self, test: Test) -> LoadingConfig:
        """Return how episodes are loaded, as in a run of the suite."""
        assert isinstance(test.protocol, Segmentation)
        header = test.manifest.header
        tells = self.data.support_annotation == "all_ways"
        tells = tells and (header.way > 1 or header.setting == "fully_augmented")
        return LoadingConfig(
            self.side,
            test.protocol.geometry,
            cache_bytes=2**30,
            annotation="all_ways" if tells else "mask",
            annotation_seed=header.seed or 0,
            input_resize=self.data.input_resize,
            hints=frozenset(self.hints),
        )


class MethodConnection:
    """A method's process, as this one speaks with it; it ends with the block.

    Args:
        place: where it is started.
        request: what it is to build.
        module: that the process runs.
    """

    def __init__(self, place: MethodPlace, request: Request, module: str = "fsbench.doors.blind.method_process"):
        self.place, self.request, self.module = place, request, module
        self.name = request.methods[0]

    def __enter__(self) -> "MethodConnection":
        self.process = self.place.start(self.module)
        return self

    def __exit__(self, *error: Any) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.kill()  # it keeps nothing
        self.process.wait()
        self.process.stdout.close()

    def greet(self) -> dict[str, Any]:
        """Send the request, and return what the process states."""
        request = asdict(replace(self.request, manifest=None, checkpoint=_checkpoint(self.request), runs="runs"))
        if request["weights"] and Path(request["weights"]).expanduser().exists():
            request["weights"] = str(Path(request["weights"]).expanduser().absolute())
        for key in ("methods", "dataset"):
            request[key] = _absolute(request[key])
        return self._value(json.dumps(request).encode())

    def get_ready(self, test: Test) -> tuple[int, int] | None:
        """State the test, and return the method's numbers of parameters, (learned, all)."""
        header = test.manifest.header
        stated = {"protocol": test.protocol.name, "way": header.way, "shot": header.shot}
        numbers = self._value(json.dumps(stated).encode()).get("parameters")
        if not isinstance(numbers, list) or len(numbers) != 2:
            return None
        if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
            return None
        return numbers[0], numbers[1]

    def answer(self, content: bytes, number: int, asked: Asked) -> SegmentationAnswer:
        """Send an episode under its opaque number, and return the answer, which is one of the asked size and labels.

        Raises:
            SettingsError: the method raised an error, or its answer is none that is asked for.
            RunError: the process ended, or gave something else.
        """
        line = self._ask(content)
        value = self._checked(line)
        try:
            stored = read_answer(line, 0, "the method's answers")
            if stored["number"] != number:
                raise AnswersError(f"it answers episode {stored['number']} instead of {number}")
            found = handed_in(stored, asked)
        except AnswersError as error:
            raise SettingsError(f"{self.name}: {error}") from None
        score = found.score
        if score is None and found.presence is not None:
            score = found.presence.astype("float32")
        assert found.label_map is not None
        return SegmentationAnswer(found.label_map, found.presence, score, failed=value.get("failed") is True)

    def _value(self, content: bytes) -> dict[str, Any]:
        return self._checked(self._ask(content))

    def _checked(self, line: bytes) -> dict[str, Any]:
        """Return the value of a line. Raises the error that it tells, or RunError where it is no value."""
        value = read_line(line)
        if not isinstance(value, dict):
            raise RunError(
                f"{self.name}: its process wrote {one_line(ascii(line[:40]))} in place of an answer; expected a line "
                "with its checksum; what a method prints goes to the standard error"
            )
        if "error" in value:
            raise SettingsError(one_line(str(value["error"]), 600))
        return value

    def _ask(self, content: bytes) -> bytes:
        """Send a frame, and return the line that comes back. Raises RunError where none does."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(frame(content))
            self.process.stdin.flush()
        except OSError:
            pass  # its last line may say why it ended
        line = self.process.stdout.readline(LONGEST_LINE)
        if line.endswith(b"\n"):
            return line
        if len(line) == LONGEST_LINE:
            raise RunError(
                f"{self.name}: its process wrote a line of more than {LONGEST_LINE} bytes; expected an answer"
            )
        raise RunError(f"{self.name}: its process hung up{self._last_words()}; the same command goes on from here")

    def _last_words(self) -> str:
        """Return how the process ended, and the last line that it printed."""
        with suppress(Exception):
            self.process.wait(timeout=2)
        status = self.process.returncode
        with suppress(OSError):
            lines = self.place.log.read_bytes()[-4000:].decode(errors="replace").split("\n")
            last = next((text.strip() for text in reversed(lines) if text.strip()), "")
            return f" (status {status}; {one_line(last, 200)})" if last else f" (status {status})"
        return f" (status {status})"


def _absolute(name: Any) -> Any:
    """Return a FILE.py:Class or FILE.yaml, or a list of them, with an absolute path; other names as they are."""
    if not isinstance(name, str):
        return [_absolute(one) for one in name]
    file, colon, kind = name.rpartition(":") if ".py:" in name else (name, "", "")
    is_file = bool(colon) or name.endswith((".yaml", ".yml"))
    return f"{Path(file).expanduser().absolute()}{colon}{kind}" if is_file else name


@dataclass
class _Ledger:
    """The secret of a blind test and the answers to its controls, in a folder that outlives an interruption."""

    folder: Path
    answers: dict[int, bool | None] = field(default_factory=dict)

    @cached_property
    def secret(self) -> str:
        """The secret of the test that was begun, or a new one."""
        file = self.folder / "secret.json"
        if file.is_file():
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = read_json(file, "record")
                answers = {int(number): value for number, value in content["answers"].items()}
                secret = content["secret"]
                if isinstance(secret, str) and set(answers.values()) <= {True, False, None}:
                    self.answers = answers
                    return secret
        secret = new_secret()
        self._write(secret)
        return secret

    def add(self, number: int, right: bool | None) -> None:
        """Keep the outcome of a control, by its number."""
        self.answers[number] = right
        self._write(self.secret)

    def _write(self, secret: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "secret.json", json.dumps({"secret": secret, "answers": self.answers}) + "\n")


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


def _evaluate(
    method: MethodConnection,
    statement: _Statement,
    test: Test,
    parameters: tuple[int, int] | None,
    folder: Path,
    say: Callable[[str], None],
    progress: bool,
) -> Result:
    """Let the method's process answer the test and its controls; write the record."""
    header, config, opaque = test.manifest.header, statement.loading(test), _OpaqueNames()
    assert isinstance(test.protocol, Segmentation)
    for seen in statement.trained_on:
        check_unseen(seen.model_dump(), f"what {statement.name} starts from", test.index, test.protocol, header)
    method.name = statement.name
    begun = fingerprint([statement.name, test.manifest.sha256, test.files_state, statement.side])[:10]
    state = folder / f".{statement.name}-{begun}.blind"
    taken = f"another process tests {statement.name} blind on this test; wait for it"
    with locked(state.with_name(f"{state.name}.lock"), refusal=taken):
        ledger = _Ledger(state)
        blind = BlindTest(test, ledger.secret)

        def ask(seen: EpisodeBatch) -> SegmentationAnswer:
            number = blind.all_numbers[int(seen.episodes[0])]
            size, ways = seen.query_sizes[0].tolist(), int(seen.valid.shape[1])
            asked: Asked = {number: {"ways": ways, "size": size, "queries": None}}
            return method.answer(pack_episode(seen, number, opaque), number, asked)

        def ask_controls(end: int) -> None:
            for control in (episode for episode in blind.order[:end] if episode.index < 0):
                if control.index not in ledger.answers:
                    (batch,) = _Batches(test, config, [control])
                    found = ask(test.protocol.separate(batch)[0])
                    ledger.add(control.index, blind.is_right(control.index, found, statement.side))

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

        def outcome() -> ControlOutcome:
            return ControlOutcome.of_answers([ledger.answers[number] for number in sorted(ledger.answers)])

        def told() -> Blind:
            return Blind(
                process=method.place.kind,
                controls=outcome().controls,
                told=outcome().told,
                right=outcome().right,
                secret=ledger.secret,
            )

        parts = Parts(
            test, answering, batches, test.protocol, parameters, ("blind", statement.side, ledger.secret), told
        )
        try:
            record = evaluate_parts(parts, statement.name, folder, None, True, progress)
        except BaseException:
            if not any(folder.glob(f".{glob.escape(statement.name)}-*.answers")):  # nothing to go on from
                shutil.rmtree(state, ignore_errors=True)
            raise
        shutil.rmtree(state)
    say(f"blind: {method.place.kind}; {outcome().words}")
    return Result(record, test)
