"""What is found for a growing list is found once."""

from nas.search.growing import Grown


def test_each_item_is_looked_at_once_while_the_list_grows_and_all_are_once_it_is_another():
    looked = []

    def square(number):
        looked.append(number)
        return number**2

    squares = Grown(square)
    assert squares([1, 2]) == [1, 4]
    assert squares((1, 2, 3)) == [1, 4, 9]
    assert looked == [1, 2, 3]
    assert squares([1, 3]) == [1, 9]
    assert squares([]) == []
    assert squares([1]) == [1]
    assert looked == [1, 2, 3, 1, 3, 1]
