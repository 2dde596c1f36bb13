"""Settings of runs in the words of a label: those that differ, under short names, and classes by their last word."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

CLASS, ARGUMENTS = ".class_path", ".init_args"
"""Ends of keys in LightningCLI's form: a class, and what it is made with."""
OWN_MODULES = "own_modules"
"""Part of the settings that only runs have whose protocol is in modules of the user's."""


def label_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a run as labels name them: arguments follow their class, and so do those of listed classes.

    Of listed classes with one last word, the second and later ones get a number.

    >>> label_settings({"optimizer.class_path": "torch.optim.SGD", "optimizer.init_args.lr": 0.1})
    {'optimizer.class_path': 'torch.optim.SGD', 'optimizer.lr': 0.1}
    >>> label_settings({"callbacks": [{"class_path": "lightning.Timer", "init_args": {"duration": 9}}]})
    {'callbacks.class_path': ['lightning.Timer'], 'callbacks.Timer.duration': 9}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        plain = key.replace(ARGUMENTS, "")
        if isinstance(value, list) and value and all(isinstance(one, dict) and CLASS[1:] in one for one in value):
            paths = [str(one[CLASS[1:]]) for one in value]
            found[f"{plain}{CLASS}"] = paths
            names = [_last(path) for path in paths]
            for place, (one, name) in enumerate(zip(value, names, strict=True)):
                number = names[:place].count(name) + 1
                owner = f"{plain}.{name}" if number == 1 else f"{plain}.{name} {number}"
                arguments = one.get(ARGUMENTS[1:]) or {}
                found |= {f"{owner}.{argument}": given for argument, given in arguments.items()}
        else:
            found[plain] = value
    return found


def differing_settings(of_runs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the keys of settings (`label_settings`) that differ among runs of one method.

    A setting that a run lacks differs, too, but not the arguments of a class that it does not use, nor settings of a
    part, such as training, that the run does not have; of parts `OWN_MODULES` alone differs then. Where classes differ,
    the first argument of each is included.
    """
    distinct = [*{str(own): own for own in of_runs}.values()]
    parts = [{OWN_MODULES, *(key.partition(".")[0] for key in own if "." in key)} for own in distinct]
    told: set[str] = set()
    for owner in distinct:
        for key, value in owner.items():
            part, dot, _ = key.partition(".")
            is_argument = f"{key.rpartition('.')[0]}{CLASS}" in owner and not key.endswith(CLASS)
            for other, its_parts in zip(distinct, parts, strict=True):
                is_alike = owner.get("weights from") == other.get("weights from") and (not dot or part in its_parts)
                if other[key] != value if key in other else is_alike and not is_argument:
                    told.add(key)
    for class_key in [key for key in told if key.endswith(CLASS)]:
        place = f"{class_key.removesuffix(CLASS)}."
        for own in distinct:
            told.update([key for key in own if key.startswith(place) and key != class_key][:1])
    return told


def class_paths(settings: Mapping[str, Any]) -> set[str]:
    return {path for key, value in settings.items() if key.endswith(CLASS) for path in _paths(value)}


def setting_words(key: str, value: Any, told: Collection[str], classes: Collection[str] = ()) -> str:
    """Return a setting in words, beside those with the keys `told`; of `classes`, two with one last word stand in full.

    >>> setting_words("training.optimizer.class_path", "torch.optim.SGD", ())
    'optimizer SGD'
    >>> setting_words("training.optimizer.gamma", 0.9, ("training.optimizer.gamma", "training.lr_scheduler.gamma"))
    'optimizer gamma 0.9'
    """
    if key.endswith(CLASS):
        words = [_last(path) for path in classes]
        names = [path if words.count(_last(path)) > 1 else _last(path) for path in _paths(value)]
        key, value = key.removesuffix(CLASS), " + ".join(names)
    *places, name = key.split(".")
    alike = [one for one in told if one.removesuffix(CLASS).split(".")[-1] == name]
    return " ".join([*(places[-1:] if len(alike) > 1 else ()), name, str(value)])


def _paths(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _last(class_path: str) -> str:
    return class_path.rpartition(".")[2]
