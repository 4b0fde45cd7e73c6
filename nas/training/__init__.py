"""Training: one loop from a network and a dataset to per-epoch metrics."""

from nas.training.loop import Epoch, predict, train

__all__ = ["Epoch", "predict", "train"]
