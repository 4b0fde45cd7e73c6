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

    def load(self) -> tuple[Encode, int]:
        """What it makes of a text, and the number of its ids.

        Raises:
            KeyPathError: The file holds no tokenizer.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer: Any = Tokenizer.from_file(str(self.file))
        except Exception as error:  # the library has no class of its own for that
            raise KeyPathError(self.path, f"{self.file} is no tokenizer.json ({error})") from None
        tokenizer.no_padding()

        def encode(text: str, room: int | None) -> list[int]:
            tokenizer.no_truncation() if room is None else tokenizer.enable_truncation(room)
            ids: list[int] = tokenizer.encode(text).ids
            return ids

        return encode, 1 + max(tokenizer.get_vocab().values(), default=0)


def tokenised(
    texts: Sequence[str | None],
    training: NDArray[np.bool_],
    options: Mapping[str, Any],
    given: GivenTokenizer | None,
) -> tuple[NDArray[np.int32], int]:
    """Token ids `(N, T)`, 0 for padding, and the number of ids.

    Where 0 is the id of a token that a text has, the ids are `(N, 2, T)`, with 1 for those that are real.

    Args:
        texts: By row; None where there is none.
        training: Which rows may be learned from, `(N,)`.
        options: `tokens`, `characters` or `bpe` for byte-pair encoding; `vocabulary`, the most ids; and
            `length`, T, for which None takes what covers almost all training texts.
        given: A tokenizer that is taken instead of one that learns.

    Raises:
        KeyPathError: The file of the tokenizer holds none.
    """
    learnt = [text for text, own in zip(texts, training, strict=True) if own and text is not None]
    encode, size = given.load() if given else TOKENIZERS[options["tokens"]](learnt, options["vocabulary"])
    ids = [[] if text is None else encode(text, None) or [UNKNOWN] for text in texts]
    lengths = [len(own) for own, there in zip(ids, training, strict=True) if there and own]
    longest = int(np.quantile(lengths, COVERED)) if lengths else 1
    length = options["length"] or min(max(longest, 1), LONGEST)
    array = np.full((len(ids), 2, length), PADDING, np.int32)
    for row, (text, own) in enumerate(zip(texts, ids, strict=True)):
        cut = encode(text, length)[:length] if text and len(own) > length else own
        array[row, 0, : len(cut)] = cut
        array[row, 1, : len(cut)] = 1
    if (array[:, 0] == PADDING)[array[:, 1] > 0].any():
        return array, size
    return np.ascontiguousarray(array[:, 0]), size


def _characters(texts: Sequence[str], limit: int) -> tuple[Encode, int]:
    """The most frequent characters, in the composed form of Unicode (NFKC)."""
    counts = Counter(character for text in texts for character in unicodedata.normalize("NFKC", text))
    kept = sorted(counts, key=lambda character: (-counts[character], character))[: limit - 2]
    codes = {character: index for index, character in enumerate(kept, UNKNOWN + 1)}

    def encode(text: str, room: int | None) -> list[int]:
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
    return lambda text, room: tokenizer.encode(text).ids, tokenizer.get_vocab_size()


TOKENIZERS: dict[str, Callable[[Sequence[str], int], tuple[Encode, int]]] = {
    "characters": _characters,
    "bpe": _pieces,
}
