"""Networks of one shape as one: stacked tensors, over which the network is mapped by `torch.func`."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from nas.datasets import Batch
from nas.network import Network
from nas.training.dropout import Played
from nas.training.precision import outputs_of


class Stacked:
    """The weights of P networks as the rows of one matrix, and their other tensors, stacked.

    Args:
        networks: Networks of one shape; they stay as they are.
        learned: Names of the parameters that learn; all else is constant but for what the network
            itself changes, such as running means.
        precision: As `training.precision` of an experiment.

    Attributes:
        weights: `(P, N)`: what learns of every network, in the order of `learned`.
        constants: All else by name, `(P, …)`.
    """

    def __init__(
        self, networks: Sequence[Network], learned: Sequence[str], precision: str = "float32"
    ) -> None:
        self.precision = precision
        self.template = copy.deepcopy(networks[0])
        self.learned = list(learned)
        parts = [[tensors(network)[name] for name in learned] for network in networks]
        self.shapes = [part.shape for part in parts[0]]
        self.weights = torch.stack([torch.cat([part.flatten() for part in row]) for row in parts])
        rest = [name for name in tensors(networks[0]) if name not in self.learned]
        self.constants = {name: torch.stack([tensors(n)[name] for n in networks]) for name in rest}

    def leaves(self) -> dict[str, Tensor]:
        """The stacked parameters by name, `(P, …)`: leaves that share the memory of `weights`."""
        return {name: part.requires_grad_() for name, part in self.parts(self.weights).items()}

    def parts(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows like those of `weights` by the names of the parameters, `(P, …)`, in the same memory."""
        parts = rows.split([shape.numel() for shape in self.shapes], 1)
        return {
            name: part.view(len(part), *shape)
            for name, part, shape in zip(self.learned, parts, self.shapes, strict=True)
        }

    def outputs(
        self,
        leaves: Mapping[str, Tensor],
        batch: Batch,
        noise: Sequence[Tensor] | None = None,
        shared: bool = False,
    ) -> Tensor:
        """Outputs `(P, B, out_dim)` of every network.

        Args:
            leaves: Stacked parameters by name.
            batch: Samples of every network, `(P, B, …)`, or `(B, …)` for all of them.
            noise: What every dropout multiplies its input by, `(P, …)`; None predicts, without dropout.
            shared: Whether all networks are given the same samples.
        """
        self.template.train(noise is not None)
        axis = None if shared else 0
        given: dict[str, Any] = {"inputs": dict(batch.inputs), "masks": dict(batch.masks)}
        given |= {"labels": batch.labels}
        given |= {} if batch.present is None else {"present": batch.present}

        def one(own: Any, given: Any, noise: Any) -> Any:
            with Played(noise):
                network = lambda *given: functional_call(self.template, own, given)  # noqa: E731
                return outputs_of(network, Batch(**given), self.precision)

        mapped = torch.vmap(one, in_dims=(0, axis, 0), randomness="error")
        outputs: Tensor = mapped({**leaves, **self.constants}, given, list(noise or ()))
        return outputs

    def keep(self, rows: Tensor) -> None:
        """Go on with the networks of some rows."""
        self.weights = self.weights[rows]
        self.constants = {name: tensor[rows] for name, tensor in self.constants.items()}

    @torch.no_grad()
    def hand_back(self, networks: Sequence[Network]) -> None:
        """Give every network the tensors of its row."""
        leaves = self.leaves()
        for row, network in enumerate(networks):
            for name, tensor in tensors(network).items():
                tensor.copy_((leaves[name] if name in leaves else self.constants[name])[row])


def tensors(network: Network) -> dict[str, Tensor]:
    """Parameters and buffers by name, without gradients."""
    named = [*network.named_parameters(), *network.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}
