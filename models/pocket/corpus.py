"""Endless batches of tokenized episodes, made in processes of their own so that training never waits.

Each worker draws from its own seed: (seed, worker, how far training has come). Nothing is stored on disk.
"""

from __future__ import annotations

import multiprocessing
import queue
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from content import OTHER, Library
from draws import Draws, Episode
from episodes import Composer
from names import Names
from tokenizer import copyable_pieces, load
from tokenizers import Tokenizer

from edgeagent.model.template import ChatTemplate

HERE = Path(__file__).parent
KIND_WEIGHT = 6.0
VERDICT_WEIGHT = 5.0
REASONING_WEIGHT = 2.0
COPYING_TOKENS = 7e6
READING_TOKENS = 33e6


@dataclass(frozen=True, slots=True)
class Marks:
    """Token ids that tell where in the reasoning one is."""

    open: int
    close: int
    newline: int
    colon: int


Batch = tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]
"""Tokens, targets, weights and the kind of the document that a token stands in, each of shape (episodes, tokens)."""
_OWN = re.compile(r"(?<=<\|im_start\|>assistant\n).*?<\|im_end\|>", re.DOTALL)
_TEXT = re.compile(r"(?<=\ntext:\n).*?(?=<\|im_end\|>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Encoded:
    """An episode as numbers. A target is the next token inside the model's own words, and -1 elsewhere; `kind` is the
    number of the document's kind, `text` the tokens from..to of it."""

    tokens: list[int]
    targets: list[int]
    kind: int = -1
    text: tuple[int, int] = (0, 0)


def words_of(library: Library) -> list[str]:
    """Real words for names: what stands in the content."""
    text = " ".join(
        item
        for kind in library.kinds.values()
        for part in kind.parts.values()
        for items in part.values()
        for item in items
    )
    return sorted(set(re.findall(r"[A-Za-z]{3,}", text)))


def template() -> ChatTemplate:
    return ChatTemplate((HERE / "chat_template.jinja").read_text(encoding="utf-8"))


def rendered(episode: Episode, chat: ChatTemplate) -> str:
    return "".join(
        text for text, _ in chat.render(episode.messages, episode.tools, add_generation_prompt=False)
    ).rstrip("\n")


def weights_of(tokens: list[int], marks: Marks) -> list[float]:
    """What each next token counts. What is decided counts most: the kind, in the first line of the reasoning, and each
    yes or no; the phrases in between are only copied."""
    weights, lines = [1.0] * len(tokens), -1
    for index, token in enumerate(tokens):
        if token == marks.open:
            lines = 0
        elif token == marks.close:
            lines = -1
        elif lines >= 0:
            lines += token == marks.newline
        if lines > 0:
            weights[index] = KIND_WEIGHT if lines == 1 else VERDICT_WEIGHT if token == marks.colon else REASONING_WEIGHT
    return weights


def encode(text: str, tokenizer: Tokenizer, kind: int = -1) -> Encoded:
    encoding = tokenizer.encode(text)
    own = [match.span() for match in _OWN.finditer(text)]
    tokens = encoding.ids
    targets = [-1] * len(tokens)
    spans = iter(own)
    span = next(spans, None)
    for index, (start, _end) in enumerate(encoding.offsets):
        while span and start >= span[1]:
            span = next(spans, None)
        if span and start >= span[0] and index > 0:
            targets[index - 1] = tokens[index]
    document = _TEXT.search(text)
    if kind < 0 or not document:
        return Encoded(tokens, targets)
    inside = [
        i for i, (start, end) in enumerate(encoding.offsets) if document.start() <= start and end <= document.end()
    ]
    return Encoded(tokens, targets, kind, (inside[0], inside[-1] + 1) if inside else (0, 0))


def composer(seed: str, tokenizer: Tokenizer | None, held_out: bool = False) -> Composer:
    rng = random.Random(seed)
    library = Library()
    pieces = copyable_pieces(tokenizer) if tokenizer else []
    return Composer(Draws(rng, library, Names(rng, words_of(library), pieces), held_out))


def shares(seen: float) -> tuple[float, float]:
    """The shares of episodes that practise copying, and judging, after so many tokens of training.

    Copying comes first: without practice it had not appeared after 4 million tokens, with it it did within one. Then
    reading: what a document is wants many documents, and most of what it practises is short. The whole comes last.
    """
    if seen < COPYING_TOKENS:
        return 0.6, 0.0
    return (0.04, 0.8) if seen < READING_TOKENS else (0.06, 0.2)


def batches(
    seed: str, tokenizer_path: Path, tokens_a_batch: int, longest: int, seen: Callable[[], float]
) -> Iterator[Batch]:
    """Batches of about `tokens_a_batch` tokens; episodes of like length share a batch, so little is padding."""
    tokenizer = load(tokenizer_path)
    make, chat = composer(seed, tokenizer), template()
    single = [tokenizer.encode(text).ids for text in ("<think>", "</think>", "\n", ":")]
    assert all(len(ids) == 1 for ids in single)
    marks = Marks(*(ids[0] for ids in single))
    numbers = kind_numbers(make.library)
    while True:
        make.echo_share, make.drill_share = shares(seen())
        episodes = (make.episode() for _ in range(512))
        drawn = (encode(rendered(item, chat), tokenizer, numbers.get(item.kind, -1)) for item in episodes)
        pool = sorted((item for item in drawn if len(item.tokens) <= longest), key=lambda item: len(item.tokens))
        groups, group = [], []
        for item in pool:
            if group and len(item.tokens) * (len(group) + 1) > tokens_a_batch:
                groups.append(group)
                group = []
            group.append(item)
        make.rng.shuffle(groups)
        yield from (_batch(group, marks) for group in groups)


def kind_numbers(library: Library) -> dict[str, int]:
    """The number of each kind, `other` included, for the reader."""
    return {label: index for index, label in enumerate([*library.kinds, OTHER])}


def _batch(group: list[Encoded], marks: Marks) -> Batch:
    shape = (len(group), max(len(item.tokens) for item in group))
    tokens = numpy.zeros(shape, dtype=numpy.int64)
    targets = numpy.full(shape, -1, dtype=numpy.int64)
    weights = numpy.zeros(shape, dtype=numpy.float32)
    kinds = numpy.full(shape, -1, dtype=numpy.int64)
    for row, item in enumerate(group):
        tokens[row, : len(item.tokens)] = item.tokens
        targets[row, : len(item.targets)] = item.targets
        weights[row, : len(item.tokens)] = weights_of(item.tokens, marks)
        kinds[row, item.text[0] : item.text[1]] = item.kind
    return tokens, targets, weights, kinds


def _work(batches_out: Any, seed: str, tokenizer_path: Path, tokens_a_batch: int, longest: int, seen: Any) -> None:
    for batch in batches(seed, tokenizer_path, tokens_a_batch, longest, lambda: float(seen.value)):
        batches_out.put(batch)


class Stream:
    """Batches from processes of their own. Tell it in `seen` how many tokens training has had."""

    def __init__(self, seed: str, tokenizer_path: Path, tokens_a_batch: int, longest: int, workers: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self.seen = context.Value("d", 0.0)
        self._queue: Any = context.Queue(maxsize=16)
        self._workers = [
            context.Process(
                target=_work,
                args=(self._queue, f"{seed}/{worker}", tokenizer_path, tokens_a_batch, longest, self.seen),
                daemon=True,
            )
            for worker in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            try:
                yield self._queue.get(timeout=5)
            except queue.Empty:
                if not all(worker.is_alive() for worker in self._workers):
                    raise SystemExit("a process that makes episodes died; see above") from None
