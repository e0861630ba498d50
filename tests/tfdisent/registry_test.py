import pytest

from tfdisent.errors import InputError
from tfdisent.registry import check_name
from tfdisent.registry import resolve

KNOWN = ("digits", "mnist", "omniglot")


def refusal(name, forms=()):
    with pytest.raises(InputError) as caught:
        check_name("data set", name, KNOWN, forms)
    return str(caught.value)


def test_known_names_and_import_paths_pass():
    for name in (*KNOWN, "json:loads", "os.path:join", "pytest:raises"):
        check_name("data set", name, KNOWN)


def test_nearest_name_comes_first_and_all_choices_follow():
    assert refusal("Omniglott") == (
        "Unknown data set 'Omniglott'. Did you mean 'omniglot'? Choices: "
        "digits, mnist, omniglot, package.module:name."
    )


def test_misspelt_form_is_no_import_path():
    message = refusal("foldr:photos", ["folder:PATH", "npz:PATH"])
    assert "Did you mean 'folder:PATH'?" in message


@pytest.mark.parametrize(
    "name", ["", ":", "a:b", "no_such_package.x:f", "json:", ":loads", "j:1x"]
)
def test_what_is_no_import_path_is_unknown(name):
    assert refusal(name).startswith(f"Unknown data set {name!r}.")


def test_resolves_a_path():
    import json

    assert resolve("json:loads") is json.loads


def test_missing_module_and_missing_name():
    with pytest.raises(InputError, match="No module named 'json.nothing'"):
        resolve("json.nothing:loads")
    with pytest.raises(InputError, match="Module 'json' has no 'nothing'"):
        resolve("json:nothing")


def test_defects_of_a_users_module_keep_their_traceback(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("(1).nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AttributeError, match="'int' object"):
        resolve("broken_module:load")


def test_messages_are_one_line():
    assert str(InputError("two\nlines")) == "two lines"
