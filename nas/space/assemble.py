"""From the data of a space file to a `SearchSpace`, with the registry's components filled in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from nas.errors import KeyPathError, RequestError, near_misses
from nas.modality import ModalitySpec, encoder_misfit
from nas.registry import available, get, hyper_parameters, uninstalled, unset
from nas.space.architecture import Architecture
from nas.space.domains import (
    Choice,
    Component,
    Domain,
    Expression,
    Float,
    Int,
    Modality,
    domain_from_data,
    for_modalities,
    ranges_over_modalities,
)
from nas.space.presence import ALL, EITHER, Presence
from nas.space.search_space import Fixed, Group, Node, SearchSpace, Select

SLOTS = ("dim", "present", "stand_in", "encoders", "connector", "fusion", "head", "training")
STAND_INS = Choice("zero", "learned")
# Without and with each of what lets modalities learn side by side; see `docs/tasks.md` for what they add.
ADD_ONS = {
    "modality_dropout": Choice(0.0, 0.2),
    "auxiliary_loss": Choice(0.0, 0.3),
    "gradient_blending": Choice("none", "offline"),
    "modulation": Choice("none", "ogm_ge"),
}
OF_SEVERAL = frozenset({"connector", "fusion", "modulation_alpha", *ADD_ONS})
DIM = Int(16, 128, log=True)
# Settings that leave the shape of the training alone: networks that differ in them train together.
FUSIBLE_SETTINGS = frozenset(
    {
        "learning_rate",
        "weight_decay",
        "schedule",
        "warmup",
        "label_smoothing",
        "class_weights",
        "gradient_clip",
    }
)

Path: TypeAlias = tuple[str, ...]
Misfit: TypeAlias = Callable[[type], str | None]


@dataclass(frozen=True)
class Slot:
    """Where a component goes.

    Args:
        kind: Its kind.
        modalities: Names of the dataset's modalities.
        sets: Every set of modalities, by their numbers, of a network that has the slot; the largest first.
        misfit: Why a component does not fit; None where it does.
    """

    kind: str
    modalities: Sequence[str]
    sets: Sequence[tuple[int, ...]]
    misfit: Misfit = lambda component: None


def assemble(
    data: Mapping[str, Any], modalities: Mapping[str, ModalitySpec], without: Collection[str] = ()
) -> SearchSpace:
    """Read a search space; what the data leave out comes from the components.

    Args:
        data: A mapping of slots, as in a file of `search_spaces/`. A component slot that is left
            out is a choice among all components that fit; so `{}` is the space of all networks.
        modalities: The dataset's modalities, which decide what fits.
        without: Add-ons of the training that `add_ons: all` leaves out.

    Raises:
        KeyPathError: A key, value, domain or component is not allowed; names its key path.
    """
    data = _mapping(data, ())
    _known_keys(data, SLOTS, ())
    presence = _presence(data.get("present", {}), modalities)
    names = list(modalities)
    sets = [tuple(map(names.index, chosen)) for chosen in presence.subsets()]
    several = [chosen for chosen in sets if len(chosen) > 1 or len(names) == 1]
    slots: dict[str, Node] = {
        "dim": _dim(data.get("dim", DIM.to_data())),
        "encoders": _encoders(data.get("encoders", {}), modalities, presence.candidates),
        "head": _component(data.get("head", EVERYTHING), Slot("head", names, sets), ("head",)),
    }
    if several:
        fits = partial(_fusion_misfit, counts=sorted({len(chosen) for chosen in several}, reverse=True))
        connector, fusion = Slot("connector", names, several), Slot("fusion", names, several, fits)
        slots["connector"] = _component(data.get("connector", EVERYTHING), connector, ("connector",))
        slots["fusion"] = _component(data.get("fusion", EVERYTHING), fusion, ("fusion",))
    if "stand_in" in data:
        slots["stand_in"] = _stand_in(data["stand_in"])
    training = _with_add_ons(data.get("training", {}), without if len(names) > 1 else ADD_ONS)
    if training:
        slots["training"] = _training(training)
    ordered = {name: slots[name] for name in SLOTS if name in slots}
    return SearchSpace(Group(ordered, of_several=OF_SEVERAL), presence)


EVERYTHING = {"choice": "all"}
# What `sparsify` among the settings of an encoder takes; its linear layers are of any shape.
SPARSIFY = {"topology": Component("topology", {"rectangular": True}), "rewiring": Component("rewiring")}


def _dim(data: Any) -> Node:
    node = _hyper_parameter(data, ("dim",), DIM)
    if min(extremes(node)) < 1:
        raise KeyPathError(("dim",), f"{data!r} does not fit; a width is at least 1")
    return node


def _presence(data: Any, modalities: Mapping[str, ModalitySpec]) -> Presence:
    """Read `all`, a list of names, or by name true, false or a choice of both, as is what is left out."""
    path = ("present",)
    if data == ALL:
        data = list(modalities)
    if isinstance(data, list):
        for name in data:
            if name not in modalities:
                raise KeyPathError(path, f"{name!r} is not a modality; {near_misses(name, modalities)}")
        data = {name: name in data for name in modalities}
    if not isinstance(data, Mapping):
        raise KeyPathError(
            path, f"{data!r} is not allowed; give all, a list of modalities, or {{modality: true or false}}"
        )
    _known_keys(data, modalities, path)
    either = EITHER.to_data() if len(modalities) > 1 else True
    options = {name: _either(data.get(name, either), (*path, name)) for name in modalities}
    presence = Presence(options)
    if not presence.candidates:
        raise KeyPathError(path, "no modality is left; a network needs at least one")
    return presence


def _either(data: Any, path: Path) -> tuple[bool, ...]:
    node = _hyper_parameter(data, path, EITHER)
    return tuple(sorted({bool(value) for value in extremes(node)}, reverse=True))


def _stand_in(data: Any) -> Node:
    node = _hyper_parameter(data, ("stand_in",), STAND_INS)
    for value in extremes(node):
        if not STAND_INS.contains(value):
            raise KeyPathError(
                ("stand_in",), f"{value!r} is not a stand-in; {near_misses(value, map(str, STAND_INS))}"
            )
    return node


def _encoders(data: Any, modalities: Mapping[str, ModalitySpec], chosen: Sequence[str]) -> Group:
    given = _mapping(data, ("encoders",))
    kinds = {kind for name in available("encoder") for kind in getattr(get("encoder", name), "kinds", ())}
    _known_keys(given, [*modalities, *kinds], ("encoders",))
    children = {}
    for name in chosen:
        spec = modalities[name]
        key = name if name in given else spec.kind
        every = [tuple(range(len(modalities)))]
        slot = Slot("encoder", list(modalities), every, partial(encoder_misfit, spec=spec))
        children[name] = _component(given.get(key, EVERYTHING), slot, ("encoders", key))
    return Group(children)


def _fusion_misfit(component: type, counts: Sequence[int]) -> str | None:
    """Why a fusion does not fit every number of modalities that a network may use, the largest first."""
    low, high = getattr(component, "modalities", (1, None))
    wanted = f"{low}" if low == high else f"{low} to {high}" if high else f"at least {low}"
    for count in counts:
        if not low <= count <= (high or count):
            return f"takes {wanted} modalities, and there are {count}"
    return None


def _with_add_ons(data: Any, without: Collection[str]) -> dict[str, Any]:
    """The settings of the slot `training`, each add-on that `add_ons` asks for as a choice of its own."""
    given = dict(_mapping(data, ("training",)))
    chosen = given.pop("add_ons", [])
    if chosen == ALL:
        chosen = [name for name in ADD_ONS if name not in without]
    if not isinstance(chosen, list) or not set(map(str, chosen)) <= set(ADD_ONS):
        raise KeyPathError(
            ("training", "add_ons"), f"{chosen!r} is not allowed; give all, or a list of {', '.join(ADD_ONS)}"
        )
    return {name: ADD_ONS[name].to_data() for name in chosen} | given


def _training(settings: Mapping[str, Any]) -> Group:
    children = {
        name: _fusible(_hyper_parameter(value, ("training", name)), name in FUSIBLE_SETTINGS)
        for name, value in settings.items()
    }
    return Group(children, of_several=OF_SEVERAL)


def _component(data: Any, slot: Slot, path: Path) -> Select:
    """Read a component slot: a name, `{name: settings}`, or `{choice: all | names | {name: settings}}`."""
    if isinstance(data, Mapping) and set(data) == {"choice"}:
        return _choice(data["choice"], slot, (*path, "choice"))
    return Select(slot.kind, dict([_option(data, slot, path)]))


def _choice(data: Any, slot: Slot, path: Path) -> Select:
    kind = slot.kind
    if data == "all":
        components = {name: get(kind, name) for name in available(kind)}
        data = [
            name
            for name, component in components.items()
            if slot.misfit(component) is None and not unset(kind, component) and not uninstalled(component)
        ]
        if not data:
            raise KeyPathError(path, f"no {kind} fits here; registered are: {', '.join(available(kind))}")
    if isinstance(data, Mapping):
        data = [{name: settings} for name, settings in data.items()]
    if not isinstance(data, list) or not data:
        raise KeyPathError(
            path, f"{data!r} is no choice; give `all`, a list of {kind} names, or {{name: settings}}"
        )
    options = [_option(item, slot, path) for item in data]
    names = [name for name, _ in options]
    if len(set(names)) < len(names):
        raise KeyPathError(path, f"a {kind} is given twice: {', '.join(names)}")
    return Select(kind, dict(options))


def _option(data: Any, slot: Slot, path: Path) -> tuple[str, Group]:
    kind = slot.kind
    if isinstance(data, str):
        data = {data: {}}
    if not isinstance(data, Mapping) or len(data) != 1:
        raise KeyPathError(path, f"{data!r} is no {kind}; give its name, {{name: settings}} or {{choice: …}}")
    [(name, settings)] = data.items()
    try:
        component = get(kind, name)
    except RequestError as error:
        raise KeyPathError(path, str(error)) from None
    if reason := slot.misfit(component):
        fitting = [other for other in available(kind) if slot.misfit(get(kind, other)) is None]
        raise KeyPathError(path, f"{kind} {name!r} {reason}; fitting: {', '.join(fitting) or 'none'}")
    if reason := uninstalled(component):
        raise KeyPathError(path, f"{kind} {name!r} {reason}")
    return name, _settings(settings, slot, component, (*path, name))


def _settings(data: Any, slot: Slot, component: type, path: Path) -> Group:
    kind = slot.kind
    given = _mapping({} if data is None else data, path)
    declared = _domains(component, given, path)
    domains = {name: for_modalities(domain, slot.sets[0]) for name, domain in declared.items()}
    additions = ["sparsify"] if kind == "encoder" else []
    _known_keys(given, [*hyper_parameters(kind, component), *additions], path)
    for name in unset(kind, component, given):
        raise KeyPathError((*path, name), f"{kind} {path[-1]!r} needs a value for {name!r}")
    children: dict[str, Node] = {}
    for name in [*domains, *(name for name in given if name not in domains)]:
        own = domains.get(name)
        if name in additions:
            children[name] = _sparsify(given[name], slot, (*path, name))
        elif isinstance(own, Component):
            children[name] = _nested(given.get(name, EVERYTHING), own, slot, (*path, name))
        elif name in given:
            optional = given[name] is None and hyper_parameters(kind, component)[name].default is None
            node = _hyper_parameter(given[name], (*path, name), None if optional else own)
            if isinstance(declared.get(name), Modality) and not optional:
                node = _of_modalities(node, slot, (*path, name))
            children[name] = _fusible(node, own is not None and own.fusible)
        elif own is not None:
            children[name] = own
    over = (name for name, domain in declared.items() if ranges_over_modalities(domain))
    return Group(children, frozenset(over))


def _of_modalities(node: Fixed | Domain, slot: Slot, path: Path) -> Fixed | Choice:
    """A number of a modality, or a choice of some, of which every network of the space uses one."""
    numbers: list[Any] = list(node) if isinstance(node, Int) else extremes(node)
    allowed = ", ".join(f"{number} ({slot.modalities[number]})" for number in slot.sets[0])
    for number in numbers:
        if number not in slot.sets[0]:
            raise KeyPathError(
                path, f"{number!r} is not the number of a modality here; allowed are {allowed}"
            )
    if any(set(numbers).isdisjoint(chosen) for chosen in slot.sets):
        name = slot.modalities[numbers[0]]
        raise KeyPathError(
            path, f"a network may leave out {name}; give `present: {{{name}: true}}`, or a choice of more"
        )
    return node if isinstance(node, Fixed) else Choice(*numbers)


def _domains(component: type, given: Mapping[str, Any], path: Path) -> dict[str, Domain | Component]:
    """The domains of a component but those that are not there beside what is given."""
    domains: dict[str, Domain | Component] = dict(getattr(component, "domains", {}))
    for slot, own in list(domains.items()):
        replaced = own.instead_of if isinstance(own, Component) else ()
        if slot in given:
            for name in replaced:
                if name in given:
                    raise KeyPathError(
                        (*path, name), f"is given beside {slot!r}, which replaces it; keep one"
                    )
                del domains[name]
        elif replaced:
            del domains[slot]
    return domains


def _sparsify(data: Any, slot: Slot, path: Path) -> Group:
    given = _mapping({} if data is None else data, path)
    _known_keys(given, SPARSIFY, path)
    return Group(
        {
            name: _nested(given.get(name, EVERYTHING), own, slot, (*path, name))
            for name, own in SPARSIFY.items()
        }
    )


def _nested(data: Any, own: Component, slot: Slot, path: Path) -> Select:
    def misfit(component: type) -> str | None:
        return None if own.fits(component) else f"does not fit ({own})"

    return _component(data, replace(slot, kind=own.kind, misfit=misfit), path)


def _hyper_parameter(data: Any, path: Path, own: Domain | None = None) -> Fixed | Domain:
    """Read a value or a domain, of the same type as the component's own domain."""
    node: Fixed | Domain
    if isinstance(data, Mapping):
        try:
            node = domain_from_data(data)
        except (ValueError, TypeError) as error:
            raise KeyPathError(path, str(error)) from None
    else:
        node = Fixed(data)
        try:
            Architecture({path[-1]: data})
        except ValueError:
            reason = "give text, a finite number, true, false, null or a list"
            raise KeyPathError(path, f"{data!r} cannot be a value; {reason}") from None
    if own is not None and not _fits(node, own):
        raise KeyPathError(path, f"{data!r} does not fit; the component's own domain is {own}")
    return _completed(node, path, own)


