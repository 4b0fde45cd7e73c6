"""What the objectives share that take gradients of an untrained network."""

import torch
from torch import Tensor

from nas.objectives import Context
from nas.training.criterion import Criterion


def loss_gradients(context: Context) -> list[tuple[Tensor, Tensor]]:
    """Every parameter with the gradient of the loss on some training samples, without dropout.

    Those that the loss does not reach are left out. The network is as it was.
    """
    network, batch, training = context.network, context.some, context.network.training
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            outputs = network(batch.inputs, batch.masks, batch.present)
            loss = Criterion(context.task)(outputs, batch.labels)
            parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        network.train(training)
    return [(p, slope) for p, slope in zip(parameters, found, strict=True) if slope is not None]
