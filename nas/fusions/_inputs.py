"""What the fusions of vectors share: checks of the inputs, absent modalities, the form of the result."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

Gates: TypeAlias = dict[str, Any]


class VectorFusion(nn.Module):
    """A fusion of one vector per modality; subclasses give the formula in `fuse`.

    Args:
        dims: Width of every modality's vector.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: The fusion does not take that many modalities, or it needs equal widths.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[int, int | None]] = (1, None)
    consumes: ClassVar[str] = "vectors"
    equal_widths: ClassVar[bool] = False
    passes_one: ClassVar[bool] = False
    """With one modality, return its vector unchanged."""

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__()
        self.dims = tuple(dims)
        self._check_dims()
        self.out_dim = self.dims[0] if out_dim is None else out_dim
        self.is_identity = self.passes_one and len(self.dims) == 1

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The formula: vectors `(B, d_m)`, zeros where absent, to the fused vector and its weights."""
        raise NotImplementedError

    def forward(
        self, features: Sequence[Tensor], present: Tensor | None = None, return_gates: bool = False
    ) -> Tensor | tuple[Tensor, Gates]:
        """Fuse the modalities' vectors.

        Args:
            features: A vector `(B, d_m)` per modality.
            present: bool `(B, M)`; None: all are there. What is absent has no influence.
            return_gates: Return the weights of the modalities as well.

        Returns:
            `(B, out_dim)`, or that and `{"type": name, "weights": tensor or None}`.

        Raises:
            ValueError: The number, rank or width of the vectors is not what the fusion was built for.
        """
        self._check_features(features)
        taken = _zero_absent(features, present)
        fused, weights = (taken[0], None) if self.is_identity else self.fuse(taken, present)
        if not return_gates:
            return fused
        return fused, {"type": "identity" if self.is_identity else self.name, "weights": weights}

    def _check_dims(self) -> None:
        low, high = self.modalities
        count = len(self.dims)
        if count < low or (high is not None and count > high):
            wanted = f"{low} to {high}" if high else f"at least {low}"
            raise ValueError(f"{self.name} takes {wanted} modalities, not {count}")
        for index, width in enumerate(self.dims):
            if self.equal_widths and width != self.dims[0]:
                raise ValueError(
                    f"{self.name} needs equal widths: modality {index} is {width} wide,"
                    f" modality 0 is {self.dims[0]} wide"
                )

    def _check_features(self, features: Sequence[Tensor]) -> None:
        given, wanted = len(features), len(self.dims)
        if given != wanted:
            fault = f"{given} is missing" if given < wanted else f"{wanted} is one too many"
            raise ValueError(f"modality {fault}: given {given} modalities, built for {wanted}")
        batch = features[0].shape[:1]
        for index, (vectors, width) in enumerate(zip(features, self.dims, strict=True)):
            if vectors.shape != (*batch, width):
                raise ValueError(f"modality {index} {_misfit(vectors, width, batch)}")


def mean_over_present(tokens: Tensor, present: Tensor | None) -> Tensor:
    """Mean over the modalities that are there: `(B, M, d)` to `(B, d)`; zeros where none is."""
    batch, count = tokens.shape[:2]
    if present is None:
        return tokens.sum(1) / tokens.new_full((batch, 1), count)
    there = present.sum(1, keepdim=True).clamp(min=1)
    return tokens.masked_fill(~present[..., None], 0).sum(1) / there


def _zero_absent(features: Sequence[Tensor], present: Tensor | None) -> list[Tensor]:
    if present is None:
        return list(features)
    expected = (features[0].shape[0], len(features))
    if present.shape != expected or present.dtype != torch.bool:
        raise ValueError(
            f"present must be bool of shape {expected}, not {present.dtype} of shape {tuple(present.shape)}"
        )
    absent = ~present
    return [vectors.masked_fill(absent[:, index, None], 0) for index, vectors in enumerate(features)]


def _misfit(vectors: Tensor, width: int, batch: Sequence[int]) -> str:
    shape = tuple(vectors.shape)
    if len(shape) != 2:
        return f"has rank {len(shape)}, shape {shape}; vectors have rank 2, shape (batch, {width})"
    if shape[1] != width:
        return f"is {shape[1]} wide; the fusion was built for {width}"
    return f"has a batch of {shape[0]}, modality 0 one of {batch[0]}"
