"""Named seeds: every random draw of a run follows from the study's seed by hashing."""

import hashlib


def derive(*parts: int | str) -> int:
    """A seed in `[0, 2**32)` for the role that `parts` name, such as `(study seed, trial, "batches")`."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
