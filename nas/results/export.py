"""Export: a trial's trained network as a file that others can run, checked on real samples."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors.torch import load_file

from nas.datasets import Batch, load_dataset
from nas.errors import RequestError
from nas.experiment import Experiment
from nas.network import Network, build
from nas.registry import require_plugins
from nas.results.conversion import convert, inputs_of, largest_difference
from nas.results.exported import Description, read_safetensors, told
from nas.results.figures import figure, with_deviation
from nas.results.formats import FILES
from nas.results.records import Record, spread_out
from nas.results.retrained import Retrained, Training, read, seed_of
from nas.results.run_directory import RunDirectory, write_atomically
from nas.results.stored import read_history
from nas.results.subjects import Subject, find_record
from nas.training.wiring import sparse_layers

SAMPLES = 64
TOLERANCE = 1e-4
MENTIONED = 8  # members of the front, in a message
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ARCHITECTURE, CARD, EXAMPLE = "architecture.json", "README.md", "example.py"


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


@dataclass(frozen=True)
class _Model:
    """What is taken away, with what its card tells of it.

    Args:
        record: The trial.
        description: What rebuilds the network.
        network: The network, in evaluation mode.
        retrained: What retraining has found out about it; None where there was none.
        training: Which of its trainings gave the weights; None for that of the search.
        format: That of the file.
        batch: Real samples.
        difference: Largest difference between the file and the network on them.
    """

    record: Record
    description: Description
    network: Network
    retrained: Retrained | None
    training: Training | None
    format: str
    batch: Batch
    difference: float


def export(run: RunDirectory, number: int, format: str, path: Path, training: int | None = None) -> Exported:
    """Write a trial's trained network, once it predicts what the network does.

    Args:
        run: The run.
        number: Number of the trial.
        format: `safetensors`, `torch-export` or `onnx`.
        path: A folder, for the model with its card, its architecture and an example; or a file with the
            format's own suffix, for the model alone.
        training: Number of a training of its retraining, from 0, whose weights are taken; None for those
            of the search, which members of the front keep.

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
    retrained = read(run, Subject(f"trial {number}", record.architecture, number))
    chosen = None if training is None else _training(run, experiment, record, retrained, training)
    weights = _weights(run, record, training)
    description = _description(run, record, weights, training)
    network = _trained(description, weights)
    validation = load_dataset(name, **options).splits["validation"]
    batch = _read_by(network, validation.batch(torch.arange(min(SAMPLES, len(validation)))))
    content = convert(format, network, description, batch)
    difference = largest_difference(format, content, network, batch)
    if not difference <= TOLERANCE:
        raise RequestError(
            f"trial {number} as {format} differs from the network by {difference:.2g} on real samples, "
            f"more than {TOLERANCE:g}; nothing was written"
        )
    model = _Model(record, description, network, retrained, chosen, format, batch, difference)
    return Exported(_write(run, model, path, content), len(batch.labels), difference)


def _read_by(network: Network, batch: Batch) -> Batch:
    """The samples without the modalities that a network leaves out; `present` is over all of them."""
    inputs = {name: batch.inputs[name] for name in network.encoders}
    masks = {name: mask for name, mask in batch.masks.items() if name in inputs}
    return replace(batch, inputs=inputs, masks=masks)


def _check_path(format: str, path: Path) -> None:
    if path.is_dir():
        _check_folder(format, path)
    elif path.suffix and not _is_file(format, path):
        raise RequestError(
            f"-o {path}: a file of the format {format} ends in {Path(FILES[format]).suffix}; "
            "give such a name, or a folder"
        )
    elif path.exists() and not _is_file(format, path):
        raise RequestError(f"-o {path} is a file; give the name of a folder, or of a file with a suffix")


def _check_folder(format: str, folder: Path) -> None:
    """Refuse to write over what was not exported."""
    if (folder / ARCHITECTURE).exists():
        return
    for name in (FILES[format], CARD, EXAMPLE):
        if (folder / name).exists():
            raise RequestError(
                f"{folder} holds a {name} that is not of an export; choose another folder with -o"
            )


def _is_file(format: str, path: Path) -> bool:
    """Whether a path names the model alone."""
    return path.suffix == Path(FILES[format]).suffix and not path.is_dir()


def _check_packages(format: str) -> None:
    missing = [name for name in ONNX_PACKAGES if format == "onnx" and not importlib.util.find_spec(name)]
    if missing:
        raise RequestError(
            f"--format onnx needs {', '.join(missing)}; install them with "
            "`python -m pip install 'small-world-nas[export]'`"
        )


