"""`fsbench run`: train and evaluate one experiment."""

import argparse
import sys

from fsbench.base.errors import missing_package, raise_all
from fsbench.base.terminal import print_block
from fsbench.runner.config.compose import compose
from fsbench.runner.config.registry import choose_method, config_files


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.allow_abbrev = False
    parser.usage = "fsbench run [--method METHOD] --config FILE [--config FILE …] [--GROUP.KEY VALUE …]"
    parser.add_argument("--method", help="before all files: base.yaml and the method's; as METHOD of fsbench bench")
    parser.add_argument(
        "-h", "--help", action=_RunHelp, nargs=0, help="show what may be set; with --config, of its classes"
    )
    parser.set_defaults(function=_run)


class _RunHelp(argparse.Action):
    """Show the keys that a run takes, of the classes that it builds."""

    def __call__(self, parser: argparse.ArgumentParser, *more: object) -> None:
        try:
            # torch and the classes themselves
            from fsbench.runner.config.build import describe_keys
        except ModuleNotFoundError as error:
            if not (missing := missing_package(error)):
                raise
            parser.print_help()
            print_block(f"\nthe keys that may be set are those of the classes: {missing}")
            parser.exit()
        given = sys.argv[sys.argv.index("run") + 1 :] if "run" in sys.argv else []
        chosen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        chosen.add_argument("--method")
        options, words = chosen.parse_known_args([word for word in given if word not in ("-h", "--help")])
        described = describe_keys(_configuration_of_method(options.method) + words)
        parser.print_help()
        print_block(f"\n{described}")
        parser.exit()


def _configuration_of_method(name: str | None) -> list[str]:
    """Return the arguments that choose a method for `fsbench run`: base.yaml, the method's file, and its name."""
    if name is None:
        return []
    files = config_files(name)
    return [*(f"--config={file}" for file in files), f"--run.name={choose_method(name).name}"]


def _run(options: argparse.Namespace, extra: list[str]) -> int:
    configuration = compose(_configuration_of_method(options.method) + extra)
    raise_all(configuration.problems)
    # torch and Lightning, which arguments that are wrong do not wait for
    from fsbench.runner.engine.run import run_configuration

    return run_configuration(configuration)
