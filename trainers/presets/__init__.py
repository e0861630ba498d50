"""Settings by model, data set and preset; each file says what it reaches.

A preset is a dict of configuration fields. `find` looks for the data set's
own entry and then for the model's `"any"`.
"""

from tfdisent.errors import InputError
from trainers.presets import cascade
from trainers.presets import class_vae
from trainers.presets import fden
from trainers.presets import hdn
from trainers.presets import vae

PRESETS = {
    "ali": {"any": fden.ALI_PRESETS},
    "autoencoder": {"any": fden.AUTOENCODER_PRESETS},
    "class_vae": class_vae.PRESETS,
    "cvae": class_vae.CVAE_PRESETS,
    "beta_tcvae": vae.BETA_TCVAE,
    "beta_vae": vae.BETA_VAE,
    "factor_vae": vae.FACTOR_VAE,
    "cascade_infogan": cascade.INFOGAN_PRESETS,
    "cascade_vae": cascade.VAE_PRESETS,
    "fden": fden.PRESETS,
    "jacobian_vae": vae.JACOBIAN_VAE,
    "pro_vlae": vae.PRO_VLAE,
    "vlae": vae.VLAE,
    "hdn": hdn.PRESETS,
}


def listed(model):
    """{preset: list of the data sets that have it}, `default` left out."""
    found = {}
    for dataset, choices in PRESETS.get(model, {}).items():
        name = "any data set" if dataset == "any" else dataset
        for preset in choices:
            if preset != "default":
                found.setdefault(preset, []).append(name)
    return found


def find(model, dataset, preset):
    """The fields that a preset sets.

    Args:
      model, dataset: names; of `folder:PATH` only `folder` counts.
      preset: a name, `"default"` exists for everything.

    Returns:
      A dict, empty where the defaults are all there is.

    Raises:
      InputError: there is no such preset; the message names those there are.
    """
    of_model = PRESETS.get(model, {})
    own = of_model.get(dataset.partition(":")[0], {})
    choices = {"default": {}, **of_model.get("any", {}), **own}
    if preset not in choices:
        raise InputError(
            f"Unknown preset {preset!r} for --model={model} "
            f"--dataset={dataset}. Choices: {', '.join(choices)}."
        )
    return choices[preset]
