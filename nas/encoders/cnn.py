"""`cnn`: a small convolutional network for images (two layers after LeCun et al. 1998)."""

from nas.encoders._convolution import POOL, ConvolutionEncoder
from nas.registry import register


@register("encoder", "cnn")
class CNN(ConvolutionEncoder):
    """Two convolutions and a global average over an image `(channels, height, width)`: one token.

    Conv 3×3 → ReLU → max-pool 2 → conv 3×3 → ReLU → global average → linear.

    Args:
        spec: The image modality, with any number of channels, at least 2×2.
        dim: Width of the token.
        width: Channels of the first convolution; the second has twice as many.
    """

    kinds = ("image",)
    layouts = {"image": ((1, POOL, POOL),)}
