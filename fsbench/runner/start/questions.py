"""Questions to a person at a terminal, each of which an option of the command line can answer instead."""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping

from fsbench.base.errors import FsbenchError, SettingsError, did_you_mean
from fsbench.base.terminal import print_line

ATTEMPTS = 3
"""Number of wrong answers after which a question is given up."""


class Questions:
    """Answers from options, else from defaults with `--yes`, else from the person at the terminal.

    Args:
        options: of the command line; an option that was not given is None.
        is_asked: whether questions may be asked; else a question without an answer is an error that names its option.
    """

    def __init__(self, options: argparse.Namespace, is_asked: bool):
        self.options = options
        self.is_asked = is_asked

    def choice(self, name: str, text: str, choices: Mapping[str, str], default: str) -> str:
        """Ask for one of `choices` (name -> what it is)."""

        def check(answer: str) -> str:
            if answer.isdecimal() and 1 <= int(answer) <= len(choices):
                return list(choices)[int(answer) - 1]
            if answer not in choices:
                expected = f"expected one of {', '.join(choices)}"
                raise SettingsError(f"--{name} is '{answer}', {expected}{did_you_mean(answer, choices)}")
            return answer

        def show() -> None:
            for number, (choice, words) in enumerate(choices.items(), 1):
                print_choice(f"  {number:2}  {choice:18} {words}")

        return self.text(name, text, default, check, show)

    def text(
        self,
        name: str,
        text: str,
        default: str | None,
        check: Callable[[str], str] = str,
        show: Callable[[], None] = lambda: None,
    ) -> str:
        """Ask for a text.

        Args:
            name: of the option that answers.
            text: the question.
            default: the answer of who just presses Enter; None where there is none.
            check: returns the answer as it is kept, or raises a FsbenchError.
            show: prints what there is to choose from.
        """
        given = getattr(self.options, name.replace("-", "_"), None)
        if given is not None:
            return check(given)
        if not self.is_asked:
            if default is None or not self.options.yes:
                words = f", or --yes for '{default}'" if default else ""
                raise SettingsError(f"nothing says: {text} Expected --{name} VALUE{words}, or a terminal to ask at")
            return check(default)
        print_line()
        print_line(text)
        show()
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._read(f"--{name}", default)
            try:
                return check(answer)
            except FsbenchError as error:
                if attempt == ATTEMPTS:
                    raise
                print_line(str(error))
        raise AssertionError("the last attempt returns or raises")

    def agrees(self, name: str, text: str, default: bool = True) -> bool:
        """Ask a question for yes or no; the option `name` is True, False or None."""
        given = getattr(self.options, name.replace("-", "_"), None)
        if given is not None:
            return bool(given)
        if not self.is_asked:
            return default and bool(self.options.yes)

        def check(answer: str) -> str:
            if answer.lower() not in ("y", "yes", "n", "no"):
                raise SettingsError(f"the answer is '{answer}', expected yes or no")
            return answer.lower()[0]

        return self.text(name, text, "yes" if default else "no", check) == "y"

    def _read(self, option: str, default: str | None) -> str:
        """Read a line; the default for an empty one. Raises SettingsError where the input ends."""
        try:
            answer = input(f"[{default}] > " if default else "> ").strip()
        except EOFError:
            raise SettingsError(f"the input ended at a question; expected an answer, or the option {option}") from None
        return answer or default or ""


def print_choice(text: str) -> None:
    """Print something to choose, cut where the terminal's line ends."""
    width = shutil.get_terminal_size((100, 24)).columns
    print_line(text if len(text) <= width else f"{text[: width - 2].rstrip()} …")


def can_ask() -> bool:
    """Return whether a person sits at this process's terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
