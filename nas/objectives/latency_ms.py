"""`latency_ms`: time of one forward pass of one sample."""

import time
from statistics import median

import torch

from nas.objectives import Context
from nas.registry import register

WARM_UP, REPEATS = 5, 30


@register("objective", "latency_ms")
class Latency:
    """Median milliseconds of one sample's forward pass without gradients.

    Measured before the training, on the device and with the threads of the worker, after a warm-up.
    Times are noisy: other work on the machine is in them.
    """

    direction = "minimize"
    cheap = True
    logged = False

    def __call__(self, context: Context) -> float:
        """Milliseconds, greater than 0."""
        times = []
        with context.predicting():
            for _ in range(WARM_UP + REPEATS):
                started = time.perf_counter()
                context.forward()
                if context.sample.labels.is_cuda:
                    torch.cuda.synchronize(context.sample.labels.device)
                times.append(time.perf_counter() - started)
        return 1000 * median(times[WARM_UP:])
