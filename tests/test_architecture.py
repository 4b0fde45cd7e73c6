"""The architecture: an immutable value with a canonical id."""

import json
import math
import pickle
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas import Architecture

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
trees = st.dictionaries(st.text(max_size=3), values, max_size=4)


def reordered(value):
    """The same value with every mapping's keys the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def respelled(value):
    """The same value with whole numbers as floats and whole floats as integers."""
    if isinstance(value, dict):
        return {key: respelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [respelled(item) for item in value]
    if type(value) is int and abs(value) <= 2**53:
        return float(value)
    return int(value) if type(value) is float and value.is_integer() else value


def plain(value):
    """What tells contents apart: numbers by value, and true apart from 1."""
    if isinstance(value, Mapping):
        return ("mapping", frozenset((key, plain(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(plain(item) for item in value))
    return (isinstance(value, bool), value)


@given(trees)
def test_the_id_does_not_depend_on_key_order(tree):
    assert Architecture(reordered(tree)).id == Architecture(tree).id
    assert Architecture(reordered(tree)) == Architecture(tree)


@given(trees)
def test_the_id_does_not_depend_on_how_a_number_is_written(tree):
    assert Architecture(respelled(tree)).id == Architecture(tree).id


@given(trees, trees)
def test_different_content_has_different_ids(one, other):
    same = plain(one) == plain(other)
    assert (Architecture(one).id == Architecture(other).id) == same
    assert (Architecture(one) == Architecture(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (False, 0), (None, False), ("1", 1), ("null", None), ([], {}), ([1, 2], [2, 1]), (1, 1.5)],
)
def test_values_that_look_alike_are_told_apart(one, other):
    assert Architecture({"x": one}).id != Architecture({"x": other}).id
    assert Architecture({"x": one}) != Architecture({"x": other})


def test_the_id_is_that_of_the_canonical_json_for_ever():
    # sha256 of {"dim":16,"fusion":{"late":{}}}, computed with the command sha256sum
    architecture = Architecture({"fusion": {"late": {}}, "dim": 16.0})
    assert architecture.to_json() == '{"dim":16,"fusion":{"late":{}}}'
    assert architecture.id == "08035ce8c30a9083"


@given(trees)
def test_json_leads_back_to_the_same_architecture(tree):
    architecture = Architecture(tree)
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert Architecture.from_json(json.dumps(architecture.to_data())) == architecture
    assert Architecture(architecture.to_data()).id == architecture.id
    assert Architecture(architecture) == architecture


@given(trees)
def test_pickle_leads_back_to_the_same_architecture(tree):
    architecture = Architecture(tree)
    again = pickle.loads(pickle.dumps(architecture))
    assert again == architecture
    assert (again.id, hash(again)) == (architecture.id, hash(architecture))


def test_equal_architectures_are_one_member_of_a_set():
    assert len({Architecture({"a": 1, "b": 2}), Architecture({"b": 2.0, "a": 1})}) == 1
    assert Architecture({"a": 1}) != {"a": 1}


def test_nothing_in_an_architecture_can_be_changed():
    architecture = Architecture({"dim": 16, "fusion": {"early": {"hidden": [1, {"a": 2}]}}})
    for mapping in (
        architecture,
        architecture["fusion"],
        architecture["fusion"]["early"],
        architecture["fusion"]["early"]["hidden"][1],
    ):
        with pytest.raises(TypeError):
            mapping["new"] = 1
        with pytest.raises(TypeError):
            del mapping[next(iter(mapping))]
    with pytest.raises(TypeError):
        architecture["fusion"]["early"]["hidden"][0] = 3
    with pytest.raises(AttributeError):
        architecture.id = "mine"


def test_changing_what_it_was_made_from_changes_nothing():
    tree = {"fusion": {"early": {"hidden": [1, 2]}}}
    architecture = Architecture(tree)
    before = architecture.id
    tree["fusion"]["early"]["hidden"].append(3)
    tree["dim"] = 4
    architecture.to_data()["fusion"]["early"]["hidden"].append(4)
    assert architecture.to_data() == {"fusion": {"early": {"hidden": [1, 2]}}}
    assert architecture.id == before


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(number):
    with pytest.raises(ValueError, match=r"architecture\.training\.rate: .* is not a finite number"):
        Architecture({"training": {"rate": number}})


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", 1j, print, pytest])
def test_what_json_does_not_hold_is_refused(value):
    with pytest.raises(ValueError, match=r"architecture\.a\[1\]: .* cannot be part of an architecture"):
        Architecture({"a": [0, value]})


def test_a_key_that_is_not_text_is_refused():
    with pytest.raises(ValueError, match=r"architecture\.a: the key 3 is not text"):
        Architecture({"a": {3: 4}})


@pytest.mark.parametrize("text", ["[1]", "3", "null", '"late"', '{"a": NaN}', "{", ""])
def test_text_that_is_no_architecture_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Architecture.from_json(text)


def test_it_reads_like_a_mapping():
    architecture = nas.Architecture({"fusion": {"late": {}}, "dim": 16})
    assert dict(architecture) == {"dim": 16, "fusion": {"late": {}}}
    assert len(architecture) == 2
    assert architecture.get("head") is None
    assert repr(architecture) == 'Architecture({"dim":16,"fusion":{"late":{}}})'