def _training(
    run: RunDirectory, experiment: Experiment, record: Record, retrained: Retrained | None, index: int
) -> Training:
    """One training of a trial's retraining."""
    command = f"`python -m nas.retrain {run.path} --trial {record.number}`"
    if retrained is None:
        raise RequestError(f"trial {record.number} has not been retrained; {command} does that")
    seed = seed_of(experiment, retrained.subject, index)
    found = next((one for one in retrained.trainings if one.seed == seed), None)
    if found is None:
        raise RequestError(
            f"trial {record.number} has no training {index}: it was retrained {len(retrained.trainings)} "
            f"times, counted from 0; {command} with --seeds {index + 1} does more"
        )
    return found


def _weights(run: RunDirectory, record: Record, training: int | None) -> Path:
    """The file of the weights; there is one."""
    number = record.number
    again = f"`python -m nas.retrain {run.path} --trial {number}`"
    if training is not None:
        file = Subject(f"trial {number}", record.architecture, number).weights(run, training)
        if not file.exists():
            raise RequestError(f"{file} is not there any more; {again} makes it again")
        return file
    if not run.weights(number).exists():
        members = spread_out(read_history(run).front(), MENTIONED)
        kept = ", ".join(str(member.number) for member in members) or "there is none yet"
        raise RequestError(
            f"trial {number} has no weights: members of the front alone keep them ({kept}); "
            f"{again} trains it again, for an export with --retrained"
        )
    return run.weights(number)


def _description(run: RunDirectory, record: Record, weights: Path, training: int | None) -> Description:
    """What rebuilds the network; its data are prepared as they were when it was trained."""
    if training is not None:
        kept, _ = read_safetensors(weights)
        return replace(kept, architecture=record.architecture)
    plugins = tuple(run.experiment().plugins)
    return Description(record.architecture, *run.data(), plugins, run.preprocessing())


def _trained(description: Description, weights: Path) -> Network:
    with told(f"the network of {weights} cannot be rebuilt"):
        network = build(description.architecture, description.modalities, description.task)
        network.load_state_dict(load_file(weights))
    return network.eval()


def _write(run: RunDirectory, model: _Model, path: Path, content: bytes) -> list[Path]:
    contents: dict[Path, str | bytes] = {path: content}
    if not _is_file(model.format, path):
        file, task, inputs = FILES[model.format], model.description.task, _inputs(model.batch)
        contents = {
            path / file: content,
            path / ARCHITECTURE: json.dumps(model.record.architecture.to_data(), indent=1),
            path / EXAMPLE: _render(
                "example.py.j2", format=model.format, file=file, task=task, inputs=inputs
            ),
            path / CARD: _card(run, model),
        }
    try:
        for target, text in contents.items():
            write_atomically(target, text)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}; choose another with -o") from None
    return list(contents)


def _inputs(batch: Batch) -> list[tuple[str, list[int], str]]:
    """Name, shape of one sample and type of every input."""
    return [
        (name, list(values.shape[1:]), str(values.dtype).removeprefix("torch."))
        for name, values in inputs_of(batch).items()
    ]


def _card(run: RunDirectory, model: _Model) -> str:
    experiment, preprocessing = run.experiment(), model.description.preprocessing
    return _render(
        "card.md.j2",
        name=experiment.name,
        data=experiment.data_name,
        reads_new=bool(preprocessing and preprocessing.learnt) and model.format == "safetensors",
        record=model.record,
        values={name: figure(value) for name, value in model.record.values.items()},
        task=model.description.task,
        inputs=_inputs(model.batch),
        modalities=list(model.description.modalities),
        unused=[name for name in model.description.modalities if name not in model.network.encoders],
        layers=list(_layers(model.network)),
        sampler=next(iter(experiment.search.sampler)),
        seed=experiment.search.seed,
        retrained=model.retrained,
        tested=list(_tested(model)),
        training=model.training,
        plugins=model.description.plugins,
        format=model.format,
        file=FILES[model.format],
        samples=len(model.batch.labels),
        difference=model.difference,
        tolerance=TOLERANCE,
    )


def _layers(network: Network) -> Iterator[tuple[str, int, int, int, float]]:
    """Name, inputs, outputs, edges and density of every sparse layer."""
    for name, layer in sparse_layers(network):
        edges = layer.edges
        size = edges.in_features * edges.out_features
        yield name, edges.in_features, edges.out_features, len(edges), len(edges) / size


def _tested(model: _Model) -> Iterator[tuple[str, str, str]]:
    """Per measure on the test split: its name, that of the exported training, and the mean of all."""
    for name, (mean, deviation) in (model.retrained.summary() if model.retrained else {}).items():
        own = figure(model.training.test[name]) if model.training else ""
        yield name, own, with_deviation(mean, deviation)


def _render(template: str, **values: Any) -> str:
    loader = PackageLoader("nas.results", "")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    return environment.get_template(template).render(**values)
