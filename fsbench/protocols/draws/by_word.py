"""The rules of draws by their words: those of the atlas, the suite's own, and those of installed packages."""

from collections.abc import Iterator, Mapping

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.plugins import plug_in_part
from fsbench.data.episodes.episode import Episode
from fsbench.protocols.draws import fob, hsnet, oslsm, pfenet, vrp
from fsbench.protocols.draws.pools import Pool
from fsbench.protocols.draws.rules import DrawRule, EpisodeSource
from fsbench.protocols.draws.streams import Streams

ATLAS: Mapping[str, DrawRule] = {**pfenet.RULES, **vrp.RULES, **hsnet.RULES, **oslsm.RULES}
"""The draws by their words in the atlas."""
_KNOWN: Mapping[str, DrawRule] = {**ATLAS, **hsnet.OWN, **fob.RULES}


def draw_rule(word: str) -> DrawRule:
    """Return the rule by which episodes are drawn that has this name in fsbench or an installed package.

    Raises:
        SettingsError: no rule has the name.
    """
    found = _KNOWN.get(word) or plug_in_part(word, DrawRule)
    if found is None:
        raise SettingsError(f"episode_draw is '{word}', of which there is no part{known_names(word, tuple(_KNOWN))}")
    return found


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
