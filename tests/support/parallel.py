"""Runs the scenarios of a test module beside each other, for they mostly wait: each is a test of its own all the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.cluster import Cluster

AT_ONCE = 4  # clusters; each has a few processes
New = Callable[..., Cluster]  # makes a cluster, as its class does
Outcomes = dict[str, tuple["Future[None]", list[str]]]


def beside(scenario: Callable[..., None]) -> Callable[..., None]:
    """Make a test of `scenario`, a function of `new` and of its parameters; the fixture `outcomes` runs it."""

    def test(request: pytest.FixtureRequest, outcomes: Outcomes, **_parameters: object) -> None:
        outcome, told = outcomes[request.node.nodeid]
        try:
            outcome.result()
        finally:
            print("\n".join(told))

    signature = inspect.signature(scenario)
    parameters = [each for name, each in signature.parameters.items() if name != "new"]
    own = [each for each in inspect.signature(test).parameters.values() if each.kind is not each.VAR_KEYWORD]
    test.__name__, test.__doc__, test.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
    test.__signature__ = signature.replace(parameters=[*own, *parameters])  # type: ignore[attr-defined]
    test.scenario = scenario  # type: ignore[attr-defined]
    return test


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """What comes of every chosen scenario of the module, by its test's id; and what there is to know after a failure."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started: Outcomes = {}
        for item in request.session.items:
            scenario = getattr(getattr(item, "function", None), "scenario", None)
            if scenario is None or item.module is not request.module:  # type: ignore[attr-defined]
                continue
            parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
            told: list[str] = []
            started[item.nodeid] = (pool.submit(scenario, new=_maker(told), **parameters), told)
        yield started
        pool.shutdown(cancel_futures=True)  # those that nobody waits for any more


def _maker(told: list[str]) -> New:
    return lambda *values, **more: Cluster(*values, tell=told.append, **more)
