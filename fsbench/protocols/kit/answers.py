"""Answers to the episodes of a test in one file, for any program: copy this file beside yours; it needs numpy alone.

    with Answers("mine.fsa", "kit") as answers:
        for episode in episodes:                        # the lines of kit/episodes.jsonl
            if episode["number"] not in answers.done:   # after an interruption it goes on here
                answers.add(episode["number"], mask)    # (h, w) integers: 0 background, 1 to N the ways

The file is text. Its first line names the format and the test, every other line is one answer; each line begins with
the CRC-32 of the rest. A mask is stored as runs of equal labels, row by row: the lengths (uint32, little-endian), then
the labels (uint8), compressed by zlib, in base64. Python 3.6 or later.
"""

import base64
import io
import json
import os
import time
import zlib
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = "fsbench answers"
VERSION = 1

Answer = Dict[str, Any]
Asked = Dict[int, Dict[str, Any]]
Told = Tuple[bool, bool]
TOLD_WORDS = {
    (False, False): "no presence",
    (True, False): "presence without a score",
    (True, True): "presence and its score",
}
"""Whether an answer tells presence, and its score -> words."""
MOST_PIXELS = 100000000
"""Most pixels of a mask."""
MOST_SIDE = 2048
"""Largest side of a mask at the size of a method's input; no network of the field sees more, and images have less."""
MOST_LABEL = 254
"""Largest label of a way; 255 is void, which no answer has."""


class AnswersError(ValueError):
    """A prediction, or a file of predictions, is wrong; the message says what was found and what was expected."""


