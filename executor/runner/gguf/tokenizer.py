"""The tokenizer of a GGUF file as the files of a Hugging Face folder.

Only byte-level BPE, and only those ways to cut a text that are known to be the same here as in llama.cpp: its
`tokenizer.ggml.pre` names a program of llama.cpp, and the regular expressions below are those of that program.
Source: llama_vocab of the release in executor/runner/llama/library.py.
"""

import json
from typing import Any

from .header import BadGguf, Header
from .layout import INSTEAD

MAX_TEMPLATE_BYTES = 256 << 10
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
"""Of llama_token_type."""
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _bytes_of(*, cuts: bool) -> dict[str, Any]:
    """Args: cuts, whether the text is cut in the way of GPT-2."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": cuts}


CUTS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_bytes_of(cuts=True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _bytes_of(cuts=True)],
    "llama-bpe": [
        {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False},
        _bytes_of(cuts=False),
    ],
}
WITH_BEGIN = {"llama-bpe"}
"""These put the begin token before a text, unless the file says otherwise; and take a word that is a token as it is."""


def tokenizer_files(header: Header, context: int) -> dict[str, bytes]:
    """Names and contents of the files. Raises BadGguf."""
    kind, cut = header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or cut not in CUTS:
        known = ", ".join(sorted(CUTS))
        raise BadGguf(f"its tokenizer is {kind!a:.40}/{cut!a:.40}, and gpt2 with {known} is supported: {INSTEAD}")
    tokens = header.texts("tokenizer.ggml.tokens")
    places = {token: place for place, token in enumerate(tokens)}
    if len(places) != len(tokens) or "" in places:
        raise BadGguf("its vocabulary has a token twice or an empty one: the file is damaged")
    begin = _token(header, "bos", tokens)
    stops = [header.number("tokenizer.ggml.eos_token_id", 0, len(tokens) - 1)]
    if "tokenizer.ggml.eot_token_id" in header.facts:
        stops.append(header.number("tokenizer.ggml.eot_token_id", 0, len(tokens) - 1))
    words = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(header, tokens, stops),
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": CUTS[cut]},
        "post_processor": _beginning(header, cut, begin, places),
        "decoder": _bytes_of(cuts=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut in WITH_BEGIN,
            "vocab": places,
            "merges": _merges(header, places),
        },
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "eos_token": tokens[stops[0]],
        **({"bos_token": begin} if begin else {}),
    }
    return {
        "chat_template.jinja": _template(header),
        "generation_config.json": _json({"eos_token_id": sorted(set(stops))}),
        "tokenizer.json": _json(words),
        "tokenizer_config.json": _json(settings),
    }


def _template(header: Header) -> bytes:
    if "tokenizer.chat_template" not in header.facts:
        raise BadGguf(f"it has no chat template (tokenizer.chat_template): {INSTEAD}")
    template = header.text("tokenizer.chat_template").encode()
    if not 1 <= len(template) <= MAX_TEMPLATE_BYTES:
        raise BadGguf(f"its chat template has {len(template)} bytes, and 1 to {MAX_TEMPLATE_BYTES} are possible")
    return template


def _token(header: Header, name: str, tokens: list[str]) -> str:
    key = f"tokenizer.ggml.{name}_token_id"
    return tokens[header.number(key, 0, len(tokens) - 1)] if key in header.facts else ""


def _added(header: Header, tokens: list[str], stops: list[int]) -> list[dict[str, Any]]:
    """The tokens that are found in a text before it is cut; special ones are left out of an answer's text."""
    kinds = header.facts.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, list) or len(kinds) != len(tokens) or any(type(kind) is not int for kind in kinds):
        raise BadGguf("tokenizer.ggml.token_type must have a whole number for each token: the file is damaged")
    return [
        {
            "id": place,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": place in stops or kind != USER_DEFINED,
        }
        for place, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if place in stops or kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]


def _merges(header: Header, places: dict[str, int]) -> list[list[str]]:
    found = []
    for merge in header.texts("tokenizer.ggml.merges"):
        # As llama.cpp does it: the first character may be a space itself.
        cut = merge.find(" ", 1)
        left, right = merge[:cut], merge[cut + 1 :]
        if cut < 0 or not {left, right, left + right} <= places.keys():
            raise BadGguf(f"its merge {merge!a:.40} is not made of tokens: the file is damaged")
        found.append([left, right])
    return found


def _beginning(header: Header, cut: str, begin: str, places: dict[str, int]) -> dict[str, Any] | None:
    """What is put around a text."""
    wanted = header.facts.get("tokenizer.ggml.add_bos_token", cut in WITH_BEGIN)
    if header.facts.get("tokenizer.ggml.add_eos_token", False):
        raise BadGguf(f"its tokenizer puts an end token behind each text, which is not supported: {INSTEAD}")
    if not wanted or not begin:
        return None
    text = {"Sequence": {"id": "A", "type_id": 0}}
    token = {"SpecialToken": {"id": begin, "type_id": 0}}
    special = {begin: {"id": begin, "ids": [places[begin]], "tokens": [begin]}}
    pair = [token, text, token, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": [token, text], "pair": pair, "special_tokens": special}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
