"""Rewirings: rules that change the edges of a sparse layer while it trains, one file each.

The training calls `start` once, `skips` before every optimiser step, `step` after it, and `finish` at
its end; what a network costs is counted with the `final_edges` of its rules. A rule needs only
`step(layer, step)`; `Rule` is what the rules of this folder share. Edges are edited by
`layer.rewire`, which moves the weights and the optimiser's state along.

To go on with a training in the middle, keep the network's and the optimiser's `state_dict` and the
`state_dict` of every rule; load them, and `start` the rules with the number of the next step.
"""

from nas.rewirings._rule import Rule

__all__ = ["Rule"]
