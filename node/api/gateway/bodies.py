"""Bodies of OpenAI's requests as jobs: a field that no job can honour is refused unless its value means "off"."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node.api.asks import MAX_MESSAGES, default_timeout_ms, prompt
from node.api.backend import ChatMessage, JobAsk
from node.api.fields import MAX_BODY_BYTES, REQUIRED, Reader, flag, number, one_of, require_room, text, texts
from node.api.gateway.refusals import bad_field, unsupported
from node.api.rule_fields import OPENAI_FIELDS, openai_rules
from protocol import params
from protocol.judging.reading import MAX_TEXTS
from protocol.stages.request import EMBED, GENERATE, KINDS

MAX_CHOICES = 8
DEFAULT_MAX_TOKENS = 256
DEFAULT_TEXT_TOKENS = 16
"""OpenAI's default of /v1/completions."""
DEFAULT_TEMPERATURE_MILLI = 1_000
"""OpenAI's default, so that a client gets the variety that its documents promise; 0 asks for the likeliest tokens."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""The roles of a message, and those of a job that stand for them."""
_MAX_LABEL_CHARS = 512

_OFF_IN_CHATS: Mapping[str, tuple[Any, ...]] = {
    "min_p": (None, 0),
    "repetition_penalty": (None, 1),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, False, True),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "store": (None, False),
    "metadata": (None, {}),
    "reasoning_effort": (None, "none"),
    "verbosity": (None, "medium"),
    "service_tier": (None, "auto", "default"),
    "web_search_options": (None,),
}
"""Fields that no job can honour, each with the values that ask for nothing."""
_OFF_IN_MESSAGES: Mapping[str, tuple[Any, ...]] = {
    "name": (None, ""),
    "refusal": (None,),
    "annotations": (None, []),
    "audio": (None,),
    "function_call": (None,),
    "tool_calls": (None, []),
    "reasoning_content": (None, ""),
}
_OFF_IN_COMPLETIONS: Mapping[str, tuple[Any, ...]] = {
    "min_p": (None, 0),
    "repetition_penalty": (None, 1),
    "logit_bias": (None, {}),
    "logprobs": (None,),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
}
_OFF_IN_EMBEDDINGS: Mapping[str, tuple[Any, ...]] = {"dimensions": (None,)}
_OF_THE_CALLER = ("user", "safety_identifier", "prompt_cache_key")
"""Names that a client gives its own users: read, and told to no peer."""


def _thousandths(raw: Any) -> int:
    highest = params.MAX_TEMPERATURE_MILLI / 1_000
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw <= highest:
        raise ValueError(f"expected a number from 0 to {highest:g}")
    return round(raw * 1_000)


def _object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError("expected an object")
    return raw


_COMMON: dict[str, tuple[Reader, Any]] = {
    "temperature": (_thousandths, DEFAULT_TEMPERATURE_MILLI),
    "n": (number(1, MAX_CHOICES), 1),
    "stream": (flag, False),
    "stream_options": (_object, {}),
    "checked": (flag, None),
    "alone": (flag, False),
    **OPENAI_FIELDS,
}
"""Fields of chats and of completions alike."""


@dataclass(frozen=True, slots=True)
class CompletionBody:
    """A chat, or a text, to go on with: `choices` jobs. with_usage: whether a stream ends with what it cost."""

    ask: JobAsk
    choices: int
    is_streamed: bool
    with_usage: bool


@dataclass(frozen=True, slots=True)
class EmbeddingsBody:
    """Texts to be embedded in one job; as_base64: the vectors as bytes of float32, as OpenAI's own client asks."""

    ask: JobAsk
    as_base64: bool


def chat_body(plain: dict[str, Any]) -> CompletionBody:
    """A body of /v1/chat/completions. Raises: GatewayRefusal 400, with the field that is at fault."""
    found = _read(
        plain,
        {
            "model": (text(1, 256), REQUIRED),
            "messages": (_list_of_messages, REQUIRED),
            "max_tokens": (number(1, params.MAX_NEW_TOKENS), None),
            "max_completion_tokens": (number(1, params.MAX_NEW_TOKENS), None),
            **_COMMON,
        },
        _OFF_IN_CHATS,
    )
    messages = tuple(_message(raw, f"messages.{place}") for place, raw in enumerate(found["messages"]))
    read_bytes = sum(len(message.content.encode()) for message in messages)
    try:
        require_room(read_bytes)
    except ValueError as error:
        raise bad_field("messages", str(error)) from error
    tokens = _max_tokens(found["max_tokens"], found["max_completion_tokens"])
    return _completion(found, tokens, read_bytes, messages=messages)


def text_body(plain: dict[str, Any]) -> CompletionBody:
    """A body of /v1/completions, of one text. Raises: GatewayRefusal 400, with the field that is at fault."""
    found = _read(
        plain,
        {
            "model": (text(1, 256), REQUIRED),
            "prompt": (_one_prompt, REQUIRED),
            "max_tokens": (number(1, params.MAX_NEW_TOKENS), DEFAULT_TEXT_TOKENS),
            **_COMMON,
        },
        _OFF_IN_COMPLETIONS,
    )
    return _completion(found, found["max_tokens"], len(found["prompt"].encode()), prompt=found["prompt"])


