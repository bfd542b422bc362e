"""`vcoin gateway`: keys for programs that use this node as they would use OpenAI; whether or not its daemon runs."""

import os
import time
from typing import Annotated, Any

from cyclopts import Parameter

from node.api.faults import Fault, vcn
from node.api.gateway.key_file import open_key_file
from node.api.gateway.keys import MAX_EXPIRES_S, MAX_MODELS, MAX_NAME_CHARS, MAX_RATE, GatewayKey, new_credential
from node.cli.ui import output
from node.cli.ui.daemon_socket import data_dir_of
from node.cli.ui.options import COMMON, Coins, Common, Seconds, noun
from node.cli.ui.phrases import BLANK, coins, moment

app = noun("gateway", "Keys of programs that ask this node for jobs as they would ask OpenAI.")
key_app = noun("key", "Make, list and revoke keys; the gateway itself is set by gateway.listen.")
app.command(key_app)


@key_app.command
def create(
    *,
    budget: Coins,
    expires: Seconds | None = None,
    name: str = "",
    models: Annotated[str, Parameter(metavar="A,B")] = "",
    rate: int = 60,
    common: Common = COMMON,
) -> int:
    """Make a key and print it. It is shown this once: the node keeps only its hash.

    Parameters
    ----------
    budget
        All that jobs of this key may cost together.
    expires
        The key ends after this time; nothing: it ends when it is revoked.
    name
        A note for the list, such as the program that will hold it.
    models
        Names or ids of the models that it may use; nothing: all.
    rate
        Requests a minute; 0: any number.
    """
    credential, now_ms = new_credential(), _now_ms()
    key = GatewayKey(
        id=credential.id,
        name=_name(name),
        secret_hash=credential.hash,
        budget_wei=budget,
        spent_wei=0,
        reserved_wei=0,
        rate=_rate(rate),
        models=_models(models),
        created_ms=now_ms,
        expires_ms=now_ms + _seconds(expires) * 1_000 if expires else 0,
        revoked_ms=0,
    )
    with open_key_file(data_dir_of(common.data_dir, os.environ)) as file:
        file.create(key)
    if not common.json:
        output.words(f"key {key.id} with {vcn(budget)} VCN; it is not shown again:")
    return output.show(common.json, {**_plain(key, now_ms), "key": credential.text}, lambda: [credential.text])


@key_app.command(name="list")
def list_(*, common: Common = COMMON) -> int:
    """List the keys, oldest first. Reserved is what jobs under way may still cost."""
    now_ms = _now_ms()
    with open_key_file(data_dir_of(common.data_dir, os.environ), is_made=False) as file:
        keys = file.all_keys()
    head = ("key", "name", "state", "budget VCN", "spent VCN", "reserved VCN", "rate", "expires", "models")
    return output.show(
        common.json,
        [_plain(key, now_ms) for key in keys],
        lambda: output.table(head, [_row(key, now_ms) for key in keys]),
    )


@key_app.command
def revoke(key: str, /, *, common: Common = COMMON) -> int:
    """End a key. Requests that it has running go on; the next one is refused.

    Parameters
    ----------
    key
        Its id, or the beginning of it.
    """
    now_ms = _now_ms()
    with open_key_file(data_dir_of(common.data_dir, os.environ), is_made=False) as file:
        found = file.revoke(key, now_ms)
    return output.show(common.json, _plain(found, now_ms), lambda: [f"key {found.id} is revoked"])


def _plain(key: GatewayKey, now_ms: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state(now_ms),
        "budget_wei": str(key.budget_wei),
        "spent_wei": str(key.spent_wei),
        "reserved_wei": str(key.reserved_wei),
        "rate": key.rate,
        "models": list(key.models),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
    }


def _row(key: GatewayKey, now_ms: int) -> tuple[str, ...]:
    money = (coins(wei).removesuffix(" VCN") for wei in (key.budget_wei, key.spent_wei, key.reserved_wei))
    rate = f"{key.rate}/min" if key.rate else "any"
    expires = moment(key.expires_ms // 1_000) if key.expires_ms else "never"
    return (key.id, key.name or BLANK, key.state(now_ms), *money, rate, expires, ", ".join(key.models) or "all")


def _name(text: str) -> str:
    if len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise Fault("bad_request", f"--name: expected at most {MAX_NAME_CHARS} characters that can be seen")
    return text


def _models(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if (
        (text.strip() and not names)
        or len(names) > MAX_MODELS
        or not all(len(name) <= MAX_NAME_CHARS * 4 and name.isprintable() for name in names)
    ):
        raise Fault("bad_request", f"--models: expected 1 to {MAX_MODELS} names", "vcoin model list shows them")
    return names


def _seconds(expires: int) -> int:
    if expires > MAX_EXPIRES_S:
        raise Fault("bad_request", f"--expires: expected at most {MAX_EXPIRES_S // 86_400}d", "leave it out for no end")
    return expires


def _rate(rate: int) -> int:
    if not 0 <= rate <= MAX_RATE:
        raise Fault("bad_request", f"--rate {rate}: expected 0 to {MAX_RATE} requests a minute")
    return rate


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
