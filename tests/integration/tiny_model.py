"""Runs in the runner image: leaves a model of a few layers with random weights, the same ones at every time.

It says nothing that makes sense, but its numbers are rounded as those of any model are.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

OUTPUT = Path("/output")
STOP = "<|end|>"
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "
SPREAD = 0.2
"""Of the weights: with less the layers would add next to nothing to what they are given."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and one to stop with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: place for place, word in enumerate([STOP, *alphabet])}
    bare = Tokenizer(models.BPE(vocab=words, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token=STOP, chat_template=TEMPLATE)


def main() -> None:
    torch.manual_seed(1)
    told = tokenizer()
    config = LlamaConfig(
        vocab_size=len(told),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=SPREAD,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(OUTPUT, safe_serialization=True)
    told.save_pretrained(OUTPUT)


if __name__ == "__main__":
    main()