def _completion(found: dict[str, Any], tokens: int, read_bytes: int, **asked: Any) -> CompletionBody:
    ask = JobAsk(
        model=found["model"],
        max_new_tokens=tokens,
        max_price_wei=0,
        timeout_ms=default_timeout_ms(tokens + read_bytes // params.READ_BYTES_PER_STEP),
        min_reputation=0,
        with_bonus=True,
        uncalibrated=False,
        temperature_milli=found["temperature"],
        kind=KINDS[GENERATE],
        checked=found["checked"],
        alone=found["alone"],
        rules=openai_rules(found),
        **{"messages": (), **asked},
    )
    with_usage = _with_usage(found["stream_options"], is_streamed=found["stream"])
    return CompletionBody(ask, found["n"], found["stream"], with_usage)


def embeddings_body(plain: dict[str, Any]) -> EmbeddingsBody:
    """A body of /v1/embeddings. Raises: GatewayRefusal 400, with the field that is at fault."""
    found = _read(
        plain,
        {
            "model": (text(1, 256), REQUIRED),
            "input": (texts(1, MAX_TEXTS, MAX_BODY_BYTES), REQUIRED),
            "encoding_format": (one_of(("float", "base64")), "float"),
            "checked": (flag, None),
        },
        _OFF_IN_EMBEDDINGS,
    )
    ask = JobAsk(
        model=found["model"],
        messages=(),
        max_new_tokens=0,
        max_price_wei=0,
        timeout_ms=0,
        min_reputation=0,
        with_bonus=True,
        uncalibrated=False,
        kind=KINDS[EMBED],
        texts=found["input"],
        checked=found["checked"],
    )
    return EmbeddingsBody(ask, found["encoding_format"] == "base64")


def _read(
    plain: dict[str, Any], fields: dict[str, tuple[Reader, Any]], off: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Each field by its reader; one that is null or missing has its default."""
    for name, value in plain.items():
        if name in off:
            _require_off(name, value, off[name])
        elif name in _OF_THE_CALLER:
            _read_one(name, value, text(0, _MAX_LABEL_CHARS))
        elif name not in fields:
            shown = name[:64]
            raise bad_field(shown, "the gateway does not know this field", "unknown_parameter")
    found = {}
    for name, (reader, default) in fields.items():
        if plain.get(name) is None and default is REQUIRED:
            raise bad_field(name, "it is missing", "missing_required_parameter")
        found[name] = default if plain.get(name) is None else _read_one(name, plain[name], reader)
    return found


def _read_one(name: str, value: Any, reader: Reader) -> Any:
    try:
        return None if value is None else reader(value)
    except ValueError as error:
        raise bad_field(name, str(error)) from error


def _require_off(name: str, value: Any, off: tuple[Any, ...]) -> None:
    # In Python True equals 1, and in JSON it does not.
    if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in off):
        raise unsupported(name, " or ".join(json.dumps(each) for each in off))


def _list_of_messages(raw: Any) -> list[Any]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_MESSAGES:
        raise ValueError(f"expected a list of 1 to {MAX_MESSAGES} messages")
    return raw


def _message(raw: Any, place: str) -> ChatMessage:
    if not isinstance(raw, dict):
        raise bad_field(place, "expected an object with role and content")
    for name, value in raw.items():
        if name in _OFF_IN_MESSAGES:
            _require_off(f"{place}.{name}", value, _OFF_IN_MESSAGES[name])
        elif name not in ("role", "content"):
            raise bad_field(f"{place}.{name[:64]}", "the gateway does not know this field", "unknown_parameter")
    role = raw.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise bad_field(f"{place}.role", f"expected one of {', '.join(ROLES)}")
    return ChatMessage(ROLES[role], _content(raw.get("content"), f"{place}.content"))


def _content(raw: Any, place: str) -> str:
    """The text of a message; of several parts, one after the other."""
    if not isinstance(raw, list):
        return str(_read_required(place, raw))
    written = ""
    for position, part in enumerate(raw):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or set(part) != {"type", "text"}:
            raise unsupported(f"{place}.{position}", 'parts of a text only: {"type": "text", "text": "..."}')
        written += _read_required(f"{place}.{position}.text", part["text"])
    return str(_read_required(place, written))


def _read_required(place: str, raw: Any) -> str:
    try:
        return str(text(1, MAX_BODY_BYTES)(raw))
    except ValueError as error:
        raise bad_field(place, str(error)) from error


def _max_tokens(older: int | None, newer: int | None) -> int:
    if older is not None and newer is not None and older != newer:
        raise bad_field("max_completion_tokens", "it contradicts max_tokens: give one of them")
    return older or newer or DEFAULT_MAX_TOKENS


def _one_prompt(raw: Any) -> str:
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], str):
        raw = raw[0]
    if not isinstance(raw, str):
        raise ValueError("expected one text: ask once for each, and not in ids of tokens")
    return prompt(raw)


def _with_usage(options: dict[str, Any], *, is_streamed: bool) -> bool:
    if options and not is_streamed:
        raise bad_field("stream_options", "it needs stream: true")
    for name, value in options.items():
        if name not in ("include_usage", "include_obfuscation") or not isinstance(value, bool | None):
            raise bad_field(f"stream_options.{name[:64]}", "expected include_usage with true or false")
    if options.get("include_obfuscation"):
        raise unsupported("stream_options.include_obfuscation", "false")
    return bool(options.get("include_usage"))
