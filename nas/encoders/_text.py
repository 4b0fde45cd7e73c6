"""What the encoders of texts share: the ids, and which of them are real."""

from torch import Tensor, nn

from nas.modality import ModalitySpec

PADDING = 0


def embed(spec: ModalitySpec, width: int) -> nn.Embedding:
    """A vector for each token id of a text, zeros for the padding.

    Raises:
        ValueError: The modality has no vocabulary.
    """
    return nn.Embedding(vocabulary(spec), width, padding_idx=PADDING)


def vocabulary(spec: ModalitySpec) -> int:
    """Number of token ids of a text.

    Raises:
        ValueError: The modality does not say.
    """
    if spec.vocabulary is None:
        raise ValueError("a text needs a vocabulary, the number of its token ids; its spec has None")
    return spec.vocabulary


def real_tokens(x: Tensor, mask: Tensor | None) -> Tensor:
    """Which ids of a batch `(B, T)` are real: those of the mask, or all but 0 where there is none.

    Raises:
        ValueError: The ids are no batch of texts, or the mask is not of their shape.
    """
    if x.ndim != 2:
        raise ValueError(f"{tuple(x.shape)} is not a batch of token ids of shape (batch, tokens)")
    if mask is None:
        return x != PADDING
    if mask.shape != x.shape:
        raise ValueError(f"the mask {tuple(mask.shape)} does not fit the token ids {tuple(x.shape)}")
    return mask
