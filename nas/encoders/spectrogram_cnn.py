"""`spectrogram_cnn`: the image `cnn` on a spectrogram (two layers after LeCun et al. 1998)."""

from nas.encoders._convolution import POOL, ConvolutionEncoder
from nas.registry import register


@register("encoder", "spectrogram_cnn")
class SpectrogramCNN(ConvolutionEncoder):
    """Two convolutions and a global average over a spectrogram `(1, mel bands, frames)`: one token.

    Conv 3×3 → ReLU → max-pool 2 → conv 3×3 → ReLU → global average → linear.

    Args:
        spec: The audio modality, at least 2×2.
        dim: Width of the token.
        width: Channels of the first convolution; the second has twice as many.
    """

    kinds = ("audio",)
    layouts = {"audio": ((1, POOL, POOL),)}
