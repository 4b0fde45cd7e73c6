"""Conversion: a network as the content of a file, and how far that file is from the network."""

import io
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.datasets import Batch
from nas.errors import RequestError
from nas.network import Network
from nas.results.exported import Description, load, to_safetensors
from nas.results.formats import WEIGHTS

PRESENT = "present"


class _Named(nn.Module):
    """A network called with one dictionary, as `inputs_of` gives it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, named: dict[str, Tensor]) -> Tensor:
        inputs = {name: named[name] for name in self.network.encoders}
        masks = {name: named[f"{name}_mask"] for name in inputs if f"{name}_mask" in named}
        outputs: Tensor = self.network(inputs, masks, named.get(PRESENT))
        return outputs


def inputs_of(batch: Batch) -> dict[str, Tensor]:
    """What an exported network takes: the inputs by modality, masks as `<modality>_mask`, and `present`.

    The last is there where modalities may be missing: bool `(B, M)` over the dataset's modalities.
    """
    masks = {f"{name}_mask": mask for name, mask in (batch.masks or {}).items()}
    present = {} if batch.present is None else {PRESENT: batch.present}
    return dict(batch.inputs) | masks | present


def convert(format: str, network: Network, description: Description, batch: Batch) -> bytes:
    """A network as the content of a file.

    Args:
        format: `safetensors`, `torch-export` or `onnx`.
        network: The network, in evaluation mode.
        description: What it is.
        batch: Samples that show what its inputs look like; at least two.

    Raises:
        RequestError: The network cannot be expressed in the format; says why.
    """
    if format == "safetensors":
        return to_safetensors(network, description)
    try:
        with _silence():
            program = _program(network, batch)
            return _CONVERTERS[format](program, description, list(inputs_of(batch)))
    except Exception as error:
        raise RequestError(f"the network cannot be expressed as {format}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """Why an exporter gave up: what its message has in its middle, or the first line of the first cause."""
    message = str(error)
    if operation := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", message):
        return f"ONNX has no counterpart of {operation[1]}; torch-export and safetensors need none"
    if samples := re.search(r"specialized it to be a constant \((\d+)\)", message):
        return (
            f"a component takes the number of samples for a constant, here {samples[1]}; "
            "in its code write x.shape[0] where it says len(x) or int(…)"
        )
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def _program(network: Network, batch: Batch) -> Any:
    """The network as a graph for any number of samples."""
    named = inputs_of(batch)
    rows = torch.export.Dim("batch", min=1)
    shapes = {name: {0: rows} for name in named}
    # What switches gradients off inside, as a frozen encoder does, is no part of a graph without any.
    with torch.no_grad():
        return torch.export.export(_Named(network), (named,), dynamic_shapes=(shapes,))


def _to_torch_export(program: Any, description: Description, names: list[str]) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files=description.to_metadata())
    return stream.getvalue()


def _to_onnx(program: Any, description: Description, names: list[str]) -> bytes:
    written = torch.onnx.export(
        program,
        dynamo=True,
        external_data=False,
        input_names=names,
        output_names=["outputs"],
        dynamic_shapes=None,
        verbose=False,
    )
    assert written is not None
    written.model.metadata_props.update(description.to_metadata())
    stream: bytes = written.model_proto.SerializeToString()
    return stream


_CONVERTERS: Mapping[str, Callable[[Any, Description, list[str]], bytes]] = {
    "torch-export": _to_torch_export,
    "onnx": _to_onnx,
}


def largest_difference(format: str, content: bytes, network: Network, batch: Batch) -> float:
    """Over all samples at once and one alone: a graph may have kept the number of samples."""
    named = inputs_of(batch)
    expected = _outputs(network, named)
    run = _RUNNERS[format](content)
    parts = ({name: values[:1] for name, values in named.items()}, named)
    return max(float((run(part) - expected[: len(run(part))]).abs().max()) for part in parts)


def _outputs(network: Network, named: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        outputs: Tensor = _Named(network)(named)
    return outputs


def _run_safetensors(content: bytes) -> Callable[[dict[str, Tensor]], Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / WEIGHTS
        file.write_bytes(content)
        network = load(file)
    return lambda named: _outputs(network, named)


def _run_torch_export(content: bytes) -> Callable[[dict[str, Tensor]], Tensor]:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda named: module(named).detach()


def _run_onnx(content: bytes) -> Callable[[dict[str, Tensor]], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content)
    return lambda named: torch.from_numpy(
        session.run(None, {name: values.numpy() for name, values in named.items()})[0]
    )


_RUNNERS: Mapping[str, Callable[[bytes], Callable[[dict[str, Tensor]], Tensor]]] = {
    "safetensors": _run_safetensors,
    "torch-export": _run_torch_export,
    "onnx": _run_onnx,
}


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what the exporters print to themselves."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
