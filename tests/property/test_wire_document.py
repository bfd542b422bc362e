"""docs/wire.md cannot go stale: its bytes, tables and constants are those of the code, and none is missing."""

from __future__ import annotations

import importlib
import operator
import re
from pathlib import Path
from typing import Any, get_args

import pytest

# Its permit is an EIP-712 type, too.
from chain.contracts import token as _  # noqa: F401
from p2p.blobs import BlobHeader, BlobRequest
from p2p.connection_gate import BANS_PER_IP, REFUSE_S
from p2p.dials import FAILED_IN_ALL, FAILED_PER_CLIENT, FAILED_PER_IP
from protocol.messages import Message
from protocol.network.frames import Batch, Content, Topic
from protocol.network.gossip import FAST_TICK_MS
from protocol.network.mesh import DEGREE_HIGH
from protocol.network.neighbour import REPAIR_FRAMES
from protocol.network.peer_exchange import ASKED_RATE, PeerRecord, PeerRecords
from protocol.network.peers import HALF_LIFE_MS, REWARD, REWARD_CAP
from protocol.stages.assignment import RefuseCode
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.wire.envelope import TYPES
from scripts.vectors import __main__ as vectors
from scripts.vectors import document

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGE = document.PAGE.read_text("utf-8")
SENT = (
    *get_args(Message),
    *get_args(Batch),
    SignedRequest,
    Heartbeat,
    Content,
    BlobRequest,
    BlobHeader,
    PeerRecord,
    PeerRecords,
    *TYPES,
)
CLASSES: dict[str, Any] = {part.__name__: part for kind in SENT for part in document.parts(kind)}


def section(name: str) -> str:
    """The text under a heading, up to the next one."""
    found = re.search(rf"^### {name}\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE)
    assert found is not None, f"docs/wire.md says nothing of {name}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of its first table."""
    text = text[text.index("|---") :].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_every_message_stands_there_with_its_type_and_limit(name: str) -> None:
    described = [row for row in rows(section(name)) if len(row) == 4]
    assert [(row[0].strip("`"), row[1], row[2]) for row in described] == document.fields(CLASSES[name])
    assert all(row[3] for row in described), "a field without a meaning"


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_signed_type_stands_there_as_it_is_hashed(kind: type) -> None:
    assert f"`{TYPES[kind]}`" in section(kind.__name__)


def test_values_are_those_of_the_vector_files() -> None:
    assert len(document.blocks(PAGE)) > 60
    assert document.refreshed(PAGE) == PAGE, "run python -m scripts.vectors"


def test_a_changed_byte_of_the_page_is_noticed() -> None:
    shown = document.shown(document.value("names[1].publicKey"))
    assert document.refreshed(PAGE.replace(shown, "00" + shown[2:])) == PAGE
    with pytest.raises(KeyError):
        document.value("names[1].nothing")


def test_every_message_and_every_vector_file_is_named() -> None:
    for kind in (*get_args(Message), SignedRequest, Heartbeat):
        assert document.value(f"codec[{kind.__name__}].bytes")
    for kind in get_args(Message):
        assert f"codec[{kind.__name__}]" in PAGE, f"no bytes of {kind.__name__}"
    for name in vectors.FILES:
        assert f"tests/vectors/{name}.json" in PAGE or f"{name}[" in PAGE, f"{name}.json is not mentioned"


def test_constants_have_the_values_of_the_code() -> None:
    named = re.findall(r"^\| `((?:protocol|p2p)\.[a-z0-9_.]+)\.([A-Z][\w.]*)` \| (-?\d+) \|", PAGE, re.MULTILINE)
    assert len(named) > 70
    for module, name, value in named:
        assert float(operator.attrgetter(name)(importlib.import_module(module))) == float(value), name


def test_numbers_in_the_words_are_those_of_the_code() -> None:
    """Sentences that spell a number, each beside its constant."""
    spelled = {
        "ten neighbours already": DEGREE_HIGH == 10,
        "half of the points is forgotten in ten minutes": HALF_LIFE_MS == 600_000,
        "a tenth of a point for each beat": REWARD == 0.1,
        "up to 20; requests earn nothing": REWARD_CAP == 20,
        "48 at a time": REPAIR_FRAMES == 48,
        "four to one IP, eight for one client's requests": (FAILED_PER_IP.burst, FAILED_PER_CLIENT.burst) == (4, 8),
        "64 in all, and then one a minute, one a minute and two a second": (
            FAILED_IN_ALL.burst == 64
            and FAILED_PER_IP.period_ms == FAILED_PER_CLIENT.period_ms == 60_000
            and FAILED_IN_ALL.amount == 2
        ),
        "more than twice and then once a minute": (ASKED_RATE.burst, ASKED_RATE.period_ms) == (2, 60_000),
        "a tick of half a second": FAST_TICK_MS == 500,
        "three peers were banned within an hour is refused\nfor ten minutes": (BANS_PER_IP, REFUSE_S) == (3, 600),
    }
    assert [words for words in spelled if words not in PAGE] == []
    assert [words for words, holds in spelled.items() if not holds] == []


def test_every_protocol_topic_and_refusal_is_named() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "p2p").glob("*.py")]
    for protocol in {found for text in sources for found in re.findall(r"/vcoin/[a-z]+/\d+", text)}:
        assert f"`{protocol}`" in PAGE, f"docs/wire.md says nothing of {protocol}"
    for topic in Topic:
        assert f"| `{topic.value}` |" in PAGE
    for code in RefuseCode:
        assert f"| {code.value} `{code.name}` |" in PAGE
