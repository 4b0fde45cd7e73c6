"""What the fusions share: checks of the inputs, absent modalities, the form of the result."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

Gates: TypeAlias = dict[str, Any]


class Fusion(nn.Module):
    """What fusions of vectors and of tokens have in common.

    Args:
        dims: Width of every modality's vector or tokens.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: The fusion does not take that many modalities, or it needs equal widths.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[int, int | None]] = (1, None)
    consumes: ClassVar[str] = "vectors"
    equal_widths: ClassVar[bool] = False

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__()
        self.dims = tuple(dims)
        self._check_dims()
        self.out_dim = self.dims[0] if out_dim is None else out_dim

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

    def _check_features(self, features: Sequence[Tensor], axes: tuple[str, ...]) -> None:
        given, wanted = len(features), len(self.dims)
        if given != wanted:
            fault = f"{given} is missing" if given < wanted else f"{wanted} is one too many"
            raise ValueError(f"modality {fault}: given {given} modalities, built for {wanted}")
        batch = features[0].shape[:1]
        for index, (values, width) in enumerate(zip(features, self.dims, strict=True)):
            if values.ndim != len(axes) + 1 or values.shape[-1] != width or values.shape[:1] != batch:
                raise ValueError(f"modality {index} {_misfit(values, width, batch, axes)}")


class VectorFusion(Fusion):
    """A fusion of one vector per modality; subclasses give the formula in `fuse`.

    Args:
        dims: Width of every modality's vector.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: The fusion does not take that many modalities, or it needs equal widths.
    """

    passes_one: ClassVar[bool] = False
    """With one modality, return its vector unchanged."""

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        self.is_identity = self.passes_one and self.dims == (self.out_dim,)

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
        self._check_features(features, ("batch",))
        taken = _zero_absent(features, present)
        fused, weights = (taken[0], None) if self.is_identity else self.fuse(taken, present)
        if not return_gates:
            return fused
        return fused, {"type": "identity" if self.is_identity else self.name, "weights": weights}


class AlignedFusion(VectorFusion):
    """A fusion of vectors of one width; subclasses give the formula in `combine`.

    Vectors of another width than the fused one are projected to it by a linear layer. One modality
    alone passes through unchanged.

    Args:
        dims: Width of every modality's vector.
        out_dim: Common width, that of the fused vector; None means that of modality 0.

    Raises:
        ValueError: The fusion does not take that many modalities.
    """

    passes_one = True
    neutral: ClassVar[float] = 0.0
    """What stands for an absent modality."""

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        self.project = projections(self.dims, self.out_dim)

    def combine(self, vectors: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The formula: vectors `(M, B, d)`, neutral where absent, to the fused vector and its weights."""
        raise NotImplementedError

    def fuse(self, features: list[Tensor], present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The formula, after the projection to a common width."""
        aligned = [project(vectors) for project, vectors in zip(self.project, features, strict=True)]
        vectors = torch.stack(aligned)
        if present is not None:
            vectors = vectors.masked_fill(~present.T[..., None], self.neutral)
        return self.combine(vectors, present)


class TokenFusion(Fusion):
    """A fusion of the modalities' tokens; subclasses give the formula in `fuse`.

    Tokens of another width than those of modality 0 are projected to it by a linear layer.

    Args:
        dims: Width of every modality's tokens.
        out_dim: Width of the fused vector; None means that of modality 0.

    Raises:
        ValueError: The fusion does not take that many modalities.
    """

    consumes = "tokens"

    def __init__(self, dims: Sequence[int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim)
        self.width = self.dims[0]
        self.project = projections(self.dims, self.width)

    def fuse(self, tokens: list[Tensor], keep: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """The formula: tokens `(B, T_m, width)` to the fused vector and its weights.

        Args:
            tokens: By modality; zeros where they are not kept.
            keep: By modality: bool `(B, T_m)`, true for the real tokens of what is there.
        """
        raise NotImplementedError

    def forward(
        self,
        features: Sequence[Tensor],
        present: Tensor | None = None,
        return_gates: bool = False,
        masks: Sequence[Tensor | None] | None = None,
    ) -> Tensor | tuple[Tensor, Gates]:
        """Fuse the modalities' tokens.

        Args:
            features: Tokens `(B, T_m, d_m)` per modality.
            present: bool `(B, M)`; None: all are there. What is absent has no influence.
            return_gates: Return the weights of the modalities as well.
            masks: By modality: bool `(B, T_m)`, true for real tokens, or None where all are. The others
                have no influence.

        Returns:
            `(B, out_dim)`, or that and `{"type": name, "weights": tensor or None}`.

        Raises:
            ValueError: The number, rank or width of the tokens is not what the fusion was built for, or
                a mask does not fit its tokens.
        """
        self._check_features(features, ("batch", "tokens"))
        keep = _kept(features, present, masks)
        tokens = [
            project(values.masked_fill(~real[..., None], 0)).masked_fill(~real[..., None], 0)
            for project, values, real in zip(self.project, features, keep, strict=True)
        ]
        fused, weights = self.fuse(tokens, keep)
        return (fused, {"type": self.name, "weights": weights}) if return_gates else fused


def projections(dims: Sequence[int], width: int) -> nn.ModuleList:
    """A linear layer to `width` for every modality that has another; those that have it stay as they are."""
    return nn.ModuleList(nn.Identity() if dim == width else nn.Linear(dim, width) for dim in dims)


def shares_of_two(z: Tensor, present: Tensor | None) -> Tensor:
    """Weights `(2, B, d)` of two modalities, z and 1 − z; one whose partner is absent weighs 1."""
    weights = torch.stack([z, 1 - z])
    if present is None:
        return weights
    lost = ~present.T[..., None]
    return weights.masked_fill(lost.flip(0), 1).masked_fill(lost, 0)


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
    _check_present(present, features)
    absent = ~present
    return [vectors.masked_fill(absent[:, index, None], 0) for index, vectors in enumerate(features)]


def _kept(
    tokens: Sequence[Tensor], present: Tensor | None, masks: Sequence[Tensor | None] | None
) -> list[Tensor]:
    """By modality: bool `(B, T_m)`, true for the real tokens of what is there."""
    keep = []
    for index, (values, mask) in enumerate(zip(tokens, masks or [None] * len(tokens), strict=True)):
        shape = tuple(values.shape[:2])
        if mask is None:
            mask = torch.ones(shape, dtype=torch.bool, device=values.device)
        if mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(
                f"the mask of modality {index} must be bool of shape {shape}, not {mask.dtype} of shape"
                f" {tuple(mask.shape)}"
            )
        keep.append(mask)
    if present is None:
        return keep
    _check_present(present, tokens)
    return [real & present[:, index, None] for index, real in enumerate(keep)]


def _check_present(present: Tensor, features: Sequence[Tensor]) -> None:
    expected = (features[0].shape[0], len(features))
    if present.shape != expected or present.dtype != torch.bool:
        raise ValueError(
            f"present must be bool of shape {expected}, not {present.dtype} of shape {tuple(present.shape)}"
        )


def _misfit(values: Tensor, width: int, batch: Sequence[int], axes: tuple[str, ...]) -> str:
    shape, rank, noun = tuple(values.shape), len(axes) + 1, axes[1] if len(axes) > 1 else "vectors"
    if len(shape) != rank:
        wanted = ", ".join([*axes, str(width)])
        return f"has rank {len(shape)}, shape {shape}; {noun} have rank {rank}, shape ({wanted})"
    if shape[-1] != width:
        return f"is {shape[-1]} wide; the fusion was built for {width}"
    return f"has a batch of {shape[0]}, modality 0 one of {batch[0]}"
