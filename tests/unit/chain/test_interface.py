"""The contracts' declarations and this package's classes agree."""

import dataclasses
import json
import re
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from chain.abi.enums import BY_NAME
from chain.abi.interface import CONTRACTS, INTERFACES, call_in_words, interface, refusal_of, value_in_words
from chain.contracts.court import ChainCase, Seat
from chain.contracts.params import DeviceClass
from chain.contracts.profiles import Profile
from chain.contracts.refusals import HINTS
from chain.contracts.settlement import Book, StoredBatch
from chain.contracts.stakes import Registration, StakedNode
from chain.contracts.token import Permit
from protocol.stages.assignment import Assignment, JobDetails
from protocol.stages.commitment import BatchContents, LaneDebit, Leaf, Receipt
from protocol.stages.sampling import ListSlot
from protocol.stages.verification import Verdict
from protocol.wire.ids import address_of

REPOSITORY = Path(__file__).resolve().parents[3]
TYPES = REPOSITORY / "contracts" / "types"
ADDRESS = address_of(bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"))


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def abi_of(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((REPOSITORY / "chain" / "abi" / f"{name}.json").read_text("utf-8"))["abi"]
    return found


def components(entry: dict[str, Any], struct: str) -> list[str] | None:
    """The member names of a struct, wherever it appears in a parameter."""
    for part in [*entry.get("inputs", []), *entry.get("outputs", []), *entry.get("components", [])]:
        if part.get("internalType", "").removesuffix("[]") == f"struct {struct}":
            return [member["name"] for member in part["components"]]
        if (found := components(part, struct)) is not None:
            return found
    return None


def members(struct: str) -> list[str]:
    for name in CONTRACTS:
        for entry in abi_of(name):
            if (found := components(entry, struct)) is not None:
                return [snake(member) for member in found]
    raise AssertionError(f"no struct {struct} in any ABI")


def declared(struct: str) -> list[str]:
    """The member names of a struct in the sources: no function takes it by its members."""
    body = re.search(rf"struct {struct} \{{(.*?)\}}", sources(), re.DOTALL)
    assert body
    return [snake(name) for name in re.findall(r"^    \w+ (\w+);", body.group(1), re.MULTILINE)]


def sources() -> str:
    return "".join(path.read_text("utf-8") for path in sorted(TYPES.glob("*.sol")))


@pytest.mark.parametrize(
    ("struct", "kind"),
    [
        ("NodeView", StakedNode),
        ("Batch", StoredBatch),
        ("Book", Book),
        ("CaseView", ChainCase),
        ("Seat", Seat),
        ("Profile", Profile),
        ("DeviceClass", DeviceClass),
        ("Permit", Permit),
    ],
)
def test_a_dataclass_has_the_members_of_its_struct_in_order(struct: str, kind: type[Any]) -> None:
    assert [field.name.removesuffix("_s") for field in dataclasses.fields(kind)] == members(struct)


def test_the_core_has_the_members_of_its_structs_in_order() -> None:
    assert [field.name.removesuffix("_bps") for field in dataclasses.fields(ListSlot)] == members("VerifierSlot")
    assert [field.name for field in dataclasses.fields(BatchContents)] == members("Contents")
    assert [field.name for field in dataclasses.fields(LaneDebit)] == members("Debit")
    assert [field.name for field in dataclasses.fields(Leaf)] == members("Leaf")
    for paper in (Assignment, JobDetails, Receipt):
        assert [field.name for field in dataclasses.fields(paper)] == declared(paper.__name__)


def test_a_registration_has_the_arguments_of_register_in_order() -> None:
    names = [each.name for each in interface("StakeManager").functions["register"].inputs]
    assert [field.name for field in dataclasses.fields(Registration)] == [snake(name) for name in names]


@pytest.mark.parametrize("kind", [*BY_NAME.values(), Verdict], ids=lambda kind: kind.__name__)
def test_an_enumeration_is_numbered_as_in_solidity(kind: type[IntEnum]) -> None:
    body = re.search(rf"enum {kind.__name__} \{{(.*?)\}}", sources(), re.DOTALL)
    assert body
    names = [snake(part.strip()).upper() for part in re.sub(r"//.*", "", body.group(1)).split(",")]
    assert [member.name for member in kind] == names
    assert [member.value for member in kind] == list(range(len(names)))


def test_a_name_finds_one_function_event_or_error() -> None:
    for name in CONTRACTS:
        for sort in ("function", "event", "error"):
            names = [entry["name"] for entry in abi_of(name) if entry["type"] == sort]
            assert len(names) == len(set(names)), f"{name} overloads a {sort}"


def refusal(signature: str, *values: Any) -> bytes:
    kinds = re.findall(r"[\w]+(?=[,)])", signature)
    return keccak(text=signature)[:4] + encode(kinds, values)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            refusal("NotOperator(address,address)", ADDRESS, ADDRESS),
            r"NotOperator\((id|node)=0x\w{40}, caller=0x\w{40}\)",
        ),
        (refusal("WrongState(uint8)", 4), r"WrongState\(state=void\)"),
        (refusal("WrongState(uint8)", 77), r"WrongState\(state=77\)"),
        (refusal("SlotBusy(uint8)", 3), r"SlotBusy\(slot=3\)"),
        (refusal("NoSuchCase(bytes32)", b"\xab" * 32), r"NoSuchCase\(caseId=0x(ab){32}\)"),
        (refusal("Error(string)", "too low"), "too low"),
        (refusal("Panic(uint256)", 0x11), r"Panic\(arithmetic overflow\)"),
        (refusal("Panic(uint256)", 0x99), r"Panic\(0x99\)"),
        (b"", "the contract refused without a reason"),
        (b"\xde\xad\xbe\xef", r"an error that none of the contracts declares \(0xdeadbeef\)"),
        (refusal("SlotBusy(uint8)", 3)[:20], r"an error that none of the contracts declares \(0x\w+\)"),
        (b"\x01", r"an error that none of the contracts declares \(0x01\)"),
    ],
)
def test_a_refusal_is_told_in_words(data: bytes, sentence: str) -> None:
    assert re.fullmatch(sentence, refusal_of(data))


