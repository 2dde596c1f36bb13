"""Parts of tests that installed packages name as entry points: draws, metrics, rules for void pixels."""

from typing import TypeVar

from fsbench.base.errors import SettingsError
from fsbench.base.plugins import PROTOCOLS_GROUP, load_entry_point, plug_ins

Part = TypeVar("Part")


def plug_in_part(name: str, kind: type[Part]) -> Part | None:
    """Return the object of this name and kind that a package names as an entry point; None where none does.

    Only what an entry point names is imported, as a record of anybody's may name a protocol.

    Raises:
        SettingsError: two packages have the name, or the package cannot be imported.
    """
    named = [one for one in plug_ins(PROTOCOLS_GROUP) if one.name == name]
    if len(named) > 1:
        raise SettingsError(
            f"two have the name {name} of a part of a test: {named[0].value} of {named[0].origin}, and "
            f"{named[1].value} of {named[1].origin}; expected one; rename one, or uninstall a package"
        )
    found = load_entry_point(named[0]) if named else None
    return found if isinstance(found, kind) else None
