"""The table of all components, as it stands in `docs/components.md`."""

import re
import sys
from collections.abc import Iterator
from typing import Any

from nas.contract._cases import SPECS, ModuleCase, cases
from nas.registry import KINDS, available, get, hyper_parameters, uninstalled, unset

COMMAND = "python -m nas.components --markdown > docs/components.md"
WIDTH, MODALITIES, CLASSES = 64, 3, 10
SUPPLIED: dict[str, dict[str, Any]] = {
    "encoder": {"dim": WIDTH},
    "connector": {"dims": [WIDTH] * MODALITIES},
    "head": {"in_dim": WIDTH, "out_dim": CLASSES},
}
CITATION = re.compile(r"([\w’'-]+ )?\(([^()]*(?:arXiv \d{4}\.\d{4,5}|\b(?:19|20)\d\d\b)[^()]*)\)")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
PROLOGUE = """# Components

All that can be searched, by kind. This page is made by

```console
$ {command}
```

and a test says when to make it again. `python -m nas.components KIND` prints the same with the defaults, and
[plugins](plugins.md) add to it.

Parameters are those of the defaults at width d = {width}: of encoders for {specs};
of connectors and fusions for {modalities} modalities; of heads for {classes} outputs. An absent modality
is zeros to an encoder and a connector, and masked in a fusion: the contract suite proves of every fusion
that what stands in the place of an absent modality changes nothing.
"""


def markdown() -> str:
    """The page, for the components that come with the package."""
    specs = ", ".join(f"{kind} {spec.shape}" for kind, spec in SPECS.items())
    page = PROLOGUE.format(command=COMMAND, width=WIDTH, specs=specs, modalities=MODALITIES, classes=CLASSES)
    return page + "".join(f"\n## {kind}\n\n{_table(kind)}" for kind in KINDS)


def own(kind: str) -> list[str]:
    """Names of the components of a kind that come with the package; plugins have pages of their own."""
    package = __name__.partition(".")[0]
    return [name for name in available(kind) if get(kind, name).__module__.partition(".")[0] == package]


def _table(kind: str) -> str:
    rows = [_row(kind, name) for name in own(kind)]
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    lines = [columns, ["---"] * len(columns), *([row[column] or "—" for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |\n" for line in lines)


def _row(kind: str, name: str) -> dict[str, str]:
    component = get(kind, name)
    return {
        "name": f"`{name}`",
        "what it computes": _purpose(component),
        "takes": "; ".join(_takes(kind, component)),
        "domains": "; ".join(_domains(kind, component)),
        "handles missing": "yes" if kind == "fusion" else "",
        f"parameters at d = {WIDTH}": ", ".join(_parameters(kind, name, component)),
        "paper": paper(component),
    }


def _purpose(component: type) -> str:
    """The first sentence of the docstring, without its citation."""
    paragraph = " ".join((component.__doc__ or "").strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.][.:])\s+(?=[A-Z])", paragraph)[0]
    return re.sub(r"\s+([.,:;])", r"\1", " ".join(CITATION.sub(r"\1", sentence).split())).rstrip(".")


def _takes(kind: str, component: type) -> Iterator[str]:
    for known in getattr(component, "kinds", ()) if kind == "encoder" else ():
        layouts = getattr(component, "layouts", {}).get(known, ())
        yield known + (f" of at least {' or '.join(map(str, layouts))}" if layouts else "")
    if kind == "fusion":
        low, high = getattr(component, "modalities", (1, None))
        yield (
            f"{low} modalities"
            if low == high
            else f"{low} to {high} modalities"
            if high
            else f"{low} or more"
        )
        yield getattr(component, "consumes", "vectors")
    if kind == "topology":
        yield "any layer" if getattr(component, "rectangular", False) else "square layers"
    if kind == "objective":
        yield f"{component.direction}, {'before' if component.cheap else 'after'} training"  # type: ignore[attr-defined]
    if missing := unset(kind, component):
        yield f"needs {', '.join(missing)}"
    if extra := getattr(component, "extra", None):
        yield f"extra `{extra}`"


def _domains(kind: str, component: type) -> Iterator[str]:
    domains = getattr(component, "domains", {})
    return (f"{name} {domains[name]}" for name in hyper_parameters(kind, component) if name in domains)


def _parameters(kind: str, name: str, component: type) -> Iterator[str]:
    """How many, by kind of modality where there are several."""
    if unset(kind, component) or uninstalled(component):
        return
    high = getattr(component, "modalities", (1, None))[1] or MODALITIES
    supplied = {"dims": [WIDTH] * min(high, MODALITIES)} if kind == "fusion" else SUPPLIED.get(kind, {})
    counts: dict[str, int] = {}
    for case in cases(kind, name, component, dict(supplied)):
        known = case.given["spec"].kind if kind == "encoder" else ""
        if isinstance(case, ModuleCase) and known not in counts:
            counts[known] = sum(p.numel() for p in case.build().parameters() if p.requires_grad)
    for known, count in counts.items():
        yield f"{known} {count:,}" if len(counts) > 1 else f"{count:,}"


def paper(component: type) -> str:
    """The first citation in the docstrings of the class and its module: (…, arXiv 1234.56789), (…, 1998)."""
    module = sys.modules[component.__module__]
    for text in (component.__doc__ or "", module.__doc__ or ""):
        if found := CITATION.search(" ".join(text.split())):
            before, citation = found.groups()
            if re.fullmatch(r"\d{4}", citation):
                citation = f"{before or ''}{citation}"
            return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", citation)
    return ""
