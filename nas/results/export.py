"""Export: a trial's trained network as a file that others can run, checked on real samples."""

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors.torch import load_file
from torch import Tensor, nn

from nas.datasets import Batch, load_dataset
from nas.errors import RequestError
from nas.network import Network, build
from nas.registry import require_plugins
from nas.results.exported import Description, load, to_safetensors
from nas.results.figures import figure
from nas.results.formats import FILES, WEIGHTS
from nas.results.records import Record
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.stored import read_history
from nas.results.subjects import find_record
from nas.results.wiring import wirings

SAMPLES = 64
TOLERANCE = 1e-4
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        files: The files, the model first.
        samples: Real samples on which the model was compared with the network.
        difference: Largest difference of an output.
    """

    files: list[Path]
    samples: int
    difference: float


def export(run: RunDirectory, number: int, format: str, path: Path) -> Exported:
    """Write a trial's trained network, once it predicts what the network does.

    Args:
        run: The run.
        number: Number of the trial; one that has kept its weights.
        format: `safetensors`, `torch-export` or `onnx`.
        path: A folder, for the model with its card, its architecture and an example; or a file with the
            format's own suffix, for the model alone.

    Raises:
        RequestError: There is no such trial, it has no weights, its network cannot be expressed in
            the format, or the path cannot be written.
    """
    _check_path(format, path)
    _check_packages(format)
    record = find_record(run, number)
    experiment = run.experiment()
    require_plugins(experiment.plugins)
    [(name, options)] = experiment.data.items()
    modalities, task = run.data()
    description = Description(record.architecture, modalities, task, tuple(experiment.plugins))
    network = _trained(run, record, description)
    validation = load_dataset(name, **options).splits["validation"]
    batch = validation.batch(torch.arange(min(SAMPLES, len(validation))))
    content = convert(format, network, description, batch)
    difference = largest_difference(format, content, network, batch)
    if not difference <= TOLERANCE:
        raise RequestError(
            f"trial {number} as {format} differs from the network by {difference:.2g} on real samples, "
            f"more than {TOLERANCE:g}; nothing was written"
        )
    files = _write(run, record, description, format, path, content, batch, difference)
    return Exported(files, len(batch.labels), difference)


def _check_path(format: str, path: Path) -> None:
    suffix = Path(FILES[format]).suffix
    if path.suffix and path.suffix != suffix and not path.is_dir():
        raise RequestError(
            f"-o {path}: a file of the format {format} ends in {suffix}; give such a name, or a folder"
        )


def _check_packages(format: str) -> None:
    missing = [name for name in ONNX_PACKAGES if format == "onnx" and not importlib.util.find_spec(name)]
    if missing:
        raise RequestError(
            f"--format onnx needs {', '.join(missing)}; install them with "
            "`python -m pip install 'small-world-nas[export]'`"
        )


def _trained(run: RunDirectory, record: Record, description: Description) -> Network:
    file = run.weights(record.number)
    if not file.exists():
        kept = [str(member.number) for member in read_history(run).front()]
        raise RequestError(
            f"trial {record.number} has no weights: members of the front alone keep them "
            f"({', '.join(kept) or 'there is none yet'})"
        )
    network = build(description.architecture, description.modalities, description.task)
    network.load_state_dict(load_file(file))
    return network.eval()


class _Named(nn.Module):
    """A network called with one dictionary: inputs by modality, masks as `<modality>_mask`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, named: dict[str, Tensor]) -> Tensor:
        inputs = {name: named[name] for name in self.network.encoders}
        masks = {name: named[f"{name}_mask"] for name in inputs if f"{name}_mask" in named}
        outputs: Tensor = self.network(inputs, masks)
        return outputs


def _named(batch: Batch) -> dict[str, Tensor]:
    masks = {f"{name}_mask": mask for name, mask in (batch.masks or {}).items()}
    return dict(batch.inputs) | masks


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
            return _CONVERTERS[format](program, description, list(_named(batch)))
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise RequestError(f"the network cannot be expressed as {format}: {reason[0]}") from None


def _program(network: Network, batch: Batch) -> Any:
    """The network as a graph for any number of samples."""
    named = _named(batch)
    rows = torch.export.Dim("batch", min=1)
    shapes = {name: {0: rows} for name in named}
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
    named = _named(batch)
    expected = _outputs(network, named)
    run = _RUNNERS[format](content)
    parts = ({name: values[:1] for name, values in named.items()}, named)
    return max(float((run(part) - expected[: len(run(part))]).abs().max()) for part in parts)


def _outputs(network: Network, named: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        outputs: Tensor = _Named(network)(named)
    return outputs


def _run_safetensors(content: bytes) -> Callable[[dict[str, Tensor]], Tensor]:
    import tempfile

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


def _write(
    run: RunDirectory,
    record: Record,
    description: Description,
    format: str,
    path: Path,
    content: bytes,
    batch: Batch,
    difference: float,
) -> list[Path]:
    contents: dict[Path, str | bytes] = {path: content}
    if path.suffix != Path(FILES[format]).suffix or path.is_dir():
        card = _card(run, record, description, format, batch, difference)
        contents = {
            path / FILES[format]: content,
            path / "architecture.json": json.dumps(record.architecture.to_data(), indent=1),
            path / "example.py": _render(
                "example.py.j2",
                format=format,
                file=FILES[format],
                task=description.task,
                inputs=_inputs(batch),
            ),
            path / "README.md": card,
        }
    try:
        for file, text in contents.items():
            write_atomically(file, text)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}; choose another with -o") from None
    return list(contents)


def _inputs(batch: Batch) -> list[tuple[str, list[int], str]]:
    """Name, shape of one sample and type of every input."""
    return [
        (name, list(values.shape[1:]), str(values.dtype).removeprefix("torch."))
        for name, values in _named(batch).items()
    ]


def _card(
    run: RunDirectory,
    record: Record,
    description: Description,
    format: str,
    batch: Batch,
    difference: float,
) -> str:
    experiment = run.experiment()
    [dataset] = experiment.data
    retrained = run.trial(record.number) / "retrained.json"
    tested = json.loads(retrained.read_text(encoding="utf-8")) if retrained.exists() else None
    return _render(
        "card.md.j2",
        name=experiment.name,
        dataset=dataset,
        record=record,
        values={name: figure(value) for name, value in record.values.items()},
        task=description.task,
        inputs=_inputs(batch),
        layers=[
            (
                wiring.layer,
                wiring.edges.in_features,
                wiring.edges.out_features,
                len(wiring.edges),
                len(wiring.edges) / (wiring.edges.in_features * wiring.edges.out_features),
            )
            for wiring in wirings(run, record)
        ],
        sampler=next(iter(experiment.search.sampler)),
        seed=experiment.search.seed,
        tested=tested,
        plugins=description.plugins,
        format=format,
        file=FILES[format],
        samples=len(batch.labels),
        difference=difference,
        tolerance=TOLERANCE,
    )


def _render(template: str, **values: Any) -> str:
    loader = PackageLoader("nas.results", "")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    return environment.get_template(template).render(**values)


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
