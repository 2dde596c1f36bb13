"""Answers that were handed in, checked against the test that they answer: files of `answers.py`, or a folder of PNGs.

A folder has a label map `<number>.png` for each episode, 0 background and 1 to N the ways, as palette or grey. A file
`presence.csv` beside them may have the columns number, way, presence (1 if the query shows the way, else 0)
and score (from 0 to 1, may be absent).
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError, RecordError
from fsbench.base.files import is_file, open_file, read_text
from fsbench.base.files.opening import is_folder
from fsbench.data.image_io import read_label_map
from fsbench.data.palettes import SeenColours
from fsbench.data.picture_file import LABEL_MAP, picture_header
from fsbench.protocols.kit.answers import (
    TOLD_WORDS,
    AnswersError,
    Asked,
    check_asked,
    check_mask,
    decode,
    encode,
    read_answer,
    read_header,
    too_large,
    what_is_told,
)
from fsbench.protocols.kit.asked import asked_answers
from fsbench.protocols.test import Test

PRESENCE = "presence.csv"
"""File beside the PNGs of a folder with presence and its score."""
BOOLS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
"""How programs write whether a way is present, in small letters."""


@dataclass(frozen=True)
class HandedInAnswer:
    """A user's prediction of one episode, read from a file.

    Attributes:
        number: the number of the episode.
        label_map: (h, w) uint8, 0 background, 1..N ways, of the size that the test asks for; None in classification.
        presence: (N,) bool, whether the query shows each way (class); None if a way counts as present when the label
            map shows it.
        score: (N,) float32 in [0, 1], how sure the method is that each way is present; None if the file does not say.
        labels: in classification, (q,) int64, the way from 1 of each query in the order in which the test shows them.
    """

    number: int
    label_map: np.ndarray | None
    presence: np.ndarray | None = None
    score: np.ndarray | None = None
    labels: np.ndarray | None = None


Stored = dict[str, Any]
"""An answer as a line of a file has it, see `fsbench.protocols.kit.answers.read_answer`."""


def _read_file(path: Path, test: str, asked: Asked) -> dict[int, Stored]:
    """Read the answers of a file that `fsbench.protocols.kit.answers` wrote, by the number of the episode.

    Raises:
        AnswersError: it is damaged, cut off, or answers another test than `test`.
        OSError: it cannot be read.
    """
    found: dict[int, Stored] = {}
    place = -1
    with open_file(path, "journal") as file:
        for place, line in enumerate(file):
            if not line.endswith(b"\n"):
                raise AnswersError(
                    f"{path} is cut off in line {place + 1}; expected whole lines; open it with Answers(…), which "
                    "removes what is left of the line, and answer its episode again"
                )
            if place == 0:
                named = read_header(line, str(path))
                if named not in (None, test):
                    raise AnswersError(
                        f"{path} answers the test {named[:16]}, expected {test[:16]}; give the kit or the manifest "
                        "that it was made for"
                    )
                continue
            stored = read_answer(line, place, str(path))
            number = stored["number"]
            if number in found:
                raise _twice(number, path, path)
            if number not in asked:
                raise _foreign(number, path, len(asked))
            found[number] = stored
    if place < 0:
        raise AnswersError(f"{path} is empty; expected a file that answers.py wrote")
    return found


def _read_folder(folder: Path, asked: Asked) -> dict[int, Stored]:
    """Read the answers of a folder of PNGs, by the number of the episode, as a file would have them.

    Raises:
        AnswersError: a name is no number of an episode, two files have one number, a picture is no label map that is
            asked for, or presence is none.
        OSError: it cannot be read.
    """
    files: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() != ".png" or file.name.startswith("."):
            continue
        if not (file.stem.isascii() and file.stem.isdigit() and len(file.stem) < 16):
            raise AnswersError(f"{folder} holds {file.name!a}; expected label maps <number of an episode>.png")
        number = int(file.stem)
        if number in files:
            raise _twice(number, files[number], file)
        if number not in asked:
            raise _foreign(number, folder, len(asked))
        files[number] = file
    if not files:
        raise AnswersError(f"{folder} holds no label map <number of an episode>.png; expected one for each episode")
    told = _read_presence(folder / PRESENCE, files)
    colours: SeenColours = {}
    return {
        number: _read_picture(file, number, asked, colours) | told.get(number, {"presence": None, "score": None})
        for number, file in files.items()
    }


def _read_picture(file: Path, number: int, asked: Asked, colours: SeenColours) -> Stored:
    """Return the mask of a PNG as a line of a file has it; `colours` are those of the pictures before."""
    ways = asked[number]["ways"]
    try:
        header = picture_header(file, LABEL_MAP)
        stored = {"number": number, "size": [header.height, header.width]}
        check_asked(stored | {"presence": None, "score": None}, asked, 0)  # the size, before anything is decoded
        # of several ways a number is another class in another episode, whose colour a program may have taken
        labels = read_label_map(file, colours if ways == 1 else None)
    except DataError as error:
        raise AnswersError(str(error)) from None
    if labels.max() > ways:
        raise AnswersError(f"the mask {file} {too_large(int(labels.max()), ways)}")
    return stored | {"runs": encode(check_mask(labels, number))}


def _handed_in(stored: Stored, asked: Asked) -> HandedInAnswer:
    """Return an answer, checked against what is asked for, which must have its episode.

    Raises:
        AnswersError: another answer is asked for, or the mask is damaged.
    """
    number = stored["number"]
    if "labels" in stored:
        check_asked(stored, asked, None)
        return HandedInAnswer(number, None, labels=np.array(stored["labels"], np.int64))
    check_asked(stored, asked, 0)  # the size, before anything is decoded
    try:
        mask = decode(stored["runs"], *stored["size"])
    except AnswersError as error:
        raise AnswersError(f"the answer to episode {number} is damaged ({error}); expected one of answers.py") from None
    check_asked(stored, asked, int(mask.max()))
    presence, score = stored["presence"], stored["score"]
    return HandedInAnswer(
        number,
        mask,
        None if presence is None else np.array(presence, bool),
        None if score is None else np.array(score, np.float32),
    )


def _read_presence(path: Path, files: Mapping[int, Path]) -> dict[int, dict[str, Any]]:
    """Read presence and score by the number of the episode, of each of `files`; empty if the file is absent."""
    if not is_file(path):
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, "list")), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise AnswersError(
            f"{path} cannot be read ({error}); expected the columns number, way, presence, score"
        ) from None
    told: dict[int, dict[int, tuple[bool, float | None]]] = {}
    for place, row in enumerate(rows):
        try:
            number, way = int(row["number"]), int(row["way"])
            presence = BOOLS[row["presence"].strip().lower()]
            text = (row.get("score") or "").strip()
            score = float(text) if text else None
        except (KeyError, ValueError, TypeError, AttributeError):
            raise AnswersError(
                f"{path} has the row {place + 1}: {ascii(row)[:80]}; expected number, way, presence (0 or 1) and score"
            ) from None
        if number not in files or way in told.setdefault(number, {}):
            raise AnswersError(
                f"{path} tells of episode {number}, way {way}, which has no mask or is there twice; expected one row "
                "for each way of an episode with a mask"
            )
        if score is not None and not 0 <= score <= 1:  # NaN is refused, too
            raise AnswersError(f"{path} has the score {score} of episode {number}; expected 0 to 1")
        told[number][way] = presence, score
    found = {number: _by_way(path, number, ways) for number, ways in told.items()}
    if lacking := sorted(files.keys() - found.keys()):
        raise AnswersError(
            f"{path} tells of {len(found)} of {len(files)} episodes, and not of {_some(lacking)}; expected a row for "
            "each way of each episode with a mask; write it again whole, or remove it"
        )
    return found


def _by_way(path: Path, number: int, ways: Mapping[int, tuple[bool, float | None]]) -> dict[str, Any]:
    scores = [ways[way][1] for way in sorted(ways)]
    some = [score for score in scores if score is not None]
    if sorted(ways) != list(range(1, len(ways) + 1)) or len(some) not in (0, len(ways)):
        raise AnswersError(
            f"{path} has the ways {str(sorted(ways))[:60]} of episode {number} with {len(some)} scores; expected all "
            "from 1 to N, and a score for each or none"
        )
    return {"presence": [ways[way][0] for way in sorted(ways)], "score": some or None}


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:3])) + ", …" * (len(numbers) > 3)


def _twice(number: int, first: Path, second: Path) -> AnswersError:
    places = f"{first}" if first == second else f"{first} and {second}"
    return AnswersError(f"episode {number} has two answers in {places}; expected one to each episode")


def _foreign(number: int, path: Path, count: int) -> AnswersError:
    return AnswersError(
        f"{path} answers episode {number}, which is none of the {count} of the test; give the kit or the manifest that "
        "it was made for"
    )


class StoredAnswers:
    """Checked predictions of the episodes of a test; masks are decoded one at a time.

    Args:
        sources: for each file or folder {episode number: stored prediction}; no episode is in two of them.
        asked: {episode number: {"ways", "size", "queries"}}, the form of the prediction that each episode needs.

    Attributes:
        numbers: the numbers of the answered episodes, in the order of the test.
        missing: numbers of the episodes without an answer.
        image_size: side S of the predicted masks if the test counts pixels at the method's input size; else None.

    Raises:
        AnswersError: a prediction has another form than `asked`, or an episode has two predictions.
    """

    def __init__(self, sources: Sequence[dict[int, Stored]], asked: Asked):
        self._asked = asked
        self._stored: dict[int, Stored] = {}
        for source in sources:
            for number, stored in source.items():
                if number in self._stored:
                    raise AnswersError(f"episode {number} has answers in two places; expected one to each episode")
                self._stored[number] = stored
        self.numbers = [number for number in asked if number in self._stored]
        self.missing = [number for number in asked if number not in self._stored]
        self.image_size: int | None = None
        self._check_told()
        for answer in self:
            self._check_side(answer)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[HandedInAnswer]:
        return map(self.__getitem__, self.numbers)

    def __getitem__(self, number: int) -> HandedInAnswer:
        """Return the answer to episode `number`. Raises KeyError if there is none."""
        return _handed_in(self._stored[number], self._asked)

    def _check_told(self) -> None:
        """Raise AnswersError unless all answers tell the same of presence: else some would be counted by their masks,
        and others by what they tell."""
        by_words: dict[str, list[int]] = {}
        for number in self.numbers:
            by_words.setdefault(TOLD_WORDS[what_is_told(self._stored[number])], []).append(number)
        if len(by_words) > 1:
            found = ", ".join(f"{len(own)} episodes have {words} ({_some(own)})" for words, own in by_words.items())
            raise AnswersError(
                f"{found}; expected the same of all; give presence, and its score, with every answer or with none"
            )

    def _check_side(self, answer: HandedInAnswer) -> None:
        if answer.label_map is None or self._asked[answer.number]["size"] is not None:
            return
        side = answer.label_map.shape[0]
        if self.image_size not in (None, side):
            raise AnswersError(
                f"the mask of episode {answer.number} has the size {side} x {side}, expected "
                f"{self.image_size} x {self.image_size} as others have: the size of the method's input"
            )
        self.image_size = side


def read_answers(paths: Sequence[Path], test: Test, partial: bool = False) -> StoredAnswers:
    """Read and check all predictions for a test from files or folders.

    Args:
        paths: files written by `answers.py`, or folders of PNG masks; no episode may be in two of them.
        test: the test that was predicted.
        partial: accept predictions of only some of the episodes.

    Raises:
        RecordError: a file cannot be read or is damaged, answers another test, or lacks answers; an answer is not of
            the form that the test asks for.
        DataError: a query image of the test cannot be read.
    """
    return check_answers(paths, test.manifest.sha256, asked_answers(test), partial)


def check_answers(paths: Sequence[Path], test: str, asked: Asked, partial: bool = False) -> StoredAnswers:
    """Read and check predictions for the test with the sha256 `test`.

    Args:
        paths: files written by `answers.py`, or folders of PNG masks; no episode may be in two of them.
        test: sha256 of the test's list of episodes.
        asked: {episode number: {"ways", "size", "queries"}}, the form of the prediction that each episode needs.
        partial: accept predictions of only some of the episodes.

    Raises:
        RecordError: a file cannot be read or is damaged, answers another test, or lacks answers; an answer is not of
            the form that the test asks for.
    """
    try:
        answers = StoredAnswers([_read(path, test, asked) for path in paths], asked)
    except AnswersError as error:
        raise RecordError(str(error)) from None
    if answers.missing and not partial:
        raise RecordError(
            f"{len(answers.missing)} of {len(asked)} episodes have no answer ({_some(answers.missing)}); expected one "
            "to each; answer them, or make a trial that is not ranked with --partial"
        )
    if not answers.numbers:
        raise RecordError("there is no answer; expected some to the episodes of the test")
    return answers


def _read(path: Path, test: str, asked: Asked) -> dict[int, Stored]:
    try:
        return _read_folder(path, asked) if is_folder(path) else _read_file(path, test, asked)
    except OSError as error:
        raise AnswersError(
            f"{path} cannot be read ({error.strerror or error}); expected a file of answers.py, or a folder of PNGs"
        ) from None
