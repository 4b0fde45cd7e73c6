"""Search, learn and evolve the wiring of multi-modal neural networks.

Names are imported on first use, so that `import nas` costs milliseconds and only what needs
torch loads it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.contract import check_component as check_component
    from nas.datasets import Batch as Batch
    from nas.datasets import Dataset as Dataset
    from nas.datasets import Split as Split
    from nas.datasets import load_dataset as load_dataset
    from nas.errors import RequestError as RequestError
    from nas.modality import ModalitySpec as ModalitySpec
    from nas.modality import Task as Task
    from nas.network import Network as Network
    from nas.network import build as build
    from nas.registry import available as available
    from nas.registry import create as create
    from nas.registry import get as get
    from nas.registry import register as register
    from nas.registry import require_plugins as require_plugins
    from nas.results.exported import load as load
    from nas.space import Architecture as Architecture
    from nas.space import Choice as Choice
    from nas.space import Component as Component
    from nas.space import Expression as Expression
    from nas.space import Float as Float
    from nas.space import Int as Int
    from nas.space import Modality as Modality
    from nas.space import SearchSpace as SearchSpace
    from nas.sparse import SparseLinear as SparseLinear
    from nas.topologies import Edges as Edges

__version__ = "0.1.0"

_HOMES = {
    "nas.contract": ("check_component",),
    "nas.datasets": ("Batch", "Dataset", "Split", "load_dataset"),
    "nas.errors": ("RequestError",),
    "nas.modality": ("ModalitySpec", "Task"),
    "nas.network": ("Network", "build"),
    "nas.registry": ("available", "create", "get", "register", "require_plugins"),
    "nas.space": (
        "Architecture",
        "Choice",
        "Component",
        "Expression",
        "Float",
        "Int",
        "Modality",
        "SearchSpace",
    ),
    "nas.results.exported": ("load",),
    "nas.sparse": ("SparseLinear",),
    "nas.topologies": ("Edges",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [*_HOME_OF, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
