"""Image representations whose parts mean something.

`tfdisent.models` turns images into named parts and parts back into images,
`tfdisent.data` feeds them, `tfdisent.metrics` scores the parts. Submodules are
imported when they are first used, so `import tfdisent` does not start
TensorFlow.
"""

import importlib
import os
import platform

from tfdisent.errors import InputError

if platform.machine() in ("x86_64", "AMD64"):
    # TensorFlow asks once, when it is imported, and leaves oneDNN off on CPUs
    # without AVX-512 VNNI. There, too, a convolution's gradient takes a
    # fraction of the time with it (docs/results.md, speed).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

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
