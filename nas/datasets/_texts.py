"""From texts to token ids, by a tokenizer that knows the training texts alone, or by one that is given."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import KeyPathError

PADDING, UNKNOWN = 0, 1
LONGEST = 128  # tokens, unless a length is asked for
COVERED = 0.99  # share of the training texts that fit into the length

Encode = Callable[[str, int | None], list[int]]
"""From a text, and the tokens that there is room for, to ids; more than there is room for may come."""


@dataclass(frozen=True)
class GivenTokenizer:
    """A tokenizer that the library `tokenizers` has written, with all that it puts around a text.

    Args:
        file: Its file.
        path: Where it is named, as keys from the top of the dataset's options.
    """

    file: Path
    path: tuple[str, ...]

    @classmethod
    def named(cls, given: str | None, folder: Path, path: tuple[str, ...]) -> "GivenTokenizer | None":
        """The tokenizer of a file, or of a model's folder; None where none is given.

        Raises:
            KeyPathError: There is no such file.
        """
        if given is None:
            return None
        place = folder / given
        file = place / "tokenizer.json" if place.is_dir() else place
        if not file.is_file():
            raise KeyPathError(
                path,
                f"{file} does not exist; give a tokenizer.json, or the folder of one, which "
                "`AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)` writes",
            )
        return cls(file, path)

    def digest(self) -> str:
        """What tells its content from any other."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def learnt(self) -> dict[str, Any]:
        """What it is, as one that has learnt from texts says it.

        Raises:
            KeyPathError: The file holds no tokenizer.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.file))
        except Exception as error:  # the library has no class of its own for that
            raise KeyPathError(self.path, f"{self.file} is no tokenizer.json ({error})") from None
        return _stored(tokenizer, 1 + max(tokenizer.get_vocab().values(), default=0))


def learn(texts: Sequence[str], options: Mapping[str, Any], given: GivenTokenizer | None) -> dict[str, Any]:
    """A tokenizer of texts as JSON data: `characters` or `tokenizer`, `size` in ids, `length` in tokens.

    Args:
        texts: What may be learned from.
        options: `tokens`, `characters` or `bpe` for byte-pair encoding; `vocabulary`, the most ids; and
            `length`, for which None takes what covers almost all of the texts.
        given: A tokenizer that is taken instead of one that learns.

    Raises:
        KeyPathError: The file of the tokenizer holds none.
    """
    learnt = given.learnt() if given else TOKENIZERS[options["tokens"]](texts, options["vocabulary"])
    encode = _encoder(learnt)
    lengths = [len(encode(text, None) or [UNKNOWN]) for text in texts]
    longest = int(np.quantile(lengths, COVERED)) if lengths else 1
    return learnt | {"length": options["length"] or min(max(longest, 1), LONGEST)}


def tokenised(texts: Sequence[str | None], learnt: Mapping[str, Any]) -> NDArray[np.int32]:
    """Token ids `(N, T)`, 0 for padding.

    Where 0 is the id of a token that a text has, the ids are `(N, 2, T)`, with 1 for those that are real.

    Args:
        texts: By row; None where there is none.
        learnt: What `learn` has given.
    """
    encode, length = _encoder(learnt), learnt["length"]
    array = np.full((len(texts), 2, length), PADDING, np.int32)
    for row, text in enumerate(texts):
        if text is None:
            continue
        ids = encode(text, None) or [UNKNOWN]
        cut = encode(text, length)[:length] if len(ids) > length else ids
        array[row, 0, : len(cut)] = cut
        array[row, 1, : len(cut)] = 1
    if (array[:, 0] == PADDING)[array[:, 1] > 0].any():
        return array
    return np.ascontiguousarray(array[:, 0])


def _encoder(learnt: Mapping[str, Any]) -> Encode:
    if "characters" in learnt:
        codes = {character: index for index, character in enumerate(learnt["characters"], UNKNOWN + 1)}
        return lambda text, room: [codes.get(character, UNKNOWN) for character in _composed(text)]

    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_str(learnt["tokenizer"])
    tokenizer.no_padding()

    def encode(text: str, room: int | None) -> list[int]:
        tokenizer.no_truncation() if room is None else tokenizer.enable_truncation(room)
        ids: list[int] = tokenizer.encode(text).ids
        return ids

    return encode


def _stored(tokenizer: Any, size: int) -> dict[str, Any]:
    return {"tokenizer": tokenizer.to_str(), "size": size}


def _composed(text: str) -> str:
    """In the composed form of Unicode, NFKC."""
    return unicodedata.normalize("NFKC", text)


def _characters(texts: Sequence[str], limit: int) -> dict[str, Any]:
    """The most frequent characters."""
    counts = Counter(character for text in texts for character in _composed(text))
    kept = sorted(counts, key=lambda character: (-counts[character], character))[: limit - 2]
    return {"characters": "".join(kept), "size": len(kept) + 2}


def _pieces(texts: Sequence[str], limit: int) -> dict[str, Any]:
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
    return _stored(tokenizer, tokenizer.get_vocab_size())


TOKENIZERS: dict[str, Callable[[Sequence[str], int], dict[str, Any]]] = {
    "characters": _characters,
    "bpe": _pieces,
}
