"""Samplers: what proposes the next architecture.

A sampler is a component: `(**options)` with `.propose(space, history, seed) -> Architecture`. What
it proposes depends on its arguments alone, so that a resumed search goes on as if never stopped.
"""
