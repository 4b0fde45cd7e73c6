"""The state of a training between two epochs: all that it takes to go on as if nothing had happened."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from nas.training.loop import Steps


def state_of(steps: "Steps", order: torch.Generator, epoch: int, seconds: float) -> dict[str, Any]:
    """The state after an epoch: tensors, numbers and texts alone, as `torch.save` takes them.

    Args:
        steps: The training.
        order: Source of the batches' order.
        epoch: How many epochs it has behind it.
        seconds: How long they took.
    """
    device = next(steps.network.parameters()).device
    return {
        "epoch": epoch,
        "seconds": seconds,
        "network": steps.network.state_dict(),
        "optimizer": steps.optimizer.state_dict(),
        "schedule": steps.schedule.state_dict(),
        "hook": steps.hook.state_dict(),
        "order": order.get_state(),
        "random": torch.get_rng_state(),
        "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore(steps: "Steps", order: torch.Generator, state: Mapping[str, Any]) -> None:
    """Put a training that has not begun where another one was.

    Args:
        steps: The training; of the same network, settings and seed as the other one.
        order: Source of the batches' order.
        state: The other one's `state_of`.
    """
    steps.network.load_state_dict(state["network"])
    left = {id(parameter) for parameter in steps.network.parameters()}
    for group in steps.optimizer.param_groups:  # learnable wiring that was frozen is no parameter any more
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in left]
    steps.optimizer.load_state_dict(state["optimizer"])
    steps.schedule.load_state_dict(state["schedule"])
    steps.hook.load_state_dict(state["hook"], steps.schedule.last_epoch)
    order.set_state(state["order"])
    torch.set_rng_state(state["random"])
    if state["device_random"] is not None:
        torch.cuda.set_rng_state(state["device_random"], next(steps.network.parameters()).device)
