"""The state of a training between two epochs: all that it takes to go on as if nothing had happened."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from nas.training.loop import Steps


Draws = Mapping[str, torch.Generator]
"""What is drawn from by name: `order` for the batches' order, `cpu` or `cuda` for dropout and all else."""


def torchs_own(device: torch.device) -> dict[str, torch.Generator]:
    """The generators from which a network on the device draws where none is named."""
    own = {"cpu": torch.default_generator}
    return own | {"cuda": torch.cuda.default_generators[device.index]} if device.type == "cuda" else own


def state_of(steps: "Steps", draws: Draws, epoch: int, seconds: float) -> dict[str, Any]:
    """The state after an epoch: tensors, numbers and texts alone, as `torch.save` takes them.

    Args:
        steps: The training.
        draws: What it draws from.
        epoch: How many epochs it has behind it.
        seconds: How long they took.
    """
    return {
        "epoch": epoch,
        "seconds": seconds,
        "network": steps.network.state_dict(),
        "optimizer": steps.optimizer.state_dict(),
        "schedule": steps.schedule.state_dict(),
        "hook": steps.hook.state_dict(),
        "draws": {name: generator.get_state() for name, generator in draws.items()},
    }


def restore(steps: "Steps", draws: Draws, state: Mapping[str, Any]) -> None:
    """Put a training that has not begun where another one was.

    Args:
        steps: The training; of the same network, settings and seed as the other one.
        draws: What it draws from.
        state: The other one's `state_of`.
    """
    steps.network.load_state_dict(state["network"])
    left = {id(parameter) for parameter in steps.network.parameters()}
    for group in steps.optimizer.param_groups:  # learnable wiring that was frozen is no parameter any more
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in left]
    steps.optimizer.load_state_dict(state["optimizer"])
    steps.schedule.load_state_dict(state["schedule"])
    steps.hook.load_state_dict(state["hook"], steps.schedule.last_epoch)
    for name in draws.keys() & state["draws"].keys():
        draws[name].set_state(state["draws"][name])
