"""Bodies of requests: JSON objects with known fields only, each checked before the daemon hears of it."""

import json
from collections.abc import Callable
from typing import Any

from node.api.backend import ChatMessage, JobAsk, LaneStep
from node.api.faults import Fault
from protocol import params
from protocol.judging.reading import MAX_LABEL_CHARS, MAX_LABELS, MAX_TEXTS
from protocol.stages.request import CLASSIFY, EMBED, GENERATE, KINDS

MAX_BODY_BYTES = 8 * 2**20
MAX_MESSAGES = 1_024
MAX_WEI = 2**96 - 1
ROLES = ("system", "user", "assistant")


Reader = Callable[[Any], Any]
"""Turns a JSON value into what a field holds, or raises ValueError with what it should be."""

_REQUIRED: Any = object()


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises: Fault bad_request if it is anything else, or names a field twice.
    """
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Fault("bad_request", f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Fault("bad_request", "the body is not a JSON object")
    return found


def job_ask(plain: dict[str, Any]) -> JobAsk:
    """A job. Raises: Fault unknown_field, bad_request, with the name of the field."""
    found = _read(
        plain,
        {
            "model": (_text(1, 256), _REQUIRED),
            **_content(plain),
            "max_price_wei": (_wei, 0),
            "timeout_ms": (_number(1_000, params.TIMEOUT_CEILING_MS), 0),
            "min_reputation": (_number(0, 100), 0),
            "with_bonus": (_flag, True),
            "uncalibrated": (_flag, False),
            "checked": (_flag, None),
        },
    )
    if found["max_new_tokens"] and not found["timeout_ms"]:
        read_bytes = sum(len(message.content.encode()) for message in found.get("messages", ()))
        found["timeout_ms"] = default_timeout_ms(found["max_new_tokens"] + read_bytes // params.READ_BYTES_PER_STEP)
    return JobAsk(**{"messages": (), **found})


def default_timeout_ms(tokens: int) -> int:
    """The time limit of a job whose user names none, in ms, by its tokens and those whose time its input takes."""
    return min(params.TIMEOUT_CEILING_MS, max(params.INFERENCE_TIMEOUT_MS, params.TIMEOUT_PER_TOKEN_MS * tokens))


def embeddings_ask(plain: dict[str, Any]) -> JobAsk:
    """The body of an OpenAI embeddings request, `checked` beside its fields, as a job. Raises: Fault, as job_ask."""
    found = _read(
        plain,
        {
            "model": (_text(1, 256), _REQUIRED),
            "input": (_texts(1, MAX_TEXTS, MAX_BODY_BYTES), _REQUIRED),
            "encoding_format": (_one_of(("float",)), "float"),
            "checked": (_flag, None),
        },
    )
    ordered = {} if found["checked"] is None else {"checked": found["checked"]}
    return job_ask({"kind": KINDS[EMBED], "model": found["model"], "texts": list(found["input"]), **ordered})


def _content(plain: dict[str, Any]) -> dict[str, tuple[Reader, Any]]:
    """The fields of a job's kind: a chat to go on with, or texts to read."""
    kind = plain.get("kind", KINDS[GENERATE])
    if kind == KINDS[GENERATE]:
        return {
            "kind": (_one_of(KINDS), kind),
            "messages": (_messages, _REQUIRED),
            "max_new_tokens": (_number(1, params.MAX_NEW_TOKENS), 256),
            "temperature_milli": (_number(0, params.MAX_TEMPERATURE_MILLI), 0),
        }
    fields: dict[str, tuple[Reader, Any]] = {
        "kind": (_one_of(KINDS), kind),
        "texts": (_texts(1, MAX_TEXTS, MAX_BODY_BYTES), _REQUIRED),
        "max_new_tokens": (_number(0, params.MAX_UNITS), 0),
    }
    if kind == KINDS[CLASSIFY]:
        fields["labels"] = (_texts(2, MAX_LABELS, MAX_LABEL_CHARS), _REQUIRED)
    return fields


def plan_ask(plain: dict[str, Any]) -> dict[str, Any]:
    """A deposit or withdrawal: `amount_wei` of the client's money, only simulated where `dry_run`.

    Raises: Fault unknown_field, bad_request.
    """
    found = _read(plain, {"amount_wei": (_wei, _REQUIRED), "dry_run": (_flag, True)})
    if not found["amount_wei"]:
        raise Fault("bad_request", "amount_wei: expected more than 0")
    return found


