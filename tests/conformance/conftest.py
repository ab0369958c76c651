"""Each test here runs once for every back-end of the Host protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import BACKENDS, SERVERS, UNPRIVILEGED, Backend
from tiny_root import tiny_root

from behunt.hosts.protocol import Host


@pytest.fixture(scope="session", autouse=True)
def _servers() -> Iterator[None]:
    with SERVERS:
        yield


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in UNPRIVILEGED else pytest.mark.real)
        for name in BACKENDS
    ]
)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    (tmp_path / "place").mkdir()
    return BACKENDS[request.param](tiny_root(tmp_path / "root"), tmp_path / "place")


@pytest.fixture
def host(backend: Backend) -> Iterator[Host]:
    with backend.open() as opened:
        yield opened
