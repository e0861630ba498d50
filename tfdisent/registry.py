"""Names to objects: registries hold import paths, so that listing is free."""

import difflib
import importlib

from tfdisent.errors import InputError


def resolve(path):
    """Imports what `"package.module:name"` stands for.

    Raises:
      InputError: the module or the name in it does not exist.
    """
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        # A missing dependency *of* the module is another problem than a
        # missing module: its own message says which.
        raise InputError(f"Cannot import {path!r}: {error}.") from error
    except AttributeError as error:
        raise InputError(
            f"Module {module_name!r} has no {name!r} (asked for as {path!r})."
        ) from error


def check_name(kind, name, known, forms=()):
    """Refuses a name that is neither registered nor an import path.

    Args:
      kind: what the name stands for, for the message: `"model"`.
      name: what the user gave.
      known: the registered names.
      forms: further accepted spellings, for the message: `"folder:PATH"`.

    Raises:
      InputError: one line with the choices, and the nearest of them first.
    """
    if name in known or ("." in name and ":" in name):
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choices = ", ".join([*sorted(known), *forms, "package.module:name"])
    raise InputError(f"Unknown {kind} {name!r}.{hint} Choices: {choices}.")