class Answers:
    """File to which predictions ("answers") for a test are appended; an answer is on the disk when `add` returns.

    An existing file is continued. If its writer was killed in the middle of the last line, that line is cut off.

    Args:
        path: the file, such as "mine.fsa". Each process that answers needs a file of its own; `fsbench score` takes
            several.
        test: folder of a kit (a test exported for other programs), against which every answer is checked; or the sha256
            of the test's list of episodes; or None, and the file does not say which test it answers.
        asked: {episode number: {"ways", "size", "queries"}}, the form of the answer that each episode needs, as
            `read_kit_folder` returns it; read from the kit unless given.

    Attributes:
        done: numbers of the episodes that have an answer.

    Raises:
        AnswersError: the file is not a file of answers, is damaged, is for another test, or another process writes it.

    Examples:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "mine.fsa")
        >>> with Answers(path) as answers:
        ...     answers.add(7, np.eye(3, dtype=bool), presence=[True])
        >>> Answers(path).done
        {7}
    """

    def __init__(self, path: Any, test: Any = None, asked: Optional[Asked] = None) -> None:
        self.path = str(path)
        self.done: Set[int] = set()
        self._asked = asked
        self._told: Optional[Told] = None
        if test is not None and os.path.isdir(str(test)):
            test, self._asked = read_kit_folder(str(test))
        if test is not None and not _is_sha256(test):
            raise AnswersError(
                "test is %r; expected the folder of a kit, or the sha256 of a manifest (64 characters)" % (test,)
            )
        self._process = os.getpid()
        try:
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise AnswersError(
                "cannot write to %s (%s); expected the name of a file" % (self.path, error.strerror)
            ) from None
        try:
            self._lock()
            self._go_on(header_line(test))
        except BaseException:
            self._file.close()
            raise

    def add(self, number: Any, mask: Any = None, presence: Any = None, score: Any = None, labels: Any = None) -> None:
        """Store the prediction ("answer") of an episode.

        Args:
            number: the number of the episode.
            mask: (h, w) integers or bool, 0 background, 1 to N the ways (the episode's classes), of the size that the
                kit states for the episode.
            presence: N bools, whether the query shows each way at all; None if a way is present when the mask shows it.
                Give presence for all episodes or for none, and likewise the score.
            score: N numbers from 0 to 1, how sure the method is that each way is present; only together with
                `presence`.
            labels: in classification, instead of a mask, the way from 1 to N of each query image.

        Raises:
            AnswersError: the episode already has an answer, or the mask, presence, score or labels have a form that
                cannot be scored.
        """
        if self._file.closed:
            raise AnswersError("%s is closed; expected answers before close()" % self.path)
        if os.getpid() != self._process:
            raise AnswersError("%s was opened by another process; open a file in each process" % self.path)
        number = _whole(getattr(number, "number", number), "the number of an episode")
        if number in self.done:
            raise AnswersError("episode %d has an answer in %s; expected one to each episode" % (number, self.path))
        answer = {"number": number}
        if labels is None:
            mask = check_mask(mask, number)
            answer["size"] = [int(side) for side in mask.shape]
            answer["runs"] = encode(mask)
            answer.update(_check_presence(presence, score, number))
        else:
            if mask is not None or presence is not None or score is not None:
                raise AnswersError("episode %d has labels and more; expected labels alone, or a mask" % number)
            answer["labels"] = _check_labels(labels, number)
        if self._asked is not None:
            check_asked(answer, self._asked, None if labels is not None else int(mask.max()))
        self._check_told(answer)
        self._append(line_of(answer))
        self.done.add(number)

    def close(self) -> None:
        """Close the file once its content is on the disk."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __len__(self) -> int:
        return len(self.done)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _lock(self) -> None:
        """Take the file's lock, for which the processes of a killed loader are waited for."""
        for attempt in range(51):
            try:
                if fcntl is not None:
                    fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt == 50:
                    raise AnswersError("another process writes %s; give each a file of its own" % self.path) from None
                time.sleep(0.1)
            except OSError:  # a disk without locks
                return

    def _go_on(self, header: bytes) -> None:
        """Read what is there, cut off what a killed writer began, and write the header if there is none."""
        self._file.seek(0)
        end, first = 0, None
        for place, line in enumerate(io.BufferedReader(io.FileIO(self._file.fileno(), closefd=False))):
            if not line.endswith(b"\n"):
                if place == 0 and not header.startswith(line):
                    raise AnswersError("%s is no file of answers; expected one, or a new name" % self.path)
                break
            if place == 0:
                first = read_header(line, self.path)
            else:
                answer = read_answer(line, place, self.path)
                number = answer["number"]
                self._check_told(answer)
                if number in self.done:
                    raise AnswersError(
                        "%s has two answers to episode %d; expected one to each episode" % (self.path, number)
                    )
                self.done.add(number)
            end += len(line)
        test = read_header(header, self.path)
        if end and test not in (None, first):
            raise AnswersError(
                "%s answers the test %s, expected %s; choose a new name for answers to another test"
                % (self.path, str(first)[:16], str(test)[:16])
            )
        self._file.truncate(end)
        if end == 0:
            self._append(header)

    def _check_told(self, answer: Answer) -> None:
        """Raise AnswersError where an answer tells more or less of presence than those before it."""
        told = what_is_told(answer)
        if self._told not in (None, told):
            raise AnswersError(
                "episode %d has %s, and answers before it in %s have %s; expected the same of all episodes; give "
                "presence, and its score, with every answer or with none"
                % (answer["number"], TOLD_WORDS[told], self.path, TOLD_WORDS[self._told])
            )
        self._told = told

    def _append(self, line: bytes) -> None:
        end = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError("the disk is full")
        except BaseException:
            os.ftruncate(self._file.fileno(), end)  # all of the line or nothing of it
            raise


# The format


def line_of(value: Any) -> bytes:
    """Return a value as a line of the answers file, in bytes: the CRC-32 of its JSON text, then the JSON text."""
    text = json.dumps(value, sort_keys=True, allow_nan=False).encode("ascii")
    return b"%08x " % zlib.crc32(text) + text + b"\n"


def header_line(test: Optional[str]) -> bytes:
    """Return the first line of an answers file for the test with this sha256; None if the test is unknown."""
    return line_of({"format": FORMAT, "test": test, "version": VERSION})


