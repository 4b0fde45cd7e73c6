"""The search space: a tree of domains and component choices, and its points, the architectures."""

from nas.space.architecture import Architecture
from nas.space.domains import Choice, Component, Domain, Expression, Float, Int, Modality
from nas.space.search_space import SearchSpace

__all__ = [
    "Architecture",
    "Choice",
    "Component",
    "Domain",
    "Expression",
    "Float",
    "Int",
    "Modality",
    "SearchSpace",
]
