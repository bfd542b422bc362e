"""A local network that is killed in the middle of a job leaves nothing that blocks its machine."""

import pytest

from node.journal import own_directory
from tests.support.scenes.localnets import WITHIN_S, NetworkOfTwo

pytestmark = [pytest.mark.anvil, pytest.mark.docker, pytest.mark.libp2p, pytest.mark.slow]


def test_network_that_was_killed_in_the_middle_of_a_job_goes_down_and_up_and_works_again(network: NetworkOfTwo) -> None:
    network.up()
    asker = network.begin_a_long_job()
    network.kill("provider")
    network.kill("requester", "anvil")
    _, told = asker.communicate(timeout=WITHIN_S)
    assert asker.returncode != 0
    assert b"Traceback" not in told
    assert all(network.left().values()), "the kill came when no job ran"

    network.down()
    assert network.left() == {"mounts": [], "loops": [], "containers": []}
    with own_directory(network.directory / "provider"):
        pass

    network.up()
    assert network.answer().strip()
