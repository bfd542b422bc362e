"""Every signed message with invented fields: its hash, its digest and a signature."""

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

from eth_account import Account

from protocol.stages.assignment import Accept, Assignment, JobDetails, LaneOpen, OperatorConsent, Refuse
from protocol.stages.commitment import Receipt, Result
from protocol.stages.offer import Offer
from protocol.stages.request import Request
from protocol.wire.envelope import TYPES, compact, digest, sign_digest, struct_hash
from protocol.wire.ids import checksum
from scripts.vectors.frame import DOMAIN, Case, case, hexed, word
from scripts.vectors.samples import RANGES

MESSAGES = (Request, Offer, JobDetails, Assignment, Accept, Refuse, Result, Receipt, LaneOpen, OperatorConsent)


def messages() -> Iterator[Case]:
    """Every signed message twice, with its hash, its digest in one domain and a signature."""
    dice = random.Random("messages")
    for kind in MESSAGES:
        for number in range(2):
            secret = word(f"secret {kind.__name__} {number}")
            names = [field.name for field in dataclasses.fields(kind)]
            values = {name: _value(each, dice) for name, (each, _) in zip(names, _members(TYPES[kind]), strict=True)}
            # The numbers that a node would run; the peer stays invented.
            limits = {name: value for name, value in RANGES.get(kind, {}).items() if isinstance(value, int)}
            message = kind(**values | limits)
            signature = sign_digest(digest(message, DOMAIN), secret)
            r, vs = compact(signature)
            yield case(
                name=kind.__name__,
                type=TYPES[kind],
                chain_id=DOMAIN.chain_id,
                verifying_contract=DOMAIN.contract,
                domain_separator=DOMAIN.separator,
                fields=_shown(TYPES[kind], message),
                struct_hash=struct_hash(message),
                digest=digest(message, DOMAIN),
                signer=checksum(Account.from_key(secret).address),
                signature=signature,
                r=r,
                vs=vs,
            )


def _members(signature: str) -> list[tuple[str, str]]:
    return [(kind, name) for kind, name in (each.split(" ") for each in signature.partition("(")[2][:-1].split(","))]


def _value(kind: str, dice: random.Random) -> Any:
    if kind == "address":
        return checksum(hexed(dice.randbytes(20)))
    if kind == "bytes32":
        return dice.randbytes(32)
    if kind == "bool":
        return dice.random() < 0.5
    if kind == "string":
        return f"/ip4/127.0.0.1/tcp/{dice.randrange(65536)}/p2p/16Uiu2HAm"
    return dice.randrange(1 << dice.randrange(1, int(kind.removeprefix("uint")) + 1))


def _shown(signature: str, message: Any) -> Case:
    values = [getattr(message, field.name) for field in dataclasses.fields(message)]
    return {
        name: hexed(value) if kind == "bytes32" else str(value) if kind.startswith("uint") else value
        for (kind, name), value in zip(_members(signature), values, strict=True)
    }
