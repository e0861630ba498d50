"""Trees as numbers of children."""

import pytest

from tfdisent.tree import levels_of


def test_levels_of_a_tree():
    parents, paths = levels_of((2, 2, 2, 3, 3, 3, 3))
    assert [p.tolist() for p in parents] == [
        [0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
    ]
    assert paths.shape == (12, 3)
    assert paths[7].tolist() == [1, 2, 7]
    for wrong in ((), (2, 3), (2, 3, 0)):
        with pytest.raises(ValueError, match="tree"):
            levels_of(wrong)
