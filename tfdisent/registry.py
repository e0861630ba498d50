"""Names to objects: registries hold import paths, so that listing is free."""

import difflib
import importlib
import importlib.util
import re

from tfdisent.errors import InputError

# package.module:name; one letter before the colon is a drive, not a module.
IMPORT_PATH = re.compile(r"[^\W\d]\w+(\.[^\W\d]\w*)*:[^\W\d]\w*")


def resolve(path):
    """Imports what `"package.module:name"` stands for.

    Raises:
      InputError: the module or the name in it does not exist.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        # A missing dependency *of* the module is another problem than a
        # missing module: its own message says which.
        raise InputError(f"Cannot import {path!r}: {error}.") from error
    if not hasattr(module, name):
        raise InputError(
            f"Module {module_name!r} has no {name!r} (asked for as {path!r})."
        )
    return getattr(module, name)


def check_name(kind, name, known, forms=()):
    """Refuses a name that is neither registered nor an import path.

    Nothing is imported: of an import path only the first package is looked up,
    which also tells `"folde:photos"` from a module.

    Args:
      kind: what the name stands for, for the message: `"model"`.
      name: what the user gave.
      known: the registered names.
      forms: further accepted spellings, for the message: `"folder:PATH"`.

    Raises:
      InputError: one line with the choices, and the nearest of them first.
    """
    if name in known or _is_import_path(name):
        return
    heads = {form.partition(":")[0]: form for form in forms}
    spellings = heads | {n: n for n in known}
    asked = name.partition(":")[0].lower()
    near = difflib.get_close_matches(asked, spellings, n=1)
    hint = f" Did you mean {spellings[near[0]]!r}?" if near else ""
    choices = ", ".join([*sorted(known), *forms, "package.module:name"])
    raise InputError(f"Unknown {kind} {name!r}.{hint} Choices: {choices}.")


def _is_import_path(name):
    """Whether a name is `package.module:name` of a package that is there."""
    if not IMPORT_PATH.fullmatch(name):
        return False
    package = re.split("[.:]", name, maxsplit=1)[0]
    return importlib.util.find_spec(package) is not None
