"""A tokenizer of a few words, made for tests."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def small_tokenizer() -> Tokenizer:
    """Byte-level BPE as the models have it: everything outside of the corpus falls apart into single bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 20, trainer)
    return tokenizer


TOKENIZER = small_tokenizer()


def encode(text: str) -> list[int]:
    return list(TOKENIZER.encode(text).ids)
