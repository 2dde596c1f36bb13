"""The parts of a draw by their words in `fsbench.protocols.conditions`, and those of installed packages."""

from collections.abc import Iterator

from fsbench.base.errors import SettingsError
from fsbench.base.plugins import plug_in_part
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.conditions import EPISODE_DRAW, IMAGE_LISTS, MIN_OBJECT
from fsbench.protocols.episode_rules.image_lists import LEAST
from fsbench.protocols.episode_rules.lists import PFENET, Lists
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource
from fsbench.protocols.episode_rules.streams import Streams


def draw_rule(word: str) -> DrawRule:
    """Return the rule by which episodes are drawn that has this name in fsbench or an installed package.

    Raises:
        SettingsError: no rule has the name.
    """
    known = EPISODE_DRAW.value(word)
    own = plug_in_part(word, DrawRule) if known is None else None
    found: DrawRule = own or EPISODE_DRAW.obeyed(word).part
    return found


def drawing(word: str) -> str:
    """Return in a sentence how the rule of this name draws."""
    return EPISODE_DRAW.meaning_of(word) or draw_rule(word).words


def lists_with(image_lists: str, min_object: str) -> Lists:
    """Return the rule for image lists of this name, with the smallest object that `min_object` states.

    Raises:
        SettingsError: a word has no rule, or the two do not go together.
    """
    found: Lists = IMAGE_LISTS.obeyed(image_lists).part
    fitting = MIN_OBJECT.obeyed(min_object).part
    if image_lists not in fitting:
        raise SettingsError(
            f"{IMAGE_LISTS.key} '{image_lists}' and {MIN_OBJECT.key} '{min_object}' do not go together; expected one "
            f"of the lists {', '.join(fitting)} with this object, or another object"
        )
    pixels = min_object.partition(" ")[0]
    sized = found is PFENET and pixels.isdecimal() and int(pixels) != LEAST
    return found.with_objects(int(pixels)) if sized else found


def one_stream(word: str, pool: Pool, *, shot: int, seed: int = 0, workers: int = 0) -> Iterator[Episode]:
    """Yield 1-way episodes drawn by a named rule from a pool of images.

    Args:
        word: name of the rule.
        pool: possible queries and supports.
        shot: number of supports.
        seed: seed of the program's main process.
        workers: number of loader processes that draw; 0 for the main process.
    """
    return draw_rule(word).episodes(EpisodeSource(pool, Streams(seed, workers), max(len(pool.pairs), 1), shot=shot))
