"""Sparse layers: parameters, memory and time follow the number of edges."""

from nas.sparse import backends
from nas.sparse._identifiability import Identifiability, identifiability
from nas.sparse.linear import SparseLinear
from nas.sparse.sparsify import sparsify

__all__ = ["Identifiability", "SparseLinear", "backends", "identifiability", "sparsify"]
