"""Memory of this machine, against which settings are held that would ask for more."""

import os

from fsbench.base.errors import SettingsError
from fsbench.base.files.opening import in_units


def machine_memory() -> int:
    """Return this machine's memory in bytes; 0 if the system does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0


def check_memory(needed: int, what: str, instead: str) -> None:
    """Raise SettingsError if `needed` bytes are more than the machine has.

    Args:
        needed: number of bytes.
        what: what needs them, for the message.
        instead: what the user can do, at the end of the message.
    """
    memory = machine_memory()
    if 0 < memory < needed:
        raise SettingsError(
            f"{what} need {in_units(needed)} of memory; expected at most the {in_units(memory)} of this machine; "
            f"{instead}"
        )
