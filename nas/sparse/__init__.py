"""Sparse layers: parameters, memory and time follow the number of edges."""

from nas.sparse import backends
from nas.sparse.linear import SparseLinear

__all__ = ["SparseLinear", "backends"]
