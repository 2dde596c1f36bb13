"""The parser of the command line: subcommands in groups, refusals with the nearest name, options that all share."""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.base.files.opening import is_text
from fsbench.base.terminal import VERBOSITY, print_error
from fsbench.base.version import __version__

Groups = Mapping[str, Mapping[str, str]]
"""Lines of help by the names of subcommands, by the titles of their groups."""


SWITCHES = {"true": True, "1": True, "false": False, "0": False}
"""Values of yes-or-no options, in small letters."""


class Parser(argparse.ArgumentParser):
    """Argument parser with short error messages that escape control characters and suggest the nearest option.

    Yes-or-no options may be written with a value (`--option=True`), as sweep agents write them.
    """

    def parse_known_args(  # type: ignore[override]  # its overloads are of other namespaces
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        end = [*args, "--"].index("--")
        words = [word for given in args[:end] for word in self._switch(given)]
        return super().parse_known_args([*words, *args[end:]], namespace)

    def _switch(self, word: str) -> list[str]:
        """Return `--option` for `--option=True` and nothing for `--option=False`, any other word as it is.

        Raises SettingsError for another value of a yes-or-no option.
        """
        name, sign, value = word.partition("=")
        action = self._option_string_actions.get(name)
        if not sign or action is None or action.nargs != 0:
            return [word]
        if value.lower() not in SWITCHES:
            raise SettingsError(
                f"{name} is '{value}', expected True or False; give {name} alone; in a sweep write "
                "${args_no_boolean_flags}"
            )
        return [name] if SWITCHES[value.lower()] else []

    def error(self, message: str) -> NoReturn:
        words = re.sub(r"^argument (-\S+)(/\S+)*: is ", r"\1 is ", message)
        if words != message:  # a number out of its range, as handlers refuse it
            raise SettingsError(words)
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            hint = did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2]))
            words = words.replace(f" (choose from {choice[2]})", f"{hint} (choose from {choice[2]})")
        print_error(f"{words}; see: {self.prog} --help")
        raise SystemExit(2)

    def refuse(self, extra: Sequence[str], options: argparse.Namespace) -> NoReturn:
        """Exit with an error message about unknown arguments, which suggests the subcommand's nearest option."""
        parser = self
        for level in ("command", "action", "list_action"):
            parser = subcommands(parser).get(str(getattr(options, level, None)), parser)
        known = list(parser._option_string_actions)
        word = next((word for word in extra if word.startswith("-")), extra[0])
        parser.error(f"unrecognized arguments: {' '.join(extra)}{did_you_mean(word.split('=')[0], known)}")


class CommandLine(Parser):
    """Argument parser of `fsbench`: shows subcommands in groups, and builds the options of only one.

    Args:
        groups: {heading: {subcommand: its line of help}}; `add_command` adds the options of one subcommand.
    """

    def __init__(self, groups: Groups):
        super().__init__(
            prog="fsbench",
            description="Benchmarks of few-shot segmentation and few-shot classification.",
            allow_abbrev=False,
        )
        self.groups = groups
        self.add_argument("--version", action="version", version=__version__, help="show the version")
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")
        _add_verbosity(self)
        commands = self.add_subparsers(dest="command", parser_class=Parser)
        for group in groups.values():
            for name, line in group.items():
                commands.add_parser(name, help=line, conflict_handler="resolve")  # `bench` has a --help of its own

    def add_command(self, name: str, add_options: Callable[[argparse.ArgumentParser], None]) -> None:
        """Add the subcommand `name` with its options, which `add_options` adds to its parser."""
        command = subcommands(self)[name]
        add_options(command)
        for each in all_parsers(command):
            _add_verbosity(each)

    def format_help(self) -> str:
        lines = [f"usage: {self.prog} COMMAND …", "", str(self.description), ""]
        for title, group in self.groups.items():
            lines += [f"{title}:", *(f"    {name:12} {line}" for name, line in group.items())]
        lines += ["", "options:"]
        lines += [f"    {', '.join(action.option_strings):12} {action.help}" for action in self._actions[:-1]]
        return "\n".join([*lines, "", f"{self.prog} COMMAND --help shows the options of one command.", ""])


def subcommands(parser: argparse.ArgumentParser) -> Mapping[str, Any]:
    """Return {name: parser} of a parser's subcommands; empty if it has none."""
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser, and those of its subcommands at every level."""
    yield parser
    for each in subcommands(parser).values():
        yield from all_parsers(each)


def given_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, str]:
    """Return {destination: option string} for the options of one command that differ from their defaults.

    Options that every command has (help, debug, quiet, verbose) are left out.
    """
    given = {}
    for action in parser._actions:
        common = action.dest in ("help", "debug", "quiet", "verbose")
        if action.option_strings and not common and getattr(options, action.dest, action.default) != action.default:
            given[action.dest] = action.option_strings[-1]
    return given


def _add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add --quiet and --verbose, before or after the subcommand; `predict` has a --quiet with words of its own."""
    texts = {"quiet": "show no notes and no progress", "verbose": "show the messages of the log, too"}
    known = parser._option_string_actions
    for name, text in texts.items():
        if f"--{name}" not in known:
            parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)


def check_words(words: Sequence[str]) -> None:
    """Raise SettingsError for command-line arguments that cannot be used.

    These are arguments with bytes that are no UTF-8, and `--option=--`, which argparse turns into an empty list.
    """
    for word in words:
        if not is_text(word):
            raise SettingsError(
                f"the argument {word!a} is no UTF-8 text, as records and pages are; rename what it names"
            )
        option = re.fullmatch(r"(--[^=]+)=--|(-\w)=?--", word)
        if option:
            raise SettingsError(f"{option[1] or option[2]} is '--', expected a value")


def set_verbosity(options: argparse.Namespace) -> None:
    """Set how much this process and its children print, by the options --quiet, --verbose and --debug."""
    quiet, verbose = getattr(options, "quiet", False), getattr(options, "verbose", False)
    if quiet and verbose:
        raise SettingsError("--quiet and --verbose were both given; expected one of them")
    if quiet or verbose:
        import logging  # spares other calls its import

        os.environ[VERBOSITY] = "quiet" if quiet else "verbose"
        logging.basicConfig(format="%(message)s")
        logging.getLogger("fsbench").setLevel(logging.ERROR if quiet else logging.INFO)
