"""Names of classes as people give them for label maps: by number, by colour, or chosen among names."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.base.files.names import composed
from fsbench.data import palettes
from fsbench.data.dataset import VOID
from fsbench.data.palettes import Colour


class ClassNames(NamedTuple):
    """Names of the numbers and colours of label maps, or names chosen among those that files have themselves."""

    numbers: Mapping[int, str] = {}
    colours: Mapping[Colour, str] = {}
    chosen: tuple[str, ...] = ()

    def check(self, shown: Iterable[str]) -> None:
        """Raise SettingsError if nothing shows one of the classes."""
        known = sorted(set(shown))
        for name in (*self.chosen, *self.numbers.values(), *self.colours.values()):
            if name not in known:
                hint = did_you_mean(name, known)
                there = f"{hint} There are" if hint else "; there are"
                raise SettingsError(f"no support shows the class '{name}' of --classes{there}: {first(known)}")


def parse_classes(text: str) -> ClassNames:
    """Parse the value of the option --classes: "1=cat,2=dog", "red=cat,#0000ff=dog" or "cat,dog"."""
    words = [word.strip() for word in composed(text).split(",") if word.strip()]
    if not any("=" in word for word in words):
        return ClassNames(chosen=tuple(words))
    numbers: dict[int, str] = {}
    colours: dict[Colour, str] = {}
    for key, _, name in (map(str.strip, word.partition("=")) for word in words):
        if name and key.isdecimal() and 0 < int(key) < VOID:
            numbers[int(key)] = name
        elif name and (colour := palettes.colour_named(key)):
            colours[colour] = name
    if len({*numbers.values(), *colours.values()}) < len(words):
        raise SettingsError(
            f"--classes is '{text}', expected numbers from 1 to 254 and names, each once, e.g. 1=cat,2=dog, "
            "or colours and names (red=cat,#0000ff=dog)"
        )
    return ClassNames(numbers, colours)


def first(items: Iterable[object]) -> str:
    """Return the first eight of the sorted items as words."""
    words = sorted(map(str, items))
    return ", ".join(words[:8]) + (" …" if len(words) > 8 else "") or "none"
