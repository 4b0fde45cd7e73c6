"""Points of the contract that the class itself has to keep, before anything is built."""

def _has_docstring(subject: tuple[str, type]) -> Iterator[str]:
    if not (subject[1].__doc__ or "").strip():
        yield "it has none; say in a line what the component computes"


def _domains_are_arguments(subject: tuple[str, type]) -> Iterator[str]:
    kind, component = subject
    known = hyper_parameters(kind, component)
    for name, domain in getattr(component, "domains", {}).items():
        if name not in known:
            yield f"{name!r} is not a hyper-parameter of the constructor; {near_misses(name, known)}"
        if not isinstance(domain, Component) and not hasattr(domain, "sample"):
            yield f"{name!r} is {domain!r}; give nas.Int, nas.Float, nas.Choice or nas.Component"


def _hyper_parameters_are_settable(subject: tuple[str, type]) -> Iterator[str]:
    kind, component = subject
    for name, parameter in hyper_parameters(kind, component).items():
        if _is_required(parameter) and name not in getattr(component, "domains", {}):
            yield f"{name!r} has neither a default nor a domain"


def _declares_kinds(subject: tuple[str, type]) -> Iterator[str]:
    kinds = getattr(subject[1], "kinds", ())
    if isinstance(kinds, str) or not kinds:
        yield f"`kinds` must be a tuple such as ('image',), not {kinds!r}"
    elif unknown := set(kinds) - set(SPECS):
        yield f"`kinds` has {', '.join(sorted(unknown))}; allowed: {', '.join(SPECS)}"


def _declares_modalities(subject: tuple[str, type]) -> Iterator[str]:
    modalities = getattr(subject[1], "modalities", (1, None))
    if not isinstance(modalities, tuple) or len(modalities) != 2:
        yield f"`modalities` must be (fewest, most or None), not {modalities!r}"
    consumes = getattr(subject[1], "consumes", "vectors")
    if consumes not in ("vectors", "tokens"):
        yield f"`consumes` must be 'vectors' or 'tokens', not {consumes!r}"


def _dataset_attributes(subject: tuple[str, type]) -> Iterator[str]:
    for name in ("modalities", "task", "splits"):
        if not any(_defines(cls, name) for cls in subject[1].__mro__):
            yield f"it has no {name!r}"


def _defines(cls: type, name: str) -> bool:
    """Whether the class has the attribute, annotates it, or sets it in its constructor."""
    own = vars(cls)
    code = getattr(own.get("__init__"), "__code__", None)
    assigned = code.co_names if code else ()
    return name in own or name in own.get("__annotations__", {}) or name in assigned
