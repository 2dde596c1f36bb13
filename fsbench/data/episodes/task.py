"""A test's task: the choices that its episodes follow from, each declared and documented once.

The names are those of a manifest's header, whose hash covers them. From these fields follow the keys `data.test` of a
configuration, the options of `fsbench bench`, `fsbench kit` and `fsbench data manifest build`, the variables of make,
the axes of grids and papers, the arguments of `load_test` and `load_training`, and what headers and kits state.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from inspect import Parameter, signature
from numbers import Integral
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from fsbench.base.errors import SettingsError, check_at_least, known_names
from fsbench.base.options import Options

Classes = Literal["novel", "base", "held_out", "all"]
"""Classes that episodes are about: "novel" are those of the fold, "base" the other ones, "held_out" those that the data
set keeps for choosing a checkpoint, and "all" those of a test of classification."""


def argument(default: Any, help: str, **declared: Any) -> Any:
    """Declare a field of a `Task` dataclass, with facts for the command line, grids of runs and the documentation.

    Args:
        default: the field's default.
        help: one line that documents the field.
        **declared: `least`, the smallest number allowed; `axis`, the field's key in files of grids, which list several
            values for it; `option`, the field's name among the options of a run; `switch`, the help text of the
            command-line switch that turns the field off; `trains`, whether training episodes depend on the field, too.
    """
    return field(default=default, metadata={"help": help, **declared})


_KINDS = {int: "a whole number", bool: "True or False", str: "a word"}

T = TypeVar("T", bound="Task")


@dataclass(frozen=True)
class Task(Options):
    """Choices that decide a test's episodes besides data set and protocol, such as ways, shots and fold.

    Each field is documented where it is declared. `classes` cannot be chosen: a test is about novel classes. The field
    `episodes` is the entry `requested` in manifest headers.
    """

    fold: int = argument(0, "number of the fold whose classes are novel", least=0, axis="folds", trains=True)
    way: int = argument(1, "classes of an episode", least=1, axis="ways")
    shot: int = argument(1, "labelled images of a class", least=1, axis="shots", trains=True)
    setting: str = argument(
        "original", "original, partially_augmented, fully_augmented, 0-5, 5-10, 10-15, 0-15", axis="settings"
    )
    empty: bool = argument(
        True,
        "queries may show none of their episode's classes, where the protocol allows it",
        switch="every query shows a class of its episode",
        trains=True,
    )
    classes: Classes = field(default="novel", init=False)
    episodes: int | None = argument(
        None, "number of test episodes of a fold instead of the protocol's; the run is then a trial", least=1
    )
    drop_small: bool = argument(False, "leave out classes with too few images", trains=True)
    seed: int | None = argument(
        None,
        "seed of the test's episodes instead of the protocol's",
        least=0,
        axis="test_seeds",
        option="test_seed",
        trains=True,
    )
    draws: int = argument(
        1, "number of draws of supports for every query; scores use draw 0, the official one", least=1
    )
    nested_in: int | None = argument(
        None,
        "number of shots that are drawn, of which an episode has the first ones, so that tests with other numbers of "
        "shots have the same queries",
        least=1,
    )

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset(
        {"fold", "way", "shot", "setting", "empty", "classes", "episodes", "drop_small", "seed"}
    )

    @classmethod
    def arguments(cls, trains: bool = False) -> list[Field[Any]]:
        """Return the fields that users may choose; with `trains`, those that training episodes use."""
        return [one for one in fields(cls) if one.init and (not trains or one.metadata.get("trains"))]

    @classmethod
    def chosen(
        cls: type[T],
        given: Mapping[str, Any],
        whose: str,
        trains: bool = False,
        usual: Mapping[str, Any] | None = None,
        beside: Iterable[str] = (),
    ) -> T:
        """Return a task from {field name: value}, where None stands for the default; the values are checked.

        Args:
            given: {field name: value}; None stands for the default.
            whose: words for what the values belong to, for the error message, such as "data.test".
            trains: accept only the fields that training episodes depend on.
            usual: {field name: value} that replace the defaults of fields that are not given.
            beside: names of options that are valid in the same place, as suggestions after a misspelling. Fields of
                another kind of task among them are left out.

        Raises:
            SettingsError: a name is not a field, or a value does not fit.
        """
        known = [one.name for one in cls.arguments(trains)]
        for name in given:
            if name not in known:
                others = [other for other in beside if other not in {one.name for one in fields(Task)}]
                raise SettingsError(f"{whose} has no argument {name}{known_names(name, [*others, *known])}")
        task = cls(**{**(usual or {}), **{name: value for name, value in given.items() if value is not None}})
        task.check()
        return task

    def check(self) -> None:
        """Raise SettingsError for a value of the wrong type, or a number below the field's minimum."""
        hints = get_type_hints(type(self))
        for one in self.arguments():
            name, value = one.metadata.get("option", one.name), getattr(self, one.name)
            kind, *others = get_args(hints[one.name]) or [hints[one.name]]
            is_number = kind is int and isinstance(value, Integral) and not isinstance(value, bool)
            kinds = {get_origin(one) or one for one in (kind, *others)} - {int}
            if kind in _KINDS and not is_number and type(value) not in kinds:
                raise SettingsError(f"{name} is {value!r}, expected {_KINDS[kind]}")
            if (least := one.metadata.get("least")) is not None:
                check_at_least(least, {name: value})

    def about(self, classes: Classes) -> "ManifestTask":
        """Return the same settings for episodes about other classes: "novel", "base", "held_out" or "all"."""
        return ManifestTask(**{one.name: getattr(self, one.name) for one in Task.arguments()}, classes=classes)

    def header_entries(self) -> dict[str, Any]:
        """Return the settings as entries {name: value} of a manifest's header, in the order of its hash."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name in Task.ELSEWHERE}


@dataclass(frozen=True)
class ManifestTask(Task):
    """A task whose episodes may be about base or validation classes, and not only a test's novel classes."""

    classes: Classes = "novel"


@dataclass(frozen=True)
class ClassificationTask(Task):
    """Choices that decide the episodes of a classification test; all classes take part.

    `fold` is 0: there are no folds.
    """

    way: int = argument(20, "classes of an episode", least=1)
    setting: str = field(default="original", init=False)
    empty: bool = field(default=False, init=False)
    classes: Classes = field(default="all", init=False)
    episodes: int = argument(2000, "number of episodes", least=1)
    drop_small: bool = field(default=False, init=False)
    seed: int = argument(0, "seed of the episodes", least=0)
    queries: int = argument(15, "query images of each class")
    min_class_size: int | None = argument(
        None,
        "smaller classes are repeated in a circle up to so many images before drawing, which lets an image be support "
        "and query at once: 50 is what the published figures were made with",
    )

    ELSEWHERE: ClassVar[frozenset[str]] = Task.ELSEWHERE | {"queries", "min_class_size"}


F = TypeVar("F", bound=Callable[..., Any])


def takes_task(trains: bool = False) -> Callable[[F], F]:
    """Return a decorator for functions with `**task` that shows the task's fields in their signature.

    Args:
        trains: list only the fields that training episodes depend on.
    """

    def decorate(function: F) -> F:
        own, hints = signature(function), get_type_hints(Task)
        kept = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        added = [
            Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
            for one in Task.arguments(trains)
        ]
        function.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        return function

    return decorate
