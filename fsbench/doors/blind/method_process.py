"""The process of a method that is tested blind: `python -m fsbench.doors.blind.method_process`.

It reads frames from its standard input: eight bytes of a length, then so many bytes. The first frame is a request, the
second states the test, both as JSON; every other one is an episode (`fsbench.doors.blind.episodes`). To each it answers
with one line as `fsbench.protocols.kit.answers` writes them, with a checksum. It ends with its input.
"""

import json
import os
import struct
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import lightning as L
import numpy as np
import torch

from fsbench.base.errors import CheckpointError, FsbenchError, SettingsError, describe, user_message
from fsbench.base.files import sha256_file
from fsbench.core.evaluation import answering
from fsbench.core.segmenter import Segmenter
from fsbench.doors.blind.episodes import unpack_episode
from fsbench.predict.settings import choose_device
from fsbench.protocols.kit.answers import AnswersError, check_mask, encode, line_of
from fsbench.protocols.registry import load_protocol
from fsbench.runner.config.build import RunOptions, SuiteCLI, parse_configuration
from fsbench.runner.config.request import Request
from fsbench.runner.engine.checkpoint import TRAINED_ON, load_checkpoint
from fsbench.runner.engine.identity import method_identity
from fsbench.runner.engine.machine.determinism import set_determinism
from fsbench.scores.answers import SegmentationAnswer


def read_frame(source: BinaryIO) -> bytes | None:
    """Return the next frame; None where the input has ended, in the middle of one, too."""
    head = source.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack(">Q", head)
    content = source.read(length)
    return content if len(content) == length else None


def frame(content: bytes) -> bytes:
    """Return bytes as `read_frame` reads them."""
    return struct.pack(">Q", len(content)) + content


class MethodProcess:
    """The method of a request, ready for a test.

    Args:
        words: fields of a `Request` of one method and one fold.

    Raises:
        FsbenchError: the settings do not fit, or weights are absent.
    """

    def __init__(self, words: dict[str, Any]):
        request = Request(**words)
        self.cli: SuiteCLI = parse_configuration(request.configuration(request.methods[0], request.folds[0]), False)
        self.values: dict[str, Any] = self.cli.config.as_dict()
        self.data = self.cli.data_arguments
        trainer = self.values["trainer"]
        if str(trainer["precision"]) not in ("32-true", "32"):
            raise SettingsError(f"trainer.precision is {trainer['precision']}; a blind test is one of 32-true")
        set_determinism({"deterministic": trainer["deterministic"], "benchmark": trainer["benchmark"]})
        tf32 = self.values["run"]["tf32"]
        torch.backends.cuda.matmul.allow_tf32 = tf32 in (True, "matmul")
        torch.backends.cudnn.allow_tf32 = tf32 in (True, "convolutions")
        L.seed_everything(int(self.values["seed_everything"]), verbose=False)
        self.method: Segmenter = self._build(request)

    def _build(self, request: Request) -> Segmenter:
        method, run = self.cli.build_method(), self.values["run"]
        if not isinstance(method, Segmenter):
            raise SettingsError(f"{run['name']} is no method of segmentation, and a blind test is one")
        if method.needs.before_test:
            raise SettingsError(
                f"{run['name']} {method.needs.before_test}, which a blind test does not give; expected a method, or "
                "settings, that need no such images"
            )
        if "class names" in method.needs.hints:
            raise SettingsError(f"{run['name']} asks for names of classes, which a blind test does not give")
        if method.needs.classes != "unknown":
            raise SettingsError(
                f"{run['name']} follows the classes in the order of a test's episodes, which a blind test does not "
                "tell; run it without --blind"
            )
        self.trained_on = [method.backbone.trained_on] if method.backbone.trained_on else []
        if run["checkpoint"]:
            content = load_checkpoint(method, Path(run["checkpoint"]), self.data["image_size"])
            self.trained_on += [content[TRAINED_ON]] if content.get(TRAINED_ON) else []
        elif method.learns:
            raise CheckpointError(
                f"{run['name']} is to be trained, and a blind test does not train; expected a checkpoint; give one "
                "with --ckpt, such as the best.ckpt of a run without --blind"
            )
        method.nshot_strategy = run["nshot_strategy"]
        method.check_image_size(self.data["image_size"])
        accelerator = self.values["trainer"]["accelerator"]
        return method.to(choose_device({"gpu": "cuda"}.get(accelerator, accelerator)))

    def statement(self) -> dict[str, Any]:
        """Return the settings of the method, those of data that it asks for, and what it was trained on."""
        run = RunOptions(**self.values["run"])
        settings = method_identity(self.method, self.values["model"]["init_args"], run)
        settings |= {"seed": self.values["seed_everything"], "tf32": run.tf32}
        if run.checkpoint:
            settings["checkpoint_sha256"] = sha256_file(Path(run.checkpoint))
        asked = {
            name: value
            for name, value in self.data.items()
            if isinstance(value, str | int | float | bool | None) or name == "dataset"
        }
        return {
            "name": self.values["run"]["name"],
            "data": asked,
            "hints": sorted(self.method.needs.hints),
            "trained_on": self.trained_on,
            "settings": settings,
        }

    def get_ready(self, test: dict[str, Any]) -> dict[str, Any]:
        """Check that the method can answer the test; return its numbers of parameters."""
        protocol = load_protocol(test["protocol"])
        self.method.check_data(
            SimpleNamespace(task="segmentation", protocol=protocol, image_size=self.data["image_size"])
        )
        self.method.check_shots(test["shot"], None)
        ways = test["way"]
        return {"parameters": [self.method.num_trainable_parameters(ways), self.method.num_parameters(ways)]}


def answer_line(number: int, answer: SegmentationAnswer) -> bytes:
    """Return the line of an answer to the episode of an opaque number. Raises AnswersError for what is no answer."""
    mask = answer.label_map
    if mask.dtype.kind == "f" and np.array_equal(mask, np.rint(mask)):
        mask = mask.astype(np.int64)
    checked = check_mask(mask, number)
    presence: dict[str, Any] = {"presence": None, "score": None}
    if answer.present is not None and answer.score is not None:
        presence = {"presence": answer.present.tolist(), "score": answer.score.astype(np.float32).tolist()}
    failed = {"failed": True} if answer.failed else {}
    return line_of(
        {"number": number, "size": [int(side) for side in checked.shape], "runs": encode(checked), **presence, **failed}
    )


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer the frames of `source` with lines to `target`, until it ends or a line states an error."""

    def say(line: bytes) -> None:
        target.write(line)
        target.flush()

    try:
        request = read_frame(source)
        if request is None:
            return
        process = MethodProcess(json.loads(request))
        say(line_of(process.statement()))
        test = read_frame(source)
        if test is None:
            return
        say(line_of(process.get_ready(json.loads(test))))
        with ExitStack() as stack:
            answerer = stack.enter_context(answering(process.method))
            while (content := read_frame(source)) is not None:
                batch = unpack_episode(content)
                (answer,) = answerer(batch)
                say(answer_line(int(batch.episodes[0]), answer))
    except (FsbenchError, AnswersError) as error:
        say(line_of({"error": user_message(error)}))
    except Exception as error:  # of the method, which may raise anything
        say(line_of({"error": f"{describe(error)} (without --blind, --debug shows where)"}))
        raise


def main() -> None:
    """Serve the process that started this one; whatever a method prints goes to the standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(own, "wb") as target:
        serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
