"""Containers that stand still: the newest wish counts, whichever call the Engine answers last."""

import trio
import trio.testing

from executor.standing import StandingContainers


class SlowEngine:
    """An Engine that does nothing before it is let."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.may_go_on = trio.Event()

    async def stand(self, is_held: bool) -> None:
        self.asked.append(is_held)
        await self.may_go_on.wait()


async def test_the_newest_wish_is_done_last() -> None:
    engine = SlowEngine()
    standing, answers = StandingContainers(engine.stand), list[bool]()

    async def hold(is_held: bool) -> None:
        answers.append(await standing.hold(is_held=is_held))

    async with trio.open_nursery() as nursery:
        for is_held in (True, True, False):
            nursery.start_soon(hold, is_held)
            await trio.testing.wait_all_tasks_blocked()
        assert (engine.asked, standing.is_held) == ([True], False)
        engine.may_go_on.set()
    assert (engine.asked, answers) == ([True, False, False], [True, False, False])


async def test_a_start_waits_until_containers_go_on_also_through_a_second_hold() -> None:
    engine, started = SlowEngine(), list[bool]()
    engine.may_go_on.set()
    standing = StandingContainers(engine.stand)

    async def start() -> None:
        await standing.until_free()
        started.append(standing.is_held)

    async with trio.open_nursery() as nursery:
        await standing.hold(is_held=True)
        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: standing.hold(is_held=False))
        nursery.start_soon(lambda: standing.hold(is_held=True))
        await trio.testing.wait_all_tasks_blocked()
        await standing.hold(is_held=False)
    assert started == [False]


async def test_a_look_stops_what_began_meanwhile_and_only_then() -> None:
    engine = SlowEngine()
    engine.may_go_on.set()
    standing = StandingContainers(engine.stand)
    await standing.look()
    await standing.hold(is_held=True)
    await standing.look()
    await standing.hold(is_held=False)
    await standing.look()
    assert engine.asked == [True, True, False]
