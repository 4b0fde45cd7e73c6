"""Expressions as a domain: binary trees over operands, searched as any other value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas import Architecture, Choice, Expression, ModalitySpec
from nas.errors import KeyPathError
from nas.registry import create
from nas.results.records import COMPLETE, History, Record
from nas.search.samplers._variation import cross, mutate, neighbour
from nas.seeds import derive
from nas.space.assemble import assemble

OPERATORS = ("add", "mul", "cat")
FOUR = Expression(OPERATORS, 4)
FIVE = Expression(OPERATORS, 5)
MODALITIES = {f"m{place}": ModalitySpec("vector", (4,)) for place in range(4)}
TREES = {"dim": 8, "encoders": {"vector": {"mlp": {"width": 4, "layers": 1, "dropout": 0.0}}}}
TREES |= {"present": "all", "connector": "none", "fusion": "tree", "head": "linear"}
PATH = "fusion.tree.expression"

seeds = st.integers(0, 2**32).map(np.random.default_rng)


def turned(tree, rng):
    """The same tree with sides swapped at random, as lists."""
    if isinstance(tree, int):
        return tree
    sides = [turned(side, rng) for side in tree[1:]]
    return [tree[0], *(sides if rng.random() < 0.5 else sides[::-1])]


def commuted(tree):
    """What does not depend on the order of sides."""
    return tree if isinstance(tree, int) else (tree[0], frozenset(map(commuted, tree[1:])))


def subtrees(tree):
    return set() if isinstance(tree, int) else {commuted(tree)}.union(*map(subtrees, tree[1:]))


def operands(tree):
    return {tree} if isinstance(tree, int) else operands(tree[1]) | operands(tree[2])


@pytest.mark.parametrize(("count", "trees"), [(1, 1), (2, 1), (3, 3), (4, 15)])
def test_every_tree_is_there_exactly_once(count, trees):
    domain = Expression(("f", "g"), count)
    values = list(domain)
    assert (
        len({commuted(value) for value in values}) == len(values) == domain.size == trees * 2 ** (count - 1)
    )
    assert all(domain.contains(value) and operands(value) == set(range(count)) for value in values)


@given(seeds)
def test_operands_given_by_number_make_the_same_trees_of_those_numbers(rng):
    some, numbers = Expression(OPERATORS, (1, 2, 4)), {0: 1, 1: 2, 2: 4}
    assert some.size == Expression(OPERATORS, 3).size == len(set(some))
    value = some.sample(rng)
    assert operands(value) == {1, 2, 4}
    assert some.contains(turned(value, rng))
    assert not some.contains(Expression(OPERATORS, 3).sample(rng))
    assert some.join(some.split(turned(value, rng))) == value
    assert commuted(value) == named(commuted(some.renumbered(value, (1, 2, 4))), numbers)


def named(tree, numbers):
    if isinstance(tree, int):
        return numbers[tree]
    return (tree[0], frozenset(named(side, numbers) for side in tree[1]))


@given(seeds)
def test_a_value_cut_to_fewer_operands_keeps_what_is_not_above_the_others(rng):
    value, some = FIVE.sample(rng), Expression(OPERATORS, (1, 2, 4))
    cut = some.cut(turned(value, rng))
    assert some.contains(cut)
    assert cut == some.canonical(cut)
    untouched = {tree for tree in subtrees(value) if {0, 3}.isdisjoint(numbers_in(tree))}
    assert untouched <= subtrees(cut)
    assert some.cut(("mul", 0, 3)) is None


def numbers_in(tree):
    return {tree} if isinstance(tree, int) else set().union(*map(numbers_in, tree[1]))


def test_every_value_is_equally_likely():
    domain, rng = Expression(("f", "g"), 3), np.random.default_rng(0)
    drawn = [domain.sample(rng) for _ in range(6000)]
    counts = np.array([drawn.count(value) for value in domain])
    assert len(counts) == 12
    assert abs(counts / 6000 - 1 / 12).max() < 4 * math.sqrt(1 / 12 / 6000)


@given(seeds)
def test_the_order_of_sides_makes_no_difference(rng):
    value = FIVE.sample(rng)
    other = turned(value, rng)
    assert FIVE.contains(other)
    assert FIVE.canonical(other) == FIVE.canonical(value) == value
    assert FIVE.split(other) == FIVE.split(value)


@given(seeds)
def test_the_parts_stand_for_the_value(rng):
    value = FIVE.sample(rng)
    parts = FIVE.split(value)
    assert FIVE.join(parts) == value
    assert parts.keys() == FIVE.parts.keys()
    assert all(domain.contains(parts[name]) for name, domain in FIVE.parts.items())
    assert math.prod(domain.size for domain in FIVE.parts.values()) == FIVE.size == 105 * 3**4


@given(seeds)
def test_a_mutation_changes_one_part(rng):
    value = FIVE.sample(rng)
    moved = neighbour(FIVE, value, rng)
    assert FIVE.contains(moved)
    assert moved == FIVE.canonical(moved)
    old, new = FIVE.split(value), FIVE.split(moved)
    assert sum(old[name] != new[name] for name in old) == 1


def test_mutations_reach_every_tree():
    domain, rng = Expression(("f", "g"), 4), np.random.default_rng(0)
    value, met = domain.sample(rng), set()
    for _ in range(3000):
        value = neighbour(domain, value, rng)
        met.add(value)
    assert len(met) == domain.size


def test_what_has_one_value_stays():
    assert neighbour(Expression(("f",), 2), ("f", 0, 1), np.random.default_rng(0)) == ("f", 0, 1)


@given(seeds)
def test_a_crossing_is_one_tree_with_a_subtree_of_the_other(rng):
    one, other = FIVE.sample(rng), FIVE.sample(rng)
    child = FIVE.cross(one, other, rng)
    assert FIVE.contains(child)
    assert child == FIVE.canonical(child)
    proper = subtrees(other) - {commuted(other)}
    taken = [tree for tree in subtrees(child) if tree in proper]
    assert taken


def test_a_subtree_takes_the_place_of_its_first_operand():
    one = ("add", ("mul", 0, 2), ("cat", 1, 3))
    other = ("max", 0, ("mean", 1, 2))
    domain = Expression(("add", "mul", "cat", "max", "mean"), 4)
    other = ("max", other, 3)
    children = {domain.cross(one, other, np.random.default_rng(seed)) for seed in range(20)}
    assert children == {
        ("add", 0, ("cat", ("mean", 1, 2), 3)),  # 1 became (mean 1 2), and 2 left its place beside 0
        ("add", ("max", 0, ("mean", 1, 2)), 3),  # 0 became (max 0 (mean 1 2)), and 1 and 2 left theirs
    }


def test_two_operands_cross_to_either_parent():
    domain = Expression(("f", "g"), 2)
    children = {domain.cross(("f", 0, 1), ["g", 1, 0], np.random.default_rng(seed)) for seed in range(20)}
    assert children == {("f", 0, 1), ("g", 0, 1)}


@pytest.mark.parametrize(
    "value",
    [
        None, True, "add", 4, [], ["add"], ["add", 0], ["add", 0, 1], ["add", 0, ["mul", 1, 1]],
        ["add", 0, ["mul", 1, ["cat", 2, 4]]], ["sub", 0, ["mul", 1, ["cat", 2, 3]]],
        [0, "add", ["mul", 1, ["cat", 2, 3]]], ["add", False, ["mul", 1, ["cat", 2, 3]]],
        ["add", 0, ["mul", 1, ["cat", 2, 3.0]]], [["add"], 0, ["mul", 1, ["cat", 2, 3]]],
    ],
)  # fmt: skip
def test_what_is_no_expression_over_the_operands_is_not_contained(value):
    assert not FOUR.contains(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), 2), r"operators must be names, each once and at least one, not \[\]"),
        ((("f", "f"), 2), "each once"),
        (((1,), 2), "must be names"),
        ((("f",), 0), "operands must be a whole number from 1 on, or ascending numbers from 0 on, not 0"),
        ((("f",), 2.0), "not 2.0"),
        ((("f",), ()), r"not \(\)"),
        ((("f",), (2, 0)), r"not \(2, 0\)"),
        ((("f",), (0, 0)), "ascending"),
        ((("f",), (-1, 0)), "ascending"),
    ],
)
def test_a_wrong_domain_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Expression(*arguments)


def test_an_open_number_of_operands_is_that_of_the_modalities():
    assert Expression(("f",)).for_modalities(range(3)) == Expression(("f",), 3)
    assert Expression(("f",)).for_modalities([0, 2]) == Expression(("f",), (0, 2))
    assert Expression(("f",), 2).for_modalities(range(3)) == Expression(("f",), 2)
    with pytest.raises(ValueError, match="the number of operands is open"):
        Expression(("f",)).sample(np.random.default_rng(0))


# --- in a search space ------------------------------------------------------------------------------


def space(**tree):
    return assemble(TREES | {"fusion": {"tree": tree}}, MODALITIES)


def test_a_component_gets_an_operand_per_modality():
    domains = dict(space().domains())
    assert domains[PATH] == Expression(("add", "mul", "cat", "max", "mean"), 4)
    assert space().size == 15 * 5**3
    assert assemble({"present": "all", "fusion": {"film": {}}}, MODALITIES).root.children["fusion"].options[
        "film"
    ].children == {"condition": Choice(0, 1, 2, 3)}


def test_the_points_of_a_space_of_trees_are_all_networks():
    small = space(expression={"expression": ["max", "cat"]})
    points = list(small.points())
    assert len(set(points)) == small.size == 15 * 2**3
    for point in points[::17]:
        assert point in small
        assert Architecture.from_json(point.to_json()) in small
        nas.build(point, MODALITIES, nas.Task("classification", ("a", "b")))


def test_trees_that_differ_in_the_order_of_sides_are_the_same_point():
    trees = [["add", 0, ["mul", ["max", 1, 3], 2]], ["add", ["mul", 2, ["max", 3, 1]], 0]]
    one, other = (
        Architecture(next(space().points()).to_data() | {"fusion": {"tree": {"expression": t}}})
        for t in trees
    )
    assert space().decisions(one) == space().decisions(other)
    assert len({point.id for tree in trees for point in space(expression=tree).points()}) == 1


def test_a_tree_may_be_pinned_and_its_operators_chosen():
    assert space(expression=["add", ["mul", 3, 1], ["cat", 2, 0]]).to_data()["fusion"] == {
        "tree": {"expression": ["add", ["cat", 0, 2], ["mul", 1, 3]]}
    }
    chosen = space(expression={"expression": ["add", "max"]})
    assert dict(chosen.domains())[PATH] == Expression(("add", "max"), 4)
    assert assemble(chosen.to_data(), MODALITIES) == chosen


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["add", 0, 1],
            "does not fit; the component's own domain is trees of add, mul, cat, max, mean over 4",
        ),
        (["sub", 0, ["add", 1, ["add", 2, 3]]], "does not fit"),
        ({"expression": ["sub"]}, "does not fit"),
        ({"expression": ["add"], "operands": 3}, "does not fit"),
        ({"expression": []}, "at least one"),
        ({"expression": ["add"], "depth": 3}, "no option 'depth'; allowed: operands"),
        ({"choice": ["add"]}, "does not fit"),
        ({"int": [1, 3]}, "does not fit"),
        ("add", "does not fit"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place(given, message):
    with pytest.raises(KeyPathError, match=message) as caught:
        space(expression=given)
    assert PATH in str(caught.value)


def test_an_expression_is_no_number():
    with pytest.raises(KeyPathError, match="does not fit"):
        assemble(TREES | {"dim": {"expression": ["add"], "operands": 2}}, MODALITIES)
    with pytest.raises(KeyPathError, match="number of operands is open"):
        assemble(TREES | {"training": {"learning_rate": {"expression": ["add"]}}}, MODALITIES)


def decided(architecture):
    return {path: value for path, (_, value) in space().decisions(architecture).items()}


def test_mutation_and_crossover_of_architectures_act_on_the_tree():
    rng = np.random.default_rng(0)
    parents = [space().sample(rng) for _ in range(12)]
    children, mutants = set(), set()
    for one in parents:
        mutants.add(mutate(space(), decided(one), rng)[PATH])
        for other in parents:
            children.add(cross(space(), decided(one), decided(other), rng)[PATH])
    known = {decided(parent)[PATH] for parent in parents}
    assert all(dict(space().domains())[PATH].contains(tree) for tree in children | mutants)
    assert len(children - known) > 40
    assert not mutants & known


@pytest.mark.parametrize(
    "sampler",
    [
        {"random": {}}, {"qmc": {}}, {"tpe": {"startup": 4}}, {"nsga2": {"population": 4}},
        {"evolution": {"startup": 4, "children": 8}},
    ],
    ids=lambda sampler: next(iter(sampler)),
)  # fmt: skip
def test_samplers_propose_legal_trees_alone_and_learn_which_are_good(sampler):
    [(name, options)] = sampler.items()
    searched, proposer, records = space(), create("sampler", name, **options), []
    for number in range(24):
        history = History(records, {"accuracy": "maximize"})
        architecture = proposer.propose(searched, history, derive(1, number))
        assert architecture in searched
        value = {"accuracy": float(str(architecture["fusion"]["tree"]["expression"]).count("max"))}
        records.append(
            Record(
                number, 1, architecture, COMPLETE, asked_after=number, told=number, values=value, seconds=1.0
            )
        )
    assert len({record.architecture for record in records}) > 12
    if name in ("tpe", "evolution"):
        early, late = (np.mean([r.values["accuracy"] for r in part]) for part in (records[:8], records[-8:]))
        assert late > early
