"""From texts to token ids, by a tokenizer that knows the training texts alone."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1
LONGEST = 128  # tokens, unless a length is asked for
COVERED = 0.99  # share of the training texts that fit into the length

Encode = Callable[[str], list[int]]


def tokenised(
    texts: Sequence[str | None], training: NDArray[np.bool_], tokens: str, vocabulary: int, length: int | None
) -> tuple[NDArray[np.int32], int]:
    """Token ids `(N, T)`, 0 for padding and 1 for what is not known, and the number of ids.

    Args:
        texts: By row; None where there is none.
        training: Which rows may be learned from, `(N,)`.
        tokens: `characters`, or `bpe` for byte-pair encoding.
        vocabulary: Most ids.
        length: T; None takes what covers almost all training texts.
    """
    learnt = [text for text, own in zip(texts, training, strict=True) if own and text is not None]
    encode, size = TOKENIZERS[tokens](learnt, vocabulary)
    ids = [[] if text is None else encode(text) or [UNKNOWN] for text in texts]
    lengths = [len(own) for own, there in zip(ids, training, strict=True) if there and own]
    longest = int(np.quantile(lengths, COVERED)) if lengths else 1
    length = length or min(max(longest, 1), LONGEST)
    array = np.full((len(ids), length), PADDING, np.int32)
    for row, own in enumerate(ids):
        array[row, : min(len(own), length)] = own[:length]
    return array, size


def _characters(texts: Sequence[str], limit: int) -> tuple[Encode, int]:
    """The most frequent characters, in the composed form of Unicode (NFKC)."""
    counts = Counter(character for text in texts for character in unicodedata.normalize("NFKC", text))
    kept = sorted(counts, key=lambda character: (-counts[character], character))[: limit - 2]
    codes = {character: index for index, character in enumerate(kept, UNKNOWN + 1)}

    def encode(text: str) -> list[int]:
        return [codes.get(character, UNKNOWN) for character in unicodedata.normalize("NFKC", text)]

    return encode, len(codes) + 2


def _pieces(texts: Sequence[str], limit: int) -> tuple[Encode, int]:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909); at most half of the ids are characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE(unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=limit,
        limit_alphabet=max(1, limit // 2),
        special_tokens=["<padding>", "<unknown>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return lambda text: tokenizer.encode(text).ids, tokenizer.get_vocab_size()


TOKENIZERS: dict[str, Callable[[Sequence[str], int], tuple[Encode, int]]] = {
    "characters": _characters,
    "bpe": _pieces,
}
