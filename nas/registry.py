"""The registry: every pluggable part of a network or a search, by kind and name.

A kind is a folder of this package; a built-in component is a file in it. Plugins come from files
and folders that the user names, and from installed packages' entry points in `nas.plugins`.
"""

import hashlib
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from nas.errors import RequestError, near_misses

ENTRY_POINT_GROUP = "nas.plugins"


@dataclass(frozen=True)
class Kind:
    """A kind of component: the package that holds the built-in ones, and what the engine passes.

    Args:
        package: Package whose modules register the built-in components.
        given: Constructor arguments that the engine supplies; all others are hyper-parameters.
    """

    package: str
    given: tuple[str, ...] = ()


KINDS = {
    "encoder": Kind("nas.encoders", ("spec", "dim")),
    "topology": Kind("nas.topologies"),
    "connector": Kind("nas.connectors", ("dims",)),
    "fusion": Kind("nas.fusions", ("dims",)),
    "head": Kind("nas.heads", ("in_dim", "out_dim")),
    "rewiring": Kind("nas.rewirings"),
    "dataset": Kind("nas.datasets"),
    "objective": Kind("nas.objectives"),
    "sampler": Kind("nas.search.samplers"),
    "pruner": Kind("nas.search.pruners"),
    "logger": Kind("nas.results.loggers"),
}

_components: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
_complete: set[str] = set()
_importing = threading.RLock()  # held by the one thread that imports components; others wait for all of them


class _Registrations(threading.local):
    """What this thread has registered: kind, name and what it replaced, in order."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, type | None]] = []


_registrations = _Registrations()

C = TypeVar("C", bound=type)


def register(kind: str, name: str, *, override: bool = False) -> Callable[[C], C]:
    """Register the decorated class as component `name` of `kind`.

    Args:
        kind: One of the kinds of `KINDS`.
        name: Name in experiment files; unique within its kind.
        override: Replace a component of that name instead of raising.

    Raises:
        ValueError: The kind is unknown, or the name is taken and `override` is false.
    """
    _require_kind(kind)

    def add(component: C) -> C:
        # A built-in waits for no other thread's import, which may wait for this module.
        if not _is_built_in(component):
            _import_built_ins(kind)  # so that a plugin, not the built-in of that name, is the one refused
        taken = _components[kind].get(name)
        if taken is not None and _same_definition(taken, component):
            taken = None
        if taken is not None and not override:
            raise ValueError(
                f"{kind} {name!r} is registered already, by {taken.__module__}.{taken.__qualname__};"
                " choose another name, or pass override=True to replace it"
            )
        _registrations.made.append((kind, name, taken))
        _components[kind][name] = component
        return component

    return add


def available(kind: str) -> list[str]:
    """Names of all components of `kind`, sorted.

    Raises:
        ValueError: The kind is unknown.
    """
    _require_kind(kind)
    _import_built_ins(kind)
    return sorted(_components[kind])


def get(kind: str, name: str) -> type:
    """The class registered as component `name` of `kind`.

    Raises:
        RequestError: No such component; the message lists the near misses and all names.
        ValueError: The kind is unknown.
    """
    names = available(kind)
    if name not in names:
        raise RequestError(f"there is no {kind} {name!r}; {near_misses(name, names)}")
    return _components[kind][name]


def create(kind: str, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Construct component `name` of `kind`.

    A hyper-parameter that is a component itself is given as an object, or as `{name: {...}}`.

    Raises:
        RequestError: No such component, a hyper-parameter it does not have, none where it needs one, or
            a library that it needs is not installed.
    """
    component = get(kind, name)
    if reason := uninstalled(component):
        raise RequestError(f"{kind} {name!r} {reason}")
    known = hyper_parameters(kind, component)
    for key in kwargs.keys() - set(known) - set(KINDS[kind].given):
        raise RequestError(f"{kind} {name!r} has no hyper-parameter {key!r}; {near_misses(key, known)}")
    told = inspect.signature(component).bind_partial(*args, **kwargs).arguments
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in told:
            raise RequestError(f"{kind} {name!r} needs {key!r}, which has no default; give it")
    nested = component_slots(component)
    settings = {
        key: create_selected(nested[key], value)
        if key in nested and isinstance(value, str | Mapping)
        else value
        for key, value in kwargs.items()
    }
    return component(*args, **settings)


def create_selected(kind: str, selection: str | Mapping[str, Any], *args: Any) -> Any:
    """Construct the component that an architecture selects: a name, or `{name: settings}`.

    Raises:
        RequestError: No component, or not exactly one, is selected; or as `create`.
    """
    selected = {selection: {}} if isinstance(selection, str) else selection
    if not isinstance(selected, Mapping) or len(selected) != 1:
        raise RequestError(f"{selection!r} is no {kind}; give its name, or {{name: settings}}")
    [(name, settings)] = selected.items()
    return create(kind, name, *args, **({} if settings is None else settings))


