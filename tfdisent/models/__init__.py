"""Models by name; each lives in the file of its name."""

import importlib
import pathlib
import textwrap
import zipfile

from tfdisent.errors import InputError
from tfdisent.registry import check_name
from tfdisent.registry import resolve

__all__ = ["MODELS", "check", "get", "load"]

MODELS = {
    "ali": "tfdisent.models.ali:ALI",
    "autoencoder": "tfdisent.models.autoencoder:Autoencoder",
    "beta_tcvae": "tfdisent.models.beta_tcvae:BetaTCVAE",
    "beta_vae": "tfdisent.models.beta_vae:BetaVAE",
    "cascade_infogan": "tfdisent.models.cascade_infogan:CascadeInfoGAN",
    "cascade_vae": "tfdisent.models.cascade_vae:CascadeVAE",
    "factor_vae": "tfdisent.models.factor_vae:FactorVAE",
    "class_vae": "tfdisent.models.class_vae:ClassVAE",
    "cvae": "tfdisent.models.cvae:CVAE",
    "fden": "tfdisent.models.fden:FDEN",
    "jacobian_vae": "tfdisent.models.jacobian_vae:JacobianVAE",
    "pro_vlae": "tfdisent.models.pro_vlae:ProVLAE",
    "vlae": "tfdisent.models.vlae:VLAE",
    "hdn": "tfdisent.models.hdn:HDN",
    "infogan": "tfdisent.models.infogan:InfoGAN",
}

# What Keras raises for a file that is not, or no longer, a model.
UNREADABLE = (KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


def check(name):
    """Refuses an unknown model name without importing anything heavy.

    Raises:
      InputError: one line with the choices.
    """
    check_name("model", name, MODELS)


def get(name):
    """The class of a model by name, or of the user's `package.module:Class`.

    Raises:
      InputError: unknown name, or nothing there to import.
    """
    check(name)
    return resolve(MODELS.get(name, name))


def load(path):
    """The model of a `.keras` file that `model.save` wrote, in any process.

    `keras.saving.load_model` finds only classes whose modules are imported;
    this imports those of all models here. A class of your own is found once
    its module is imported. A run directory is no such file:
    `trainers.rundir.load_model` reads it.

    Args:
      path: the file; it is read in Keras' safe mode.

    Returns:
      The model, compiled where the saved one was.

    Raises:
      InputError: no such file, or it cannot be read as a model.
    """
    import keras

    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(
            f"{str(path)!r} is no file. Name what model.save wrote; a run "
            "directory is read by trainers.rundir.load_model."
        )
    if not zipfile.is_zipfile(path):
        raise InputError(f"{str(path)!r} is damaged, or no .keras file.")
    # few_shot is in no registry, but its networks are saved like the others.
    for registered in [*MODELS.values(), "tfdisent.models.few_shot"]:
        importlib.import_module(registered.partition(":")[0])
    try:
        return keras.saving.load_model(path)
    except UNREADABLE as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" ...")
        raise InputError(f"Cannot load {str(path)!r}: {reason}") from error


def __getattr__(name):
    """`tfdisent.models.FDEN` and so on, imported when first used."""
    if name.startswith("_"):
        raise AttributeError(name)
    for path in MODELS.values():
        module, _, class_name = path.partition(":")
        if class_name == name:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
