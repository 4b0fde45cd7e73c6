"""What may take part in a training beside the loop: hooks, called step by step."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from nas.datasets import Batch


class Hook:
    """Takes part in a training; every method does nothing unless a subclass says what.

    Steps are counted from 0 through the whole training.
    """

    def batch(self, step: int, batch: Batch) -> Batch:
        """The batch from which the network shall learn in this step."""
        return batch

    def before_step(self, step: int) -> None:
        """Called before the network is run."""

    def total_loss(self, step: int, loss: Tensor, batch: Batch) -> Tensor:
        """The loss whose gradients are taken, from that of the network's outputs."""
        return loss

    def before_update(self, step: int, batch: Batch) -> None:
        """Called between the gradients and the optimiser's step."""

    def skips(self, step: int) -> bool:
        """Whether the optimiser leaves out this step."""
        return False

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step."""

    def metrics(self) -> dict[str, float]:
        """What is to be noted of an epoch, by name."""
        return {}

    def finish(self) -> None:
        """Called once, after the last step."""

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` holds all that it knows."""
        return True

    def state_dict(self) -> dict[str, Any]:
        """What it knows between two epochs that the network and the optimiser do not: tensors and numbers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Take over a `state_dict`, after network and optimiser have been restored; `step` comes next."""


class Hooks(Hook):
    """Several hooks as one, called in their order.

    Args:
        hooks: The hooks.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self.hooks = hooks

    def batch(self, step: int, batch: Batch) -> Batch:
        """What is left of the batch after every hook."""
        for hook in self.hooks:
            batch = hook.batch(step, batch)
        return batch

    def before_step(self, step: int) -> None:
        """Every hook's own."""
        for hook in self.hooks:
            hook.before_step(step)

    def total_loss(self, step: int, loss: Tensor, batch: Batch) -> Tensor:
        """What every hook has made of it."""
        for hook in self.hooks:
            loss = hook.total_loss(step, loss, batch)
        return loss

    def before_update(self, step: int, batch: Batch) -> None:
        """Every hook's own."""
        for hook in self.hooks:
            hook.before_update(step, batch)

    def skips(self, step: int) -> bool:
        """Whether any of them does."""
        return any(hook.skips(step) for hook in self.hooks)

    def after_step(self, step: int) -> None:
        """Every hook's own."""
        for hook in self.hooks:
            hook.after_step(step)

    def metrics(self) -> dict[str, Any]:
        """Those of all hooks."""
        return {name: value for hook in self.hooks for name, value in hook.metrics().items()}

    def finish(self) -> None:
        """Every hook's own."""
        for hook in self.hooks:
            hook.finish()

    @property
    def resumable(self) -> bool:
        """Whether all of them are."""
        return all(hook.resumable for hook in self.hooks)

    def state_dict(self) -> dict[str, Any]:
        """Those of all hooks, by their places."""
        return {str(place): hook.state_dict() for place, hook in enumerate(self.hooks)}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Every hook's own."""
        for place, hook in enumerate(self.hooks):
            hook.load_state_dict(state[str(place)], step)
