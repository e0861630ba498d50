"""Image representations whose parts mean something.

`tfdisent.models` turns images into named parts and parts back into images,
`tfdisent.data` feeds them, `tfdisent.metrics` scores the parts. Submodules are
imported when they are first used, so `import tfdisent` does not start
TensorFlow.
"""

import importlib

from tfdisent.errors import InputError

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "data",
    "distributions",
    "layers",
    "losses",
    "metrics",
    "models",
    "networks",
    "structure",
    "testing",
    "visualization",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"tfdisent.{name}")
    raise AttributeError(f"module 'tfdisent' has no attribute {name!r}")


def __dir__():
    return __all__
