"""Bodies of requests: JSON objects with known fields only, each checked before the daemon hears of it."""

from typing import Any

from node.api.backend import ChatMessage, JobAsk, LaneStep
from node.api.faults import Fault
from node.api.fields import (
    MAX_BODY_BYTES,
    REQUIRED,
    Reader,
    flag,
    number,
    one_of,
    read_fields,
    require_room,
    text,
    texts,
    wei,
)
from node.api.rule_fields import RULE_FIELDS, taken_rules
from protocol import params
from protocol.judging.reading import MAX_LABEL_CHARS, MAX_LABELS, MAX_TEXTS
from protocol.stages.request import CLASSIFY, EMBED, GENERATE, KINDS

MAX_MESSAGES = 1_024
ROLES = ("system", "user", "assistant")


def job_ask(plain: dict[str, Any]) -> JobAsk:
    """A job. Raises: Fault unknown_field, bad_request, with the name of the field."""
    found = read_fields(
        plain,
        {
            "model": (text(1, 256), REQUIRED),
            **_content(plain),
            "max_price_wei": (wei, 0),
            "timeout_ms": (number(1_000, params.TIMEOUT_CEILING_MS), 0),
            "min_reputation": (number(0, 100), 0),
            "with_bonus": (flag, True),
            "uncalibrated": (flag, False),
            "checked": (flag, None),
        },
    )
    if found["max_new_tokens"] and not found["timeout_ms"]:
        read_bytes = sum(len(message.content.encode()) for message in found.get("messages", ()))
        read_bytes += len(found.get("prompt", "").encode())
        found["timeout_ms"] = default_timeout_ms(found["max_new_tokens"] + read_bytes // params.READ_BYTES_PER_STEP)
    if found["kind"] == KINDS[GENERATE]:
        found["rules"] = taken_rules(found)
    return JobAsk(**{"messages": (), **found})


def default_timeout_ms(tokens: int) -> int:
    """The time limit of a job whose user names none, in ms, by its tokens and those whose time its input takes."""
    return min(params.TIMEOUT_CEILING_MS, max(params.INFERENCE_TIMEOUT_MS, params.TIMEOUT_PER_TOKEN_MS * tokens))


def embeddings_ask(plain: dict[str, Any]) -> JobAsk:
    """The body of an OpenAI embeddings request, `checked` beside its fields, as a job. Raises: Fault, as job_ask."""
    found = read_fields(
        plain,
        {
            "model": (text(1, 256), REQUIRED),
            "input": (texts(1, MAX_TEXTS, MAX_BODY_BYTES), REQUIRED),
            "encoding_format": (one_of(("float",)), "float"),
            "checked": (flag, None),
        },
    )
    ordered = {} if found["checked"] is None else {"checked": found["checked"]}
    return job_ask({"kind": KINDS[EMBED], "model": found["model"], "texts": list(found["input"]), **ordered})


def _content(plain: dict[str, Any]) -> dict[str, tuple[Reader, Any]]:
    """The fields of a job's kind: a chat or a text to go on with, or texts to read."""
    kind = plain.get("kind", KINDS[GENERATE])
    if kind == KINDS[GENERATE]:
        asked = {"prompt": (prompt, REQUIRED)} if "prompt" in plain else {"messages": (_messages, REQUIRED)}
        return {
            "kind": (one_of(KINDS), kind),
            **asked,
            **RULE_FIELDS,
            "alone": (flag, False),
            "max_new_tokens": (number(1, params.MAX_NEW_TOKENS), 256),
            "temperature_milli": (number(0, params.MAX_TEMPERATURE_MILLI), 0),
        }
    fields: dict[str, tuple[Reader, Any]] = {
        "kind": (one_of(KINDS), kind),
        "texts": (texts(1, MAX_TEXTS, MAX_BODY_BYTES), REQUIRED),
        "max_new_tokens": (number(0, params.MAX_UNITS), 0),
    }
    if kind == KINDS[CLASSIFY]:
        fields["labels"] = (texts(2, MAX_LABELS, MAX_LABEL_CHARS), REQUIRED)
    return fields


def plan_ask(plain: dict[str, Any]) -> dict[str, Any]:
    """A deposit or withdrawal: `amount_wei` of the client's money, only simulated where `dry_run`.

    Raises: Fault unknown_field, bad_request.
    """
    found = read_fields(plain, {"amount_wei": (wei, REQUIRED), "dry_run": (flag, True)})
    if not found["amount_wei"]:
        raise Fault("bad_request", "amount_wei: expected more than 0")
    return found


def lane_ask(plain: dict[str, Any], step: LaneStep) -> dict[str, Any]:
    """A step of a lane, as `plan_ask`; only opening takes an amount. Raises: Fault unknown_field, bad_request."""
    if step is LaneStep.OPEN:
        return plan_ask(plain)
    return {"amount_wei": 0, **read_fields(plain, {"dry_run": (flag, True)})}


def proof_ask(plain: dict[str, Any]) -> bool:
    """Whether a proof is to hold the content. Raises: Fault unknown_field, bad_request."""
    with_content: bool = read_fields(plain, {"with_content": (flag, False)})["with_content"]
    return with_content


def model_source(plain: dict[str, Any]) -> tuple[str, str]:
    """The source of a new model, an absolute path on this machine or smollm2; and the base of a LoRA adapter, or
    nothing. Raises: Fault."""
    found = read_fields(plain, {"source": (text(1, 4_096), REQUIRED), "base": (text(1, 1_024), "")})
    source, base = str(found["source"]), str(found["base"])
    if source != "smollm2" and not source.startswith("/"):
        raise Fault("bad_request", "source: expected an absolute path or smollm2")
    if source == "smollm2" and base:
        raise Fault("bad_request", "base: expected the path of an adapter as source")
    return source, base


def model_name(plain: dict[str, Any]) -> str:
    """The model that is meant, by its name or id. Raises: Fault."""
    name: str = read_fields(plain, {"model": (text(1, 1_024), REQUIRED)})["model"]
    return name


def require_empty(plain: dict[str, Any]) -> None:
    """Raises: Fault unless an order has no fields."""
    read_fields(plain, {})


def prompt(raw: Any) -> str:
    """A text to go on with as it stands. Raises: ValueError."""
    found: str = text(1, MAX_BODY_BYTES)(raw)
    if not found.strip():
        raise ValueError("expected a text that is more than spaces")
    require_room(len(found.encode()))
    return found


def _messages(raw: Any) -> tuple[ChatMessage, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_MESSAGES:
        raise ValueError(f"expected a list of 1 to {MAX_MESSAGES} messages")
    messages = tuple(_message(entry) for entry in raw)
    require_room(sum(len(message.content.encode()) for message in messages))
    return messages


def _message(raw: Any) -> ChatMessage:
    if not isinstance(raw, dict) or set(raw) != {"role", "content"}:
        raise ValueError("expected messages of a role and a content")
    if raw["role"] not in ROLES:
        raise ValueError(f"expected a role of {', '.join(ROLES)}")
    return ChatMessage(raw["role"], text(1, MAX_BODY_BYTES)(raw["content"]))