def lane_ask(plain: dict[str, Any], step: LaneStep) -> dict[str, Any]:
    """A step of a lane, as `plan_ask`; only opening takes an amount. Raises: Fault unknown_field, bad_request."""
    if step is LaneStep.OPEN:
        return plan_ask(plain)
    return {"amount_wei": 0, **_read(plain, {"dry_run": (_flag, True)})}


def proof_ask(plain: dict[str, Any]) -> bool:
    """Whether a proof is to hold the content. Raises: Fault unknown_field, bad_request."""
    with_content: bool = _read(plain, {"with_content": (_flag, False)})["with_content"]
    return with_content


def model_source(plain: dict[str, Any]) -> str:
    """The source of a new model: an absolute path on this machine, or smollm2. Raises: Fault."""
    source: str = _read(plain, {"source": (_text(1, 4_096), _REQUIRED)})["source"]
    if source != "smollm2" and not source.startswith("/"):
        raise Fault("bad_request", "source: expected an absolute path or smollm2")
    return source


def model_name(plain: dict[str, Any]) -> str:
    """The model that is meant, by its name or id. Raises: Fault."""
    name: str = _read(plain, {"model": (_text(1, 1_024), _REQUIRED)})["model"]
    return name


def require_empty(plain: dict[str, Any]) -> None:
    """Raises: Fault unless an order has no fields."""
    _read(plain, {})


def _read(plain: dict[str, Any], fields: dict[str, tuple[Reader, Any]]) -> dict[str, Any]:
    for name in plain:
        if name not in fields:
            raise Fault("unknown_field", f"unknown field {name[:64]!r}", f"known: {', '.join(fields)}")
    found = {}
    for name, (reader, default) in fields.items():
        if name not in plain and default is _REQUIRED:
            raise Fault("bad_request", f"{name} is missing")
        try:
            found[name] = reader(plain[name]) if name in plain else default
        except ValueError as error:
            raise Fault("bad_request", f"{name}: {error}") from error
    return found


def _messages(raw: Any) -> tuple[ChatMessage, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_MESSAGES:
        raise ValueError(f"expected a list of 1 to {MAX_MESSAGES} messages")
    messages = tuple(_message(entry) for entry in raw)
    _require_room(sum(len(message.content.encode()) for message in messages))
    return messages


def _message(raw: Any) -> ChatMessage:
    if not isinstance(raw, dict) or set(raw) != {"role", "content"}:
        raise ValueError("expected messages of a role and a content")
    if raw["role"] not in ROLES:
        raise ValueError(f"expected a role of {', '.join(ROLES)}")
    return ChatMessage(raw["role"], _text(1, MAX_BODY_BYTES)(raw["content"]))


def _text(shortest: int, longest: int) -> Reader:
    def read(raw: Any) -> str:
        if not isinstance(raw, str) or not shortest <= len(raw) <= longest or "\0" in raw:
            raise ValueError(f"expected a text of {shortest} to {longest} characters")
        try:
            raw.encode()
        except UnicodeEncodeError:
            raise ValueError("expected a text that UTF-8 can hold") from None
        return raw

    return read


def _texts(fewest: int, most: int, longest: int) -> Reader:
    def read(raw: Any) -> tuple[str, ...]:
        raw = [raw] if isinstance(raw, str) and fewest == 1 else raw
        if not isinstance(raw, list) or not fewest <= len(raw) <= most:
            raise ValueError(f"expected a list of {fewest} to {most} texts")
        texts = tuple(_text(1, longest)(each) for each in raw)
        if not all(text.strip() for text in texts):
            raise ValueError("expected texts that are more than spaces")
        _require_room(sum(len(text.encode()) for text in texts))
        return texts

    return read


def _one_of(choices: tuple[str, ...]) -> Reader:
    def read(raw: Any) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(raw)

    return read


def _require_room(size: int) -> None:
    if size > params.MAX_INPUT_BYTES // 2:
        # JSON may escape a byte into several; half of the limit leaves room for it and for the seal.
        raise ValueError(f"expected at most {params.MAX_INPUT_BYTES // 2} bytes of text")


def _number(lowest: int, highest: int) -> Reader:
    def read(raw: Any) -> int:
        if type(raw) is not int or not lowest <= raw <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return raw

    return read


def _wei(raw: Any) -> int:
    if not isinstance(raw, str) or not raw.isascii() or not raw.isdigit() or len(raw) > 29 or int(raw) > MAX_WEI:
        raise ValueError('expected an amount in wei as a decimal string, for example "1000000000000000000"')
    return int(raw)


def _flag(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError("expected true or false")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
