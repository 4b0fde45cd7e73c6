"""`timm`: an image model of the timm library."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from nas.encoders._pretrained import PretrainedEncoder
from nas.modality import ModalitySpec, check_spec
from nas.registry import register

COLOURS = 3
SUFFIXES = (".safetensors", ".pth")
WRAPPERS = ("state_dict", "model")  # keys under which checkpoints keep the weights


@register("encoder", "timm")
class TimmEncoder(PretrainedEncoder):
    """The pooled features of a timm model (Wightman, PyTorch Image Models, 2019), then linear: one token.

    Weights come from a file, safetensors or a checkpoint that `torch.load` reads without unpickling, or
    from a folder with a file for each model, such as `resnet18.safetensors`: then the name can be
    searched. Nothing is downloaded. A model whose image size is fixed has the images resized to it.

    Args:
        spec: The image modality. With pretrained weights it has three channels, or one.
        dim: Width of the token.
        name: Name of the model, such as `resnet18`.
        weights: File of its weights, or a folder of such; None starts from random ones.
        tune: `frozen` trains the linear map alone, `full` the model too.
        load: Whether the weights are read; a stored network has them of its own.

    Raises:
        ValueError: The modality is no image, there is no such model, its images are larger, or the weights
            do not fit it.
    """

    kinds = ("image",)
    layouts = {"image": ((1, 1, 1),)}
    paths = ("weights",)
    extra = "timm"

    def __init__(
        self,
        spec: ModalitySpec,
        dim: int,
        name: str,
        weights: str | Path | None = None,
        tune: str = "full",
        load: bool = True,
    ) -> None:
        check_spec(type(self), spec)
        channels = COLOURS if weights else spec.shape[0]
        if spec.shape[0] not in (1, channels):
            raise ValueError(f"pretrained weights are of images of {channels} channels, not {spec.shape[0]}")
        model = _create(name, channels)
        if weights and load:
            _load(model, _file(Path(weights), name))
        known: dict[str, Any] = getattr(model, "pretrained_cfg", {})
        size = tuple(known["input_size"][1:]) if known.get("fixed_input_size") else None
        super().__init__(model, _width(model, name, (channels, *(size or spec.shape[1:]))), dim, tune)
        self.channels, self.size = channels, size

    @staticmethod
    def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that build the same network without the file of its weights."""
        return {**settings, "load": False}

    def features(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Pooled features `(B, 1, width)` of images `(B, channels, height, width)`."""
        if self.size is not None:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        pooled: Tensor = self.model(x.expand(-1, self.channels, -1, -1))
        return pooled[:, None]


def _create(name: str, channels: int) -> nn.Module:
    import timm

    if not isinstance(name, str) or ":" in name:  # which names a model of a hub, or a folder
        raise ValueError(f"name: {name!r} is no name of a model of timm, and nothing is downloaded")
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels)
    except RuntimeError as error:
        raise ValueError(f"timm has no model {name!r}: {error}; timm.list_models() names all") from error
    return model


def _width(model: nn.Module, name: str, shape: tuple[int, ...]) -> int:
    """Width of what a model gives of images of a shape."""
    try:
        with torch.no_grad():
            pooled: Tensor = model.eval()(torch.zeros(1, *shape))
    except RuntimeError as error:
        sides = "×".join(map(str, shape[1:]))
        raise ValueError(
            f"{name} cannot read images of {sides} ({error}); give the data a larger size"
        ) from None
    return pooled.shape[-1]


def _file(weights: Path, name: str) -> Path:
    """The file of a model's weights: the one that is given, or that of its name in a folder."""
    if not weights.is_dir():
        return weights
    for suffix in SUFFIXES:
        if (file := weights / f"{name}{suffix}").is_file():
            return file
    raise ValueError(f"{weights} is a folder without {name}.safetensors or {name}.pth; give the file")


def _load(model: nn.Module, file: Path) -> None:
    """Load weights into a model; those of a classifier, which it does not have, are left out."""
    try:
        weights = _read(file)
        lost = model.load_state_dict(weights, strict=False).missing_keys
    except UnpicklingError:
        raise ValueError(
            f"{file} cannot be loaded: it is no file of weights, or holds more than weights, and nothing is"
            " unpickled; save the state_dict alone, as safetensors or with torch.save"
        ) from None
    except EOFError:
        raise ValueError(f"the weights in {file} cannot be loaded: the file ends before they do") from None
    except (OSError, RuntimeError, TypeError, SafetensorError) as error:
        raise ValueError(f"the weights in {file} cannot be loaded: {' '.join(str(error).split())}") from error
    if lost:
        raise ValueError(f"the weights in {file} are of another model: they lack {', '.join(lost[:3])}")


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        return load_file(file)
    state = torch.load(file, "cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"it holds a {type(state).__name__}, not weights by their names")
    return next((state[key] for key in WRAPPERS if key in state), state)
