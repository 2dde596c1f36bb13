"""The connection with a method's process: requests and episodes go out, and of its lines nothing is believed.

A line is a mask of the asked size with labels of the ways, or an error; whatever else the process does ends in an error
of one line here.
"""

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from fsbench.base.errors import RunError, SettingsError
from fsbench.base.terminal import one_line
from fsbench.doors.blind.method_process import frame
from fsbench.doors.blind.sandbox import MethodPlace
from fsbench.protocols.kit.answers import AnswersError, Asked, read_answer, read_line
from fsbench.protocols.kit.reader import handed_in
from fsbench.protocols.test import Test
from fsbench.runner.config.request import Request
from fsbench.scores.answers import SegmentationAnswer

LONGEST_LINE = 2**26
"""Most bytes of a line of the method's process."""


class MethodConnection:
    """A method's process, as this one speaks with it. It ends with the block, and its children with it.

    Args:
        place: where it is started.
        request: what it is to build, with absolute paths.
        module: that the process runs.
        longest_line: most bytes of a line that is taken from it.
    """

    def __init__(
        self,
        place: MethodPlace,
        request: Request,
        module: str = "fsbench.doors.blind.method_process",
        longest_line: int = LONGEST_LINE,
    ):
        self.place, self.request, self.module, self.longest_line = place, request, module, longest_line
        self.name = request.methods[0]

    def __enter__(self) -> "MethodConnection":
        self.process = self.place.start(self.module)
        return self

    def __exit__(self, *error: Any) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        with suppress(ProcessLookupError):  # neither it nor a child of it is left
            os.killpg(self.process.pid, signal.SIGKILL)  # it keeps nothing
        self.process.wait()
        self.process.stdout.close()

    def greet(self) -> dict[str, Any]:
        """Send the request, and return what the process states."""
        return self._reply(json.dumps(asdict(replace(self.request, manifest=None, runs="runs"))).encode())

    def get_ready(self, test: Test) -> tuple[int, int] | None:
        """State the test, and return the method's numbers of parameters, (learned, all)."""
        header = test.manifest.header
        stated = {"protocol": test.protocol.name, "way": header.way, "shot": header.shot}
        numbers = self._reply(json.dumps(stated).encode()).get("parameters")
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
        value = self._parse(line)
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

    def _reply(self, content: bytes) -> dict[str, Any]:
        """Send a frame, and return the content of the line that comes back."""
        return self._parse(self._ask(content))

    def _parse(self, line: bytes) -> dict[str, Any]:
        """Return the value of a line. Raises the error that it states, or RunError where it has no value."""
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
        line = self.process.stdout.readline(self.longest_line)
        if line.endswith(b"\n"):
            return line
        if len(line) == self.longest_line:
            raise RunError(
                f"{self.name}: its process wrote a line of more than {self.longest_line} bytes; expected an answer"
            )
        raise RunError(f"{self.name}: its process hung up{self._end_in_words()}; the same command goes on from here")

    def _end_in_words(self) -> str:
        """Return how the process ended, and the last line that it printed."""
        with suppress(Exception):
            self.process.wait(timeout=2)
        status = self.process.returncode
        with suppress(OSError):
            lines = self.place.log.read_bytes()[-4000:].decode(errors="replace").split("\n")
            last = next((text.strip() for text in reversed(lines) if text.strip()), "")
            return f" (status {status}; {one_line(last, 200)})" if last else f" (status {status})"
        return f" (status {status})"
