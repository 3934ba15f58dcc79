"""The tree of errors: names, bases, what an error knows of its place, and how it travels."""

import importlib
import warnings

import pytest

import gridflow
from gridflow import errors


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        *(("gridflow", old, new) for old, new in errors.OLD_NAMES.items()),
        *(("gridflow.errors", old, new) for old, new in errors.OLD_NAMES.items()),
        ("gridflow.cuda", "RowNotFound", "RowNotFoundError"),
    ],
)
def test_an_old_name_of_an_error_is_the_class_and_warns(module, old, new):
    home = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is deprecated: use {module}\.{new}") as caught:
        assert getattr(home, old) is getattr(home, new)
    assert caught[0].filename == __file__


def test_the_names_of_all_errors_end_in_error():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 20
    assert [cls.__name__ for cls in classes if not cls.__name__.endswith("Error")] == []
    public = [getattr(gridflow, name) for name in gridflow.__all__ if name != "Dataset"]
    raised = [value for value in public if isinstance(value, type) and issubclass(value, BaseException)]
    assert [cls.__name__ for cls in raised if not cls.__name__.endswith("Error")] == []


def test_a_name_that_never_was_is_an_attribute_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in (gridflow, errors, importlib.import_module("gridflow.cuda")):
            with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'TableLost'"):
                _ = module.TableLost
