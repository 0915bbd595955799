"""The tokenizer of `pocket`: byte-level BPE, digits one by one, with the control tokens of its chat template.

llama.cpp reads the same splits under the pre-tokenizer name `starcoder`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gguf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONTROL = ("<|end|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
END, START, STOP = range(3)
VOCABULARY = 3072


def train(texts: Iterable[str], size: int = VOCABULARY) -> Tokenizer:
    tokenizer = _tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def of_model(path: Path) -> Tokenizer:
    """The tokenizer inside a GGUF that `export.py` wrote."""
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = _tokenizer(models.BPE({text: index for index, text in enumerate(tokens)}, merges))
    tokenizer.add_special_tokens(list(CONTROL))
    return tokenizer


def _tokenizer(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def copyable_pieces(tokenizer: Tokenizer) -> list[str]:
    """Texts of single tokens that can stand in a file name, so that training copies every one of them."""
    pieces = []
    for index in range(len(CONTROL), tokenizer.get_vocab_size()):
        text = tokenizer.decode([index])
        if text.strip() and text.isprintable() and "\ufffd" not in text and not set(text) & set('/"\\'):
            pieces.append(text)
    return pieces
