"""Exported networks: one safetensors file that rebuilds a network without its experiment."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nas.errors import RequestError
from nas.modality import ModalitySpec, Preprocessing, Task
from nas.network import Network, build
from nas.registry import get, require_plugins
from nas.results.formats import WEIGHTS
from nas.space import Architecture

FORMAT = "nas-1"
PASSING = "as nas.load(path, plugins=[…]), or to nas.predict with --plugins"


@dataclass(frozen=True)
class Description:
    """What rebuilds a network, apart from its weights.

    Args:
        architecture: What it is.
        modalities: What it reads, by name.
        task: What it predicts.
        plugins: Files of the plugins that its search needed.
        preprocessing: How samples become its inputs; None where a file does not say it.
    """

    architecture: Architecture
    modalities: Mapping[str, ModalitySpec]
    task: Task
    plugins: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def to_metadata(self) -> dict[str, str]:
        """As text by key, as model files keep it."""
        return {
            "format": FORMAT,
            "architecture": json.dumps(self.architecture.to_data()),
            "modalities": json.dumps({name: spec.to_data() for name, spec in self.modalities.items()}),
            "task": json.dumps(self.task.to_data()),
            "plugins": json.dumps(list(self.plugins)),
            "preprocessing": json.dumps(self.preprocessing and self.preprocessing.to_data()),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Description":
        """From what `to_metadata` gave."""
        modalities: dict[str, Any] = json.loads(metadata["modalities"])
        preprocessing = json.loads(metadata.get("preprocessing", "null"))
        return cls(
            Architecture(json.loads(metadata["architecture"])),
            {name: ModalitySpec.from_data(spec) for name, spec in modalities.items()},
            Task.from_data(json.loads(metadata["task"])),
            tuple(json.loads(metadata["plugins"])),
            preprocessing and Preprocessing.from_data(preprocessing),
        )


def to_safetensors(network: Network, description: Description) -> bytes:
    """The file from which `load` rebuilds a network."""
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    portable = replace(description, architecture=_portable(description.architecture))
    return save(state, metadata=portable.to_metadata())


def _portable(architecture: Architecture) -> Architecture:
    """The architecture with encoders that need none of the files which they have begun with."""
    tree = architecture.to_data()
    for slot in tree.get("encoders", {}).values():
        for name, settings in slot.items() if isinstance(slot, dict) else ():
            if portable := getattr(get("encoder", name), "portable", None):
                slot[name] = portable(settings)
    return Architecture(tree)


def load(path: Path | str, plugins: Iterable[Path | str] = ()) -> Network:
    """Rebuild an exported network, ready to predict: on the CPU and in evaluation mode.

    Args:
        path: The safetensors file that `nas.export` wrote, or its folder.
        plugins: Files of the plugins that register what the network is made of.

    Raises:
        RequestError: There is no such file, it is not one of ours, or it needs a plugin.

    >>> network = nas.load("exported/")                                # doctest: +SKIP
    >>> network({"image": images, "text": tokens}, {"text": mask})     # doctest: +SKIP
    """
    network, _ = load_described(path, plugins)
    return network


def load_described(path: Path | str, plugins: Iterable[Path | str] = ()) -> tuple[Network, Description]:
    """What `load` gives, and what the file says of it; arguments and errors as those of `load`."""
    file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise RequestError(
            f"{file} does not exist; write it with `python -m nas.export RUN_DIR --trial N "
            "--format safetensors -o PATH`"
        )
    description, state = read_safetensors(file)
    require_plugins(plugins)
    with told(f"{file} cannot be rebuilt", description.plugins):
        network = build(description.architecture, description.modalities, description.task)
        network.load_state_dict(state)
    return network.eval(), description


@contextmanager
def told(what: str, plugins: Sequence[str] = ()) -> Iterator[None]:
    """Turns what keeps a stored network from being used into one line, with the plugins it may lack.

    Args:
        what: What cannot be done, as the beginning of that line.
        plugins: Those of its search, which whoever uses it has to name.

    Raises:
        RequestError: A component is not there, or not what it was: a file that it reads is gone, say.
    """
    try:
        yield
    except (RequestError, ValueError, OSError, RuntimeError) as error:
        reason = str(error).removesuffix(".")
        if plugins:
            reason += f". Plugins of its search: {', '.join(plugins)}; pass their files {PASSING}"
        raise RequestError(f"{what}: {reason}") from None


def read_safetensors(file: Path) -> tuple[Description, dict[str, Any]]:
    """What a file of `to_safetensors` says of its network, and the weights.

    Raises:
        RequestError: It is none.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{file} is not a safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise RequestError(
            f"{file} was not written by nas.export: it does not say what network it holds; "
            "weights in a run directory are exported with `python -m nas.export`"
        )
    return Description.from_metadata(metadata), state