def _fusible(node: Fixed | Domain, fusible: bool) -> Fixed | Domain:
    """A domain, marked as fusible if the hyper-parameter is, or if its file says so."""
    match node:
        case Choice(options) if fusible:
            return Choice(*options, fusible=True)
        case Int() | Float() if fusible:
            return replace(node, fusible=True)
        case _:
            return node


def _fits(node: Fixed | Domain, own: Domain) -> bool:
    """Whether a node has the type of a component's own domain; an expression has to be one of it."""
    match node, own:
        case Fixed(value), Expression():
            return own.contains(value)
        case Expression(operators, operands), Expression():
            return set(operators) <= set(own.operators) and operands in (None, own.operands)
        case (Expression(), _) | (_, Expression()):
            return False
        case _:
            return all(any(_alike(value, one) for one in extremes(own)) for value in extremes(node))


def _completed(node: Fixed | Domain, path: Path, own: Domain | None) -> Fixed | Domain:
    """A node with what its component knows: an expression is written in one way, and of given operands."""
    match node, own:
        case Fixed(value), Expression():
            return Fixed(Architecture({"value": own.canonical(value)}).to_data()["value"])
        case Expression(operators, None), Expression(_, operands):
            return Expression(operators, operands)
        case Expression(_, None), _:
            raise KeyPathError(path, "the number of operands is open; give it, as in `operands: 3`")
        case _:
            return node


def _alike(value: Any, one: Any) -> bool:
    """Whether a value has the type of another; a whole number is a real one too."""
    return type(value) is type(one) or (type(value) is int and type(one) is float)


def extremes(node: Node) -> list[Any]:
    """The values that stand for all of a node: the only one, the options, or the bounds."""
    match node:
        case Fixed(value):
            return [value]
        case Choice(options):
            return list(options)
        case Int(low, high) | Float(low, high):
            return [low, high]
        case _:
            return []


def _mapping(data: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise KeyPathError(path, f"{data!r} is not a mapping of keys to values")
    return data


def _known_keys(data: Mapping[str, Any], allowed: Any, path: Path) -> None:
    for key in data:
        if key not in allowed:
            raise KeyPathError((*path, str(key)), f"{key!r} is not a key here; {near_misses(key, allowed)}")