def hyper_parameters(kind: str, component: type) -> dict[str, inspect.Parameter]:
    """Constructor arguments of a component that an experiment may set, by name."""
    given = KINDS[kind].given
    parameters = inspect.signature(component).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in given and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def unset(kind: str, component: type, given: Container[str] = ()) -> list[str]:
    """Hyper-parameters that nothing gives a value: no default, no domain, not `given`.

    A component that has any cannot be one of `{choice: all}`.
    """
    domains = getattr(component, "domains", {})
    return [
        name
        for name, parameter in hyper_parameters(kind, component).items()
        if parameter.default is parameter.empty and name not in domains and name not in given
    ]


def uninstalled(component: type) -> str | None:
    """Why a component cannot be used here; None where it can.

    A component that needs more than the package itself does names it in its class attribute `extra`: a
    module, and the extra of this package that installs it.
    """
    extra = getattr(component, "extra", None)
    if extra is None:
        return None
    try:
        import_module(extra)
    except Exception as error:  # a library that does not fit another fails in its own way
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"needs {extra}, which does not import ({reason}); pip install 'small-world-nas[{extra}]'"
    return None


def component_slots(component: type) -> dict[str, str]:
    """Hyper-parameters of a component that are components themselves: name to kind."""
    domains: dict[str, Any] = getattr(component, "domains", {})
    return {name: domain.kind for name, domain in domains.items() if hasattr(domain, "kind")}


@dataclass(frozen=True)
class PluginError:
    """A plugin that could not be imported: where it was, and what it raised."""

    plugin: str
    error: str

    def __str__(self) -> str:
        return f"plugin {self.plugin} failed to import: {self.error}"


def load_plugins(paths: Iterable[Path | str]) -> list[PluginError]:
    """Import plugin files, and the `*.py` files of plugin folders; return those that failed.

    One plugin that fails does not take the others down.

    Raises:
        RequestError: A path does not exist.
    """
    files = plugin_files(paths)
    return [failure for file in files if (failure := _attempt(str(file), import_plugin, file))]


def plugin_files(paths: Iterable[Path | str]) -> list[Path]:
    """The files that plugin files and folders stand for.

    Raises:
        RequestError: A path does not exist.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise RequestError(f"plugin {path} does not exist; give a Python file or a folder of them")
        files += sorted(path.glob("[!_.]*.py")) if path.is_dir() else [path]
    return files


def require_plugins(paths: Iterable[Path | str]) -> None:
    """Import the plugins that installed packages announce, and those that a run cannot do without.

    Raises:
        RequestError: One of `paths` does not exist or fails to import.
    """
    load_entry_points()
    for failure in load_plugins(paths):
        raise RequestError(str(failure))


def load_entry_points() -> list[PluginError]:
    """Import the plugins that installed packages announce; return those that failed."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    return [failure for point in points if (failure := _attempt(f"{point.name} ({point.value})", point.load))]


def _attempt(label: str, load: Callable[..., Any], *args: Any) -> PluginError | None:
    before = len(_registrations.made)
    try:
        load(*args)
    except (Exception, SystemExit) as error:
        _take_back(before)
        return PluginError(label, f"{type(error).__name__}: {error}")
    return None


def import_plugin(file: Path, origin: Path | None = None) -> None:
    """Import one plugin file.

    Args:
        file: The file.
        origin: Where it was copied from, perhaps on another machine: its module goes by the same name as
            there, so that its objects can be sent from one to the other.
    """
    digest = hashlib.sha256(str((origin or file).resolve()).encode()).hexdigest()[:8]
    name = f"nas_plugin_{file.stem.replace('.', '_')}_{digest}"
    spec = spec_from_file_location(name, file)
    if spec is None:
        raise ImportError(f"{file} is not a Python file")
    _PluginFinder.specs[name] = spec
    import_module(name)


class _PluginFinder:
    """Has Python import plugin files as other modules, so that of several threads one executes a file."""

    specs: ClassVar[dict[str, ModuleSpec]] = {}

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return cls.specs.get(name)


sys.meta_path.append(_PluginFinder)


def _take_back(before: int) -> None:
    """Undo the registrations of a plugin that failed, down to the number there were before it.

    Built-ins that it made us import stay, and another thread may have undone the same.
    """
    for kind, name, replaced in reversed(_registrations.made[before:]):
        if replaced is not None:
            _components[kind][name] = replaced
        elif name in _components[kind] and not _is_built_in(_components[kind][name]):
            del _components[kind][name]
    del _registrations.made[before:]


def _import_built_ins(kind: str) -> None:
    with _importing:
        if kind in _complete:
            return
        _complete.add(kind)  # first, because the modules imported here may ask for components
        try:
            package = import_module(KINDS[kind].package)
            for module in pkgutil.iter_modules(package.__path__):
                if not module.name.startswith("_"):
                    import_module(f"{package.__name__}.{module.name}")
        except BaseException:
            _complete.discard(kind)
            raise


def is_plugin(module: str) -> bool:
    """Whether a module, by its name, has registered a component and is none of this package."""
    registered = (component for components in _components.values() for component in components.values())
    return any(component.__module__ == module and not _is_built_in(component) for component in registered)


def _is_built_in(component: type) -> bool:
    return component.__module__.startswith("nas.")


def _same_definition(one: type, other: type) -> bool:
    """A module imported again defines its classes again: that is no clash of names."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not a kind of component; {near_misses(kind, KINDS)}")
