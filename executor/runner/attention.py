"""Attention in float32, whatever the matrices around it are in, and without a table of all pairs of tokens.

Which of two near tokens a head looks at hangs on the last digits of its scores. In bfloat16 these differ from pass to
pass, and a state goes astray now and then, by more than cheap weights would move it. Keys and values are kept in the
model's own format; only what is made of them is wider. One key for several heads is repeated, or several heads of one
token are taken as several tokens: torch has no fast kernel for shared keys on a processor.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME, LIKE = "float32", "sdpa"
"""Ours, and the one of transformers whose masks it takes."""


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """What each token takes from those that it sees: [texts, tokens, heads, size], in the format of `value`.

    Args: query [texts, heads, tokens, size]; key and value, whose heads divide those of the query; attention_mask,
    which token sees which, broadcast to [texts, heads, tokens, tokens]; without one all those up to itself.
    """
    if others.get("position_bias") is not None:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **others
        )
        return found, None
    texts, heads, tokens, size = query.shape
    shared = heads // key.shape[1]
    query, keys, values = query.float(), key.float(), value.float()
    mask = attention_mask
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    looks_back = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if tokens == 1:
        query = query.reshape(texts, heads // shared, shared, size)
        if mask is not None and mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], heads // shared, shared, -1)
    elif shared > 1:
        keys, values = (each.repeat_interleave(shared, dim=1) for each in (keys, values))
    found = scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        is_causal=tokens > 1 and mask is None and bool(looks_back),
        scale=scaling,
    )
    found = found.reshape(texts, heads, tokens, values.shape[-1]).transpose(1, 2).contiguous()
    return found.to(value.dtype), None


def attend_widely(net: Any) -> None:
    """Let a loaded model of transformers attend so, unless it has an attention of its own."""
    if _named(net) == LIKE:
        net.set_attn_implementation(NAME)


def attends_widely(net: Any) -> bool:
    """Whether it does, and so keeps no table of all pairs of tokens."""
    return _named(net) == NAME


def _named(net: Any) -> str:
    # The library has no public name for it.
    return str(net.config._attn_implementation)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, AttentionMaskInterface()[LIKE])
