"""Which cards a run is given, and how nodes of one machine share them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from executor.cards.card import Card, CardFacts, CardProcess, Throttle
from executor.cards.card_book import CardBook
from executor.cards.card_desk import CardDesk, CardReport, CardsReport
from executor.cards.card_processes import containers_of
from executor.cards.care import OwnerLimits
from executor.cards.choice import CardRoom, CardWish, NoCardFits, choose, most_of
from protocol.errors import ExecutorError

GIB = 1 << 30
TOTAL = 24 * GIB


def room(name: str, room_gib: int, model: str = "A", capability: tuple[int, int] = (8, 9), **values: Any) -> CardRoom:
    return CardRoom(
        Card(CardFacts(name, 0, model, TOTAL, capability), **{"temperature_c": 50, **values}), room_gib * GIB
    )


def test_the_emptier_card_is_taken_and_then_the_cooler_one() -> None:
    assert choose([room("a", 4), room("b", 20), room("c", 8)], CardWish(2 * GIB)) == ("b",)
    rooms = [room("a", 20, temperature_c=70), room("b", 20, temperature_c=40)]
    assert choose(rooms, CardWish(2 * GIB)) == ("b",)


@pytest.mark.parametrize("tired", [{"temperature_c": 75}, {"throttles": frozenset({Throttle.HEAT})}])
def test_a_warm_or_slowed_card_is_taken_last(tired: dict[str, Any]) -> None:
    rooms = [room("a", 22, **tired), room("b", 8)]
    assert choose(rooms, CardWish(2 * GIB)) == ("b",)
    assert choose(rooms, CardWish(16 * GIB)) == ("a",)


def test_a_card_that_a_run_was_taken_off_is_taken_only_if_there_is_no_other() -> None:
    assert choose([room("a", 22), room("b", 8)], CardWish(2 * GIB), {"a"}) == ("b",)
    assert choose([room("a", 22)], CardWish(2 * GIB), {"a"}) == ("a",)


def test_several_cards_of_one_engine_are_of_one_model() -> None:
    rooms = [room("a", 22), room("b", 20, model="B"), room("c", 16), room("d", 10, model="B")]
    assert choose(rooms, CardWish(8 * GIB, count=2)) == ("a", "c")
    assert choose(rooms[1:], CardWish(8 * GIB, count=2)) == ("b", "d")


def test_instances_of_mig_are_never_parts_of_one_engine() -> None:
    parts = [CardRoom(Card(CardFacts(f"MIG-{n}", 0, "A", TOTAL, (8, 0), "GPU-1")), 10 * GIB) for n in range(2)]
    with pytest.raises(NoCardFits):
        choose(parts, CardWish(GIB, count=2))
    assert choose(parts, CardWish(GIB)) in (("MIG-0",), ("MIG-1",))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (CardWish(23 * GIB), "the most that a card has free for jobs is 20480 MiB"),
        (CardWish(GIB, capability=(9, 0)), "compute capability 9.0"),
        (CardWish(GIB, count=2), "2 cards with 1024 MiB"),
    ],
)
def test_a_run_that_fits_no_card_hears_what_there_is(wish: CardWish, words: str) -> None:
    with pytest.raises(NoCardFits, match=words):
        choose([room("a", 20)], wish)
    with pytest.raises(NoCardFits, match="vcoin status says why"):
        choose([], wish)


def test_what_others_hold_and_the_owner_keeps_is_not_lent() -> None:
    processes = (CardProcess(1, 6 * GIB), CardProcess(2, 3 * GIB))
    card = Card(CardFacts("a", 0, "A", TOTAL), used_bytes=10 * GIB, processes=processes)
    # 3 GiB are foreign and 1 GiB is of no process.
    assert most_of(card, frozenset({1}), 2 * GIB) == 18 * GIB
    assert most_of(card, frozenset(), 20 * GIB) == 0


@pytest.fixture
def book(tmp_path: Path) -> CardBook:
    return CardBook(tmp_path / "cards")


def test_holds_add_up_and_end(book: CardBook) -> None:
    first = book.hold("GPU-1", 10 * GIB, TOTAL)
    second = book.hold("GPU-1", 10 * GIB, TOTAL)
    assert (book.held("GPU-1"), book.held("GPU-2")) == (20 * GIB, 0)
    with pytest.raises(NoCardFits, match="another node"):
        book.hold("GPU-1", 10 * GIB, TOTAL)
    first.release()
    assert book.held("GPU-1") == 10 * GIB
    second.release()
    assert book.held("GPU-1") == 0


def test_what_lies_in_the_folder_can_be_shared_by_all_users(book: CardBook) -> None:
    hold = book.hold("GPU-1", GIB, TOTAL)
    assert stat.S_IMODE((book.folder / "GPU-1").stat().st_mode) == 0o1777
    assert {stat.S_IMODE(path.stat().st_mode) for path in (book.folder / "GPU-1").iterdir()} == {0o666}
    hold.release()


def test_a_hold_that_cannot_be_read_counts_as_the_whole_card(book: CardBook) -> None:
    hold = book.hold("GPU-1", GIB, TOTAL)
    (path,) = (each for each in (book.folder / "GPU-1").iterdir() if not each.name.startswith("."))
    path.write_text("-5")
    assert book.held("GPU-1") > TOTAL
    hold.release()


@pytest.mark.parametrize("uuid", ["", ".", "..", "../x", "a/b", "a\0b", ".lock"])
def test_a_name_that_is_no_file_is_refused(book: CardBook, uuid: str) -> None:
    with pytest.raises(ExecutorError, match="no name for a file"):
        book.held(uuid)


def hold_until_killed(folder: Path, told: Connection) -> None:
    hold = CardBook(folder).hold("GPU-1", 20 * GIB, TOTAL)
    told.send(hold.share_bytes)
    signal.pause()


def test_a_killed_daemon_gives_its_cards_back(book: CardBook) -> None:
    heard, told = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=hold_until_killed, args=(book.folder, told))
    other.start()
    assert heard.recv() == 20 * GIB
    with pytest.raises(NoCardFits):
        book.hold("GPU-1", 8 * GIB, TOTAL)
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    book.hold("GPU-1", 8 * GIB, TOTAL).release()
    assert [path.name for path in (book.folder / "GPU-1").iterdir()] == [".lock"]


def report(*rooms: CardRoom, is_usable: bool = True) -> CardsReport:
    return CardsReport(tuple(CardReport(each.card, is_usable) for each in rooms))


def test_two_daemons_share_a_card_by_reserved_memory(book: CardBook) -> None:
    desks = [CardDesk(OwnerLimits(reserve_bytes=2 * GIB), book, report(room("a", 0))) for _ in range(2)]
    first, second = (desk.lend(CardWish(10 * GIB)) for desk in desks)
    assert first.uuids == second.uuids == ("a",)
    with pytest.raises(NoCardFits, match="has free for jobs is 2048 MiB"):
        desks[0].lend(CardWish(3 * GIB))
    second.release()
    desks[0].lend(CardWish(3 * GIB)).release()
    first.release()


def test_a_card_that_may_not_be_used_is_not_lent(book: CardBook) -> None:
    desk = CardDesk(book=book, report=report(room("a", 0), is_usable=False))
    with pytest.raises(NoCardFits, match="no card can be used now"):
        desk.lend(CardWish(GIB))


def test_an_engine_of_two_cards_gets_both_or_none(book: CardBook) -> None:
    desk = CardDesk(book=book, report=report(room("a", 0), room("b", 0)))
    taken = book.hold("b", 20 * GIB, TOTAL)
    with pytest.raises(NoCardFits):
        desk.lend(CardWish(8 * GIB, count=2))
    assert book.held("a") == 0
    taken.release()
    lease = desk.lend(CardWish(8 * GIB, count=2))
    assert lease.uuids == ("a", "b")
    assert [book.held(uuid) for uuid in lease.uuids] == [8 * GIB] * 2
    lease.release()


def test_a_process_belongs_to_the_container_that_its_group_names() -> None:
    one, two = "1" * 64, "2" * 64
    groups = {
        7: f"0::/system.slice/docker-{one}.scope\n",
        8: f"12:devices:/docker/{two}\n0::/\n",
        9: f"0::/user.slice/session.scope/{'3' * 64}\n",
        10: "",
    }
    assert containers_of(groups, [one, two], groups.__getitem__) == {7: one, 8: two}
