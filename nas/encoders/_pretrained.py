"""What the encoders share that take a whole model from another library."""

import torch
from torch import Tensor, nn

from nas.space import Choice

TUNE = Choice("frozen", "full")


class PretrainedEncoder(nn.Module):
    """A model, trained or left as it is, and a linear map of what it gives.

    A frozen model has no trainable parameters, keeps nothing for gradients and stays in eval mode.

    Args:
        model: The model of the other library.
        width: Width of what it gives.
        dim: Width of the tokens.
        tune: `frozen` trains the linear map alone, `full` the model too.

    Raises:
        ValueError: `tune` is neither.
    """

    domains = {"tune": TUNE}

    def __init__(self, model: nn.Module, width: int, dim: int, tune: str) -> None:
        super().__init__()
        if not TUNE.contains(tune):
            raise ValueError(f"tune must be one of {TUNE}, not {tune!r}")
        self.frozen = tune == "frozen"
        self.model = model.requires_grad_(not self.frozen).train(not self.frozen)
        self.project = nn.Linear(width, dim)

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Set the mode, but for a frozen model."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def features(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What the model makes of the inputs, `(B, T, width)`."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Inputs `(B, …)` to tokens `(B, T, dim)`; `mask`, bool `(B, T)`, is true for real token ids."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.features(x, mask)
        tokens: Tensor = self.project(features)
        return tokens