def read_line(line: bytes) -> Any:
    """Return the JSON value of a line of an answers file; None if the line is damaged."""
    checksum, _, text = line.rstrip(b"\r\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _parse(text.decode("ascii"))
    except (ValueError, RecursionError):
        return None


def _parse(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError where it is none, or has a key twice in one object."""
    return json.loads(text, object_pairs_hook=_distinct)


def _distinct(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object, expected it once")
    return found


def read_header(line: bytes, name: str) -> Optional[str]:
    """Return the test's sha256 from the first line of the answers file `name`; None if the line does not state it."""
    value = read_line(line)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise AnswersError("%s is no file of answers; expected one that answers.py wrote" % name)
    if value.get("version") != VERSION:
        raise AnswersError(
            "%s has version %s of the format, expected %d; use the answers.py of this fsbench"
            % (name, ascii(value.get("version"))[:40], VERSION)
        )
    test = value.get("test")
    if test is not None and not _is_sha256(test):
        raise AnswersError("%s names the test %s, expected a sha256; write it again" % (name, ascii(test)[:40]))
    return test


def read_answer(line: bytes, place: int, name: str) -> Answer:
    """Read and check the answer on line `place` (0 is the header) of the answers file `name`, except its mask's runs.

    Returns:
        A dict with "number" and, in classification, "labels"; for masks "size", "runs", "presence" and "score" (lists
        or None).
    """
    value = read_line(line)
    where = "line %d of %s" % (place + 1, name)
    if value is None:
        raise AnswersError(
            "%s is damaged; expected a line as answers.py wrote it; take the file from a copy, or remove the line and "
            "answer its episode again" % where
        )
    try:
        if not isinstance(value, dict):
            raise AnswersError("it is no answer")
        number = value.get("number")
        if type(number) is not int or not 0 <= number < 2**53:
            raise AnswersError("its number is %s" % ascii(number)[:40])
        if "labels" in value:
            return {"number": number, "labels": _check_labels(value["labels"], number)}
        size, runs = value.get("size"), value.get("runs")
        if size is None or not _is_size(size):
            raise AnswersError("its size is %s" % ascii(size)[:40])
        if not isinstance(runs, str):
            raise AnswersError("it has no mask")
        checked = {"number": number, "size": size, "runs": runs}
        checked.update(_check_presence(value.get("presence"), value.get("score"), number))
        return checked
    except AnswersError as error:
        raise AnswersError("%s is no answer (%s); expected a line as answers.py wrote it" % (where, error)) from None


def what_is_told(answer: Answer) -> Told:
    """Return (whether an answer states which ways are present, whether it states presence scores)."""
    return answer.get("presence") is not None, answer.get("score") is not None


def encode(mask: np.ndarray) -> str:
    """Return a mask (h, w) uint8 as run-length text."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [len(flat)]])).astype("<u4")
    return base64.b64encode(zlib.compress(lengths.tobytes() + flat[starts].tobytes(), 6)).decode("ascii")


def decode(runs: str, height: int, width: int) -> np.ndarray:
    """Decode run-length text to a mask (height, width) uint8.

    Raises:
        AnswersError: the runs do not fill the mask.
    """
    pixels = height * width
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(runs.encode("ascii"), validate=True), 5 * pixels + 1)
        whole = stream.eof and not stream.unused_data
    except (ValueError, zlib.error):
        data, whole = b"", False
    if not whole or not data or len(data) % 5:
        raise AnswersError("its mask is damaged")
    count = len(data) // 5
    lengths = np.frombuffer(data, "<u4", count)
    if int(lengths.sum(dtype=np.uint64)) != pixels or not lengths.all():
        raise AnswersError("its runs do not fill %d x %d pixels" % (height, width))
    return np.repeat(np.frombuffer(data, np.uint8, count, 4 * count), lengths.astype(np.intp)).reshape(height, width)


# The checks


def check_mask(mask: Any, number: int) -> np.ndarray:
    """Return a predicted mask as (h, w) uint8.

    Raises:
        AnswersError: it is not a label map of integers or bool.
    """
    for name in ("detach", "cpu"):  # of torch's tensors
        mask = getattr(mask, name)() if hasattr(mask, name) else mask
    who = "the mask of episode %d" % number
    if np.ma.is_masked(mask):
        raise AnswersError("%s is a masked array; expected labels in all pixels, as mask.filled(0) gives them" % who)
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise AnswersError("%s has the shape %s; expected (h, w)" % (who, mask.shape))
    if mask.dtype.kind not in "biuf" or not np.array_equal(mask, np.rint(mask)):  # NaN is refused, too
        raise AnswersError(
            "%s is of %s and not of whole numbers; expected 0 background, 1 to N the ways, as argmax or a threshold "
            "gives them" % (who, mask.dtype)
        )
    if mask.size > MOST_PIXELS:
        raise AnswersError("%s has %d pixels; expected at most %d" % (who, mask.size, MOST_PIXELS))
    if mask.min() == 0 and mask.max() == 255:
        raise AnswersError("%s %s" % (who, too_large(255, 0)))
    if int(mask.min()) < 0 or int(mask.max()) > MOST_LABEL:
        raise AnswersError(
            "%s has the values %.0f to %.0f; expected 0 background, 1 to N the ways" % (who, mask.min(), mask.max())
        )
    return np.ascontiguousarray(mask, np.uint8)


def too_large(largest: int, ways: int) -> str:
    """Return the message that a mask's largest value is above the number of ways, and what to write instead."""
    if largest == 255:
        return "marks a way with 255; write %s, and 0 for the background" % (
            "1" if ways == 1 else "its number, from 1 to %s" % (ways or "N")
        )
    return "has the value %d; expected 0 background, 1 to %d the ways" % (largest, ways)


def _check_presence(presence: Any, score: Any, number: int) -> Answer:
    """Return both as lists of bools and of floats, or None."""
    if presence is None:
        if score is not None:
            raise AnswersError("episode %d has a score without presence; expected both, or none" % number)
        return {"presence": None, "score": None}
    decided = _values(presence, "presence", number)
    if not all(type(value) in (bool, int, float) and value in (0, 1) for value in decided):
        raise AnswersError(
            "the presence of episode %d is %s; expected a bool for each way" % (number, ascii(decided)[:60])
        )
    sure = None if score is None else _values(score, "score", number)
    if sure is not None:
        if len(sure) != len(decided):
            raise AnswersError(
                "episode %d has %d of presence and %d of score; expected one of each for each way"
                % (number, len(decided), len(sure))
            )
        if not all(type(value) in (int, float) and 0 <= value <= 1 for value in sure):  # NaN is refused, too
            raise AnswersError(
                "the score of episode %d is %s; expected numbers from 0 to 1" % (number, ascii(sure)[:60])
            )
        sure = [float(value) for value in sure]
    return {"presence": [bool(value) for value in decided], "score": sure}


def _check_labels(labels: Any, number: int) -> List[int]:
    found = _values(labels, "labels", number)
    if not all(type(value) in (int, float) and value in range(1, 65536) for value in found):
        raise AnswersError(
            "the labels of episode %d are %s; expected the way, from 1 to N, of each query"
            % (number, ascii(found)[:60])
        )
    return [int(value) for value in found]


def _values(values: Any, what: str, number: int) -> List[Any]:
    """Return a vector of any program as a list of Python's numbers, which is not empty."""
    for name in ("detach", "cpu"):
        values = getattr(values, name)() if hasattr(values, name) else values
    found = values.tolist() if hasattr(values, "tolist") else values
    found = [found] if isinstance(found, (bool, int, float)) else found
    if not isinstance(found, (list, tuple)) or not found:
        raise AnswersError("%s of episode %d is %s; expected a list" % (what, number, ascii(found)[:60]))
    return [value.item() if isinstance(value, np.generic) else value for value in found]


def _whole(value: Any, what: str) -> int:
    try:
        number = int(value)
        fits = not isinstance(value, (bool, str, bytes)) and number == value and 0 <= number < 2**53
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise AnswersError("%s is %s; expected a whole number from 0" % (what, ascii(value)[:60]))
    return number


def _is_size(size: Any) -> bool:
    """Return whether a value is [height, width], or None if the answer's own size is taken."""
    if size is None:
        return True
    sides = isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    return sides and size[0] * size[1] <= MOST_PIXELS


def _is_sha256(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


# The kit


def read_kit_folder(folder: str) -> Tuple[str, Asked]:
    """Read from a kit (folder with a test for other programs) which predictions the test needs.

    Returns:
        The sha256 of the test, and {episode number: {"ways": N, "size": [h, w] or None, "queries": number of queries in
        classification, or None}}.
    """
    try:
        with open(os.path.join(folder, "kit.json"), "rb") as file:
            test = _parse(file.read().decode("utf-8"))["test"]
        if not _is_sha256(test):
            raise ValueError("test is %s" % ascii(test)[:40])
        asked = {}
        with open(os.path.join(folder, "episodes.jsonl"), "rb") as file:
            for line in file:
                episode = _parse(line.decode("utf-8"))
                number, size, queries = episode["number"], episode.get("size"), episode.get("queries")
                if type(number) is not int or not _is_size(size):
                    raise ValueError("number %s, size %s" % (ascii(number)[:40], ascii(size)[:40]))
                ways, queries = len(episode["supports"]), None if queries is None else len(queries)
                asked[number] = {"ways": ways, "size": size, "queries": queries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AnswersError(
            "%s is no kit (%s: %s); expected a folder that fsbench kit wrote" % (folder, type(error).__name__, error)
        ) from None
    return test, asked


def check_asked(answer: Answer, asked: Asked, largest: Optional[int]) -> None:
    """Check that an answer has the form that its test asks for.

    Args:
        answer: the answer, a dict as `read_answer` returns it.
        asked: {episode number: {"ways", "size", "queries"}}, the form of the answer to each episode, as
            `read_kit_folder` returns it.
        largest: largest label of the mask; None in classification.

    Raises:
        AnswersError: the test does not have the episode, or asks for another form of answer.
    """
    number = answer["number"]
    if number not in asked:
        raise AnswersError("episode %d is none of the test, which has %d" % (number, len(asked)))
    ways, size, queries = asked[number]["ways"], asked[number]["size"], asked[number]["queries"]
    if (queries is None) != (largest is not None):
        raise AnswersError(
            "the answer to episode %d is %s; expected %s"
            % (number, *(("labels", "a mask") if largest is None else ("a mask", "labels")))
        )
    if largest is None:
        if len(answer["labels"]) != queries or max(answer["labels"]) > ways:
            raise AnswersError(
                "episode %d has %d labels up to %d; expected %d from 1 to %d"
                % (number, len(answer["labels"]), max(answer["labels"]), queries, ways)
            )
        return
    height, width = answer["size"]
    if size is not None and [height, width] != list(size):
        raise AnswersError(
            "the mask of episode %d has the size %d x %d (height x width), expected %d x %d"
            % ((number, height, width) + tuple(size))
        )
    if size is None and (height != width or height > MOST_SIDE):
        raise AnswersError(
            "the mask of episode %d has the size %d x %d; expected the square S x S of the method's input, S up to %d"
            % (number, height, width, MOST_SIDE)
        )
    if largest > ways:
        raise AnswersError("the mask of episode %d %s" % (number, too_large(largest, ways)))
    for name in ("presence", "score"):
        if answer[name] is not None and len(answer[name]) != ways:
            raise AnswersError(
                "%s of episode %d has the length %d; expected %d, one for each way"
                % (name, number, len(answer[name]), ways)
            )
