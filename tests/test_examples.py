"""Every public name has an example in its docstring, and every example runs."""

import doctest
import inspect

import pytest

import mechbp

PUBLIC = {name: getattr(mechbp, name) for name in mechbp.__all__}


def examples(value, name):
    return [
        test
        for test in doctest.DocTestFinder(recurse=False).find(inspect.unwrap(value), name, globs={}, module=False)
        if test.examples
    ]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", PUBLIC)
def test_example(name):
    found = examples(PUBLIC[name], name)
    assert found, f"mechbp.{name} has no example (>>> …) in its docstring"
    told = []
    for test in found:
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def test_a_wrong_example_is_found():
    def doubled(x):
        """Return twice x.

        >>> 2 * 2
        5
        """
        return 2 * x

    told = []
    for test in examples(doubled, "doubled"):
        doctest.DocTestRunner().run(test, out=told.append)
    assert "Expected:" in "".join(told)
