"""One local network for all tests that need no other: a start takes longer than most of what is tested."""

from collections.abc import Iterator

import pytest

from tests.support.scenes.localnets import NetworkOfTwo


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkOfTwo]:
    """Tests bring it up, and may leave it down."""
    network = NetworkOfTwo(tmp_path_factory.mktemp("two") / "net")
    yield network
    network.down()
