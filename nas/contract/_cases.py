"""Cases: one component, built in one way, with inputs that suit it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.modality import ModalitySpec
from nas.registry import KINDS, available, create, get, hyper_parameters, unset
from nas.space import Component
from nas.space.domains import for_modalities

SAMPLES = 4
SPECS = {
    "image": ModalitySpec("image", (3, 32, 32)),
    "audio": ModalitySpec("audio", (1, 32, 24)),
    "text": ModalitySpec("text", (12,), vocabulary=50),
    "vector": ModalitySpec("vector", (20,), columns=(*[1] * 8, 5, 7)),
}
DIM = 32
UNEQUAL = (32, 20, 24, 36)
SEGMENTS = (DIM, DIM, DIM)


@dataclass(frozen=True, eq=False)
class Case:
    """A component with the settings of one build."""

    kind: str
    name: str
    given: Mapping[str, Any]
    settings: Mapping[str, Any]

    def build(self, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        return create(self.kind, self.name, **self.given, **self.settings)

    def __str__(self) -> str:
        parts = [f"{key} {value}" for key, value in {**self.given, **self.settings}.items()]
        return ", ".join(parts) or "defaults"


class ModuleCase(Case):
    """A torch module, with inputs that suit it."""

    def inputs(self, batch: int) -> list[Tensor]:
        raise NotImplementedError

    def run(self, module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [module(inputs[0])]

    def misfits(self, module: nn.Module, outputs: list[Tensor], batch: int) -> Iterator[str]:
        """What is wrong with the shapes of the outputs."""
        raise NotImplementedError


class EncoderCase(ModuleCase):
    def inputs(self, batch: int) -> list[Tensor]:
        spec: ModalitySpec = self.given["spec"]
        rng = seeded()
        if spec.kind != "text":
            return [torch.randn(batch, *spec.shape, generator=rng)]
        ids = torch.randint(1, spec.vocabulary or 2, (batch, *spec.shape), generator=rng)
        return [ids * of_several_lengths(batch, spec.shape[0])]

    def misfits(self, module: nn.Module, outputs: list[Tensor], batch: int) -> Iterator[str]:
        shape, dim = tuple(outputs[0].shape), self.given["dim"]
        if len(shape) != 3 or shape[0] != batch or shape[1] < 1 or shape[2] != dim:
            yield f"(B, T, dim) = ({batch}, at least 1, {dim}) expected, {shape} given"


class FusionCase(ModuleCase):
    @property
    def dims(self) -> Sequence[int]:
        dims: Sequence[int] = self.given["dims"]
        return dims

    @property
    def takes_tokens(self) -> bool:
        return getattr(get(self.kind, self.name), "consumes", "vectors") == "tokens"

    def inputs(self, batch: int) -> list[Tensor]:
        rng = seeded()
        return [
            torch.randn(batch, *[3 + index] * self.takes_tokens, width, generator=rng)
            for index, width in enumerate(self.dims)
        ]

    def run(self, module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [module(list(inputs))]

    def misfits(self, module: nn.Module, outputs: list[Tensor], batch: int) -> Iterator[str]:
        out_dim = getattr(module, "out_dim", None)
        if not isinstance(out_dim, int):
            yield f"out_dim must be a whole number, not {out_dim!r}"
        elif outputs[0].shape != (batch, out_dim):
            yield f"(B, out_dim) = ({batch}, {out_dim}) expected, {tuple(outputs[0].shape)} given"


class ConnectorCase(FusionCase):
    def run(self, module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
        return list(module(list(inputs)))

    def misfits(self, module: nn.Module, outputs: list[Tensor], batch: int) -> Iterator[str]:
        dims = getattr(module, "dims", None)
        if dims is None:
            yield "it has no dims, the widths that it gives"
            return
        expected, shapes = [(batch, width) for width in dims], [tuple(output.shape) for output in outputs]
        if shapes != expected:
            yield f"{expected} expected, {shapes} given"


class HeadCase(ModuleCase):
    def inputs(self, batch: int) -> list[Tensor]:
        return [torch.randn(batch, self.given["in_dim"], generator=seeded())]

    def misfits(self, module: nn.Module, outputs: list[Tensor], batch: int) -> Iterator[str]:
        expected, shape = (batch, self.given["out_dim"]), tuple(outputs[0].shape)
        if shape != expected:
            yield f"(B, out_dim) = {expected} expected, {shape} given"


_CASES: dict[str, type[Case]] = {
    "encoder": EncoderCase,
    "fusion": FusionCase,
    "connector": ConnectorCase,
    "head": HeadCase,
}


def cases(kind: str, name: str, component: type, settings: dict[str, Any]) -> Iterator[Case]:
    own = {key: value for key, value in settings.items() if key in KINDS[kind].given}
    pinned = {key: value for key, value in settings.items() if key not in own}
    for place, given in enumerate(_given(kind, component, own)):
        variants = _variants(kind, component, pinned, len(given.get("dims", SEGMENTS)))
        # a fusion's settings with three modalities, and with all other widths the simplest alone
        for variant in variants[:1] if kind == "fusion" and place else variants:
            yield _CASES.get(kind, Case)(kind, name, given, variant)
    if kind == "encoder" and "spec" not in own:
        for spec in _smallest(component):
            for variant in variants[:2]:
                yield EncoderCase(kind, name, {"spec": spec, "dim": DIM} | own, variant)


def _given(kind: str, component: type, own: dict[str, Any]) -> list[dict[str, Any]]:
    """What the engine would supply to the constructor."""
    if kind == "encoder":
        specs = [SPECS[known] for known in getattr(component, "kinds", ()) if known in SPECS]
        return [{"spec": spec, "dim": DIM} | own for spec in ([own["spec"]] if "spec" in own else specs)]
    if kind == "fusion" and not own:
        return [{"dims": dims} for dims in _widths(component)]
    supplied: dict[str, dict[str, Any]] = {
        "connector": {"dims": list(SEGMENTS)},
        "head": {"in_dim": DIM, "out_dim": 10},
    }
    return [supplied.get(kind, {}) | own]


def _smallest(encoder: type) -> list[ModalitySpec]:
    """The smallest modalities of every layout that an encoder declares."""
    layouts: dict[str, Sequence[tuple[int, ...]]] = getattr(encoder, "layouts", {})
    return [
        replace(SPECS[kind], shape=shape, columns=None)
        for kind, shapes in layouts.items()
        for shape in shapes
    ]


def _widths(component: type) -> list[list[int]]:
    """Equal and unequal widths of as many modalities as a fusion takes: three first, then up to four."""
    low, high = getattr(component, "modalities", (1, None))
    counts = [count for count in dict.fromkeys((3, 1, 2, 4, low)) if low <= count <= (high or count)]
    equal = [[DIM] * count for count in counts]
    if getattr(component, "equal_widths", True):  # the engine gives equal widths, others only who asks
        return equal
    return equal + [list(UNEQUAL[:count]) for count in counts if 1 < count <= len(UNEQUAL)]


def _variants(kind: str, component: type, pinned: dict[str, Any], modalities: int) -> list[dict[str, Any]]:
    """Settings of the builds: the defaults, samples of the domains, every component that fits."""
    domains: dict[str, Any] = getattr(component, "domains", {})
    free = {
        name: for_modalities(domain, range(modalities))
        for name, domain in domains.items()
        if name not in pinned
    }
    slots = {name: _fitting(domain) for name, domain in free.items() if isinstance(domain, Component)}
    plain = {name: domain for name, domain in free.items() if name not in slots}
    rng = np.random.default_rng(0)
    samples = [{name: domain.sample(rng) for name, domain in plain.items()} for _ in range(SAMPLES)]
    parameters = hyper_parameters(kind, component)
    simplest = {name: value for name, value in samples[0].items() if is_required(parameters[name])}
    simplest |= {name: names[0] for name, names in slots.items() if names and is_required(parameters[name])}
    variants = [simplest, *(simplest | sample for sample in samples if sample)]
    variants += [simplest | {slot: name} for slot, names in slots.items() for name in names]
    return [pinned | variant for variant in variants]


def _fitting(domain: Component) -> list[str]:
    components = {name: get(domain.kind, name) for name in available(domain.kind)}
    return [
        name
        for name, component in components.items()
        if domain.fits(component) and not unset(domain.kind, component)
    ]


def is_required(parameter: Any) -> bool:
    return parameter.default is parameter.empty


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def of_several_lengths(batch: int, length: int) -> Tensor:
    """A mask `(batch, length)` of samples of different lengths, one step at least."""
    lengths = 1 + torch.arange(batch) * 5 % length
    return torch.arange(length) < lengths[:, None]
