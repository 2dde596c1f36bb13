"""Try many mutated files and print, by kind, how many were tried and mishandled: `make fuzz COUNT=20000`."""

import sys
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.harness import problem
from tests.fuzz.mutations import cases, mutate


def main(count: int, first: int) -> int:
    """Try `count` cases from the seed `first`; the exit status is 1 where any is mishandled."""
    tried: Counter[str] = Counter()
    mishandled: dict[tuple[str, str], tuple[int, bytes]] = {}
    failed: Counter[str] = Counter()

    @seed(first)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases)
    def attempt(case: tuple) -> None:
        name, *steps = case
        content = mutate(name, *steps)
        tried[name] += 1
        reason = problem(name, content)
        if reason is not None:
            failed[name] += 1
            mishandled.setdefault((name, reason[:60]), (len(content), content))

    attempt()
    print(f"{'kind':14}{'tried':>8}{'mishandled':>12}")
    for name in sorted(tried):
        print(f"{name:14}{tried[name]:8}{failed[name]:12}")
    print(f"{'all':14}{tried.total():8}{failed.total():12}")
    for (name, reason), (_, content) in sorted(mishandled.items()):
        print(f"{name}: {reason}\n  {content[:400]!r}")
    return 1 if mishandled else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
