"""Subcommand `fsbench completion`: completion of commands, options and names in a shell."""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence

from fsbench.base.terminal import print_block
from fsbench.cli.parser import Parser, subcommands

SHELLS = {
    "bash": 'add to ~/.bashrc: eval "$(fsbench completion bash)"',
    "zsh": 'add to ~/.zshrc, below compinit: eval "$(fsbench completion zsh)"',
    "fish": "once: fsbench completion fish > ~/.config/fish/completions/fsbench.fish",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "; ".join(f"{shell}: {how}" for shell, how in SHELLS.items())
    parser.add_argument("shell", choices=SHELLS, help="whose completion")
    parser.set_defaults(function=_completion)


def _completion(options: argparse.Namespace, extra: list[str]) -> int:
    import argcomplete  # other commands spare it

    print_block(argcomplete.shellcode(["fsbench"], shell=options.shell).strip())
    return 0


def asked_words() -> list[str] | None:
    """Return the words of the line that a shell wants to go on with, without the program's; None where none asks."""
    return os.environ.get("COMP_LINE", "").split()[1:] if "_ARGCOMPLETE" in os.environ else None


def answer_shell(parser: Parser) -> None:
    """Answer a shell that asks how a line goes on, and end the process; return at once where none asks."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete  # other commands spare it

    for command in subcommands(parser).values():
        for each in [command, *subcommands(command).values()]:
            for action in each._actions:
                names = _NAMES.get(action.option_strings[0] if action.option_strings else action.metavar)
                if names is not None:
                    action.completer = _with_commas(names)
    argcomplete.autocomplete(parser, always_complete_options="long")


def _with_commas(names: Callable[[str], Iterable[str]]) -> Callable[..., list[str]]:
    """Complete the last of several names with commas between them, without those that stand there already."""

    def complete(prefix: str, **more: object) -> list[str]:
        before, comma, begun = prefix.rpartition(",")
        taken = before.split(",")
        return [before + comma + name for name in names(begun) if name.startswith(begun) and name not in taken]

    return complete


def _methods(begun: str) -> Sequence[str]:
    # spared until it is needed, with yaml
    from fsbench.runner.config.registry import aliases, names

    return [*names("methods"), *aliases()]


def _of(kind: str) -> Callable[[str], Iterable[str]]:
    def listed(begun: str) -> Iterable[str]:
        # spared until it is needed, with yaml
        from fsbench.runner.config.registry import names

        return names(kind)

    return listed


def _protocols(begun: str) -> Sequence[str]:
    """Return the protocols, and the rows of the atlas where the word begins as these do."""
    # spared until it is needed, with yaml
    from fsbench.protocols.registry import ATLAS, atlas_names, protocol_names

    return [*protocol_names(), *(atlas_names() if begun.startswith(ATLAS) else [ATLAS])]


_NAMES: dict[object, Callable[[str], Iterable[str]]] = {
    "--method": _methods,
    "--dataset": _of("data"),
    "--backbone": _of("backbones"),
    "--protocol": _protocols,
}
"""Names, of which some are left out that do not go on as the word begins, by the option that takes them."""