@given(st.binary(max_size=200))
def test_no_revert_data_breaks_the_reader(data: bytes) -> None:
    assert refusal_of(data)


@given(st.binary(max_size=300))
def test_no_calldata_breaks_the_reader(data: bytes) -> None:
    submit = interface("Settlement").functions["submit"]
    with pytest.raises(ValueError, match=r".+"):
        submit.decode_input(submit.selector + data)
    with pytest.raises(ValueError, match="not a call"):
        submit.decode_input(b"\0\0\0\0" + data)


@given(st.integers(0, 2**96 - 1), st.integers(0, 2**40 - 1))
def test_calls_read_back_as_they_were_made(amount: int, deadline: int) -> None:
    order = (ADDRESS, ADDRESS, ADDRESS, amount, amount, deadline, b"signature")
    function = interface("Settlement").functions["openLane"]
    assert function.decode_input(function.encode(order)) == order


def test_logs_are_selected_by_any_of_their_indexed_values() -> None:
    (resolved,) = [layout for layout in interface("Court").events.values() if layout.name == "CaseResolved"]
    node = "0x" + "ab" * 20
    assert resolved.topics_of({}) == [[resolved.topic]]
    assert resolved.topics_of({"node": node}) == [[resolved.topic], None, [bytes(12) + b"\xab" * 20]]
    assert resolved.topics_of({"caseId": b"\xca" * 32}) == [[resolved.topic], [b"\xca" * 32]]


def test_hints_are_about_refusals_that_there_are() -> None:
    refusals = {known.name for name in INTERFACES for known in interface(name).refusals.values()}
    assert set(HINTS) - refusals == set()


def test_a_call_inside_a_call_is_told_in_words() -> None:
    inner = interface("Guardian").functions["setKeeper"]
    data = inner.encode(["0x" + "ab" * 20])
    assert call_in_words(data) == f"setKeeper(keeper_={to_checksum_address('0x' + 'ab' * 20)})"
    assert value_in_words(("x", data, b"\x01" * 32)) == f"(x, {call_in_words(data)}, 0x{'01' * 32})"
    unknown = b"\xff" * 40
    assert (call_in_words(unknown), value_in_words(unknown)) == ("", "0xffffffffffffffff... (40 bytes)")
    assert call_in_words(data[:20]).startswith("setKeeper(0x")
