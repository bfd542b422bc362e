"""A node after a restart: its journal gives back every job, batch and case as it was."""

from pathlib import Path

import pytest

from node.journal import open_journal
from protocol.wire.ids import TimestampMs
from tests.simulation.scene import Work
from tests.support.scenes.daemon_views import views_of
from tests.unit.node.daemon.worlds import ended_job


@pytest.mark.parametrize("work", [Work.HONEST, Work.DOUBTFUL, Work.DISHONEST])
@pytest.mark.parametrize("name", ["requester", "provider", "verifier-0"])
async def test_fold_shows_what_was_shown_before(tmp_path: Path, name: str, work: Work) -> None:
    story = ended_job(work=work, checked=work is Work.DOUBTFUL)
    before = views_of(story.node(name).machine)
    with open_journal(tmp_path) as journal:
        machine = await story.fold(name, journal)
    after = views_of(machine)
    now = TimestampMs(story.world.now_ms)
    assert after.jobs() == before.jobs()
    assert after.work(now) == before.work(now)
    cases = [before.case(batch) for batch in story.node(name).machine.docket.batches.values()]
    assert [after.case(batch) for batch in machine.docket.batches.values()] == cases
    assert cases
