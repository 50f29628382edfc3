"""What a seed decides about the API: which sites misbehave in a run, and how.

A site is a host and a kind of call. For each of its calls, effect, time, answer and age are chosen
apart from each other; see `api.Reply`.
"""

from __future__ import annotations

import random

from exoip.core.calls import Failure

KINDS = ("attach", "detach", "poll", "read", "holders", "refresh")
FAILURES = tuple(str(failure) for failure in Failure)
AGES = ("0s", "2s", "10s", "60s")
TIMES = ("0.05s", "0.5s", "1.5s", "2.6s", "8s", "never")


class Sites:
    """The sites of one run that may misbehave."""

    def __init__(self, rng: random.Random, names: list[str]) -> None:
        self._rng = rng
        self._share = rng.choice((0.15, 0.3, 0.5))  # of all sites
        self._kinds: dict[str, list[str]] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Decide about the sites of a node."""
        self._kinds[name] = [kind for kind in KINDS if self._rng.random() < self._share]

    def commands(self, name: str) -> list[str]:
        """Return commands that let some of the sites of `name`, or of all hosts, misbehave, or heal them."""
        rng = self._rng
        if rng.random() < 0.15:
            return [f"api {name} ok"]
        if rng.random() < 0.15:
            return [f"api {rng.choice((name, 'all'))} all {self._mode('all')}"]
        kinds = self._kinds[name] or ["read"]
        chosen = rng.sample(kinds, rng.randint(1, len(kinds)))
        same = rng.random() < 0.4  # sites that fail together fail in the same way
        mode = self._mode(chosen[0])
        about = f":{rng.choice([*self._kinds])}" if rng.random() < 0.2 else ""  # calls about one instance only
        sites = [(kind, kind + (about if kind in ("read", "detach") else "")) for kind in chosen]
        return [f"api {name} {site} {mode if same else self._mode(kind)}" for kind, site in sites]

    def for_good(self, name: str) -> list[str]:
        """Return commands that let some sites of `name`, or none, fail from now on, always in the same way."""
        rng = self._rng
        chosen = rng.sample(KINDS, rng.choice((0, 1, 1, 2, 3)))
        return [f"api {name} {kind} {' '.join(self._words(kind, 0.0))} rate=100%" for kind in chosen]

    def _some(self, values: tuple[str, ...], mixed: float) -> str:
        """Return one of the values, or, in a share `mixed` of cases, several, of which each call gets any."""
        many = self._rng.random() < mixed
        return ",".join(self._rng.sample(values, self._rng.randint(2, len(values)) if many else 1))

    def _mode(self, kind: str) -> str:
        return " ".join([*self._words(kind, 0.4), f"rate={self._rng.choice((100, 100, 60, 20))}%"])

    def _words(self, kind: str, mixed: float) -> list[str]:
        rng = self._rng
        words = [f"effect={self._some(('yes', 'no'), mixed)}"]
        if rng.random() < 0.65:
            words.append(f"failure={self._some(('none', *FAILURES) if rng.random() < mixed else FAILURES, mixed)}")
            if rng.random() < 0.35:
                words.append(f"retry={self._some(('0s', '5s', '60s', '120s', '300s'), mixed)}")
        if rng.random() < 0.4:
            words.append(f"takes={self._some(TIMES, mixed)}")
        if kind in ("attach", "detach", "all") and rng.random() < 0.3:
            words.append(f"lands={self._some(('0.1s', '3s', '9s'), mixed)}")
        if kind in ("attach", "detach", "all") and rng.random() < 0.3:
            words.append(f"operation={self._some(('1s', '6s', '9s', 'never', 'fails'), mixed)}")
        if kind in ("read", "holders", "all") and rng.random() < 0.3:
            words.append(f"lag={self._some(AGES, mixed)}")
        return words
