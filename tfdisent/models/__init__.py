"""Models by name; each lives in the file of its name."""

import importlib

from tfdisent.registry import check_name
from tfdisent.registry import resolve

__all__ = ["MODELS", "check", "get"]

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


def __getattr__(name):
    """`tfdisent.models.FDEN` and so on, imported when first used."""
    if name.startswith("_"):
        raise AttributeError(name)
    for path in MODELS.values():
        module, _, class_name = path.partition(":")
        if class_name == name:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
