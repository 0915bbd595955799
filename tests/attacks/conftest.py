"""One daemon to attack for each user, for all attacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.arena import LEVELS, Arena, users


@pytest.fixture(scope="session", params=users(), ids=lambda user: "root" if user == 0 else "user")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    opened = Arena(request.param)
    yield opened
    opened.close()


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)
