"""CascadeVAE's models: a structure over the latents of a VAE or an InfoGAN.

    python -m trainers.run --model=cascade_vae --dataset=sprites \\
        --set structure=d
    python -m trainers.run --model=beta_vae --dataset=sprites --preset=burgess
    python -m trainers.run --model=cascade_infogan --dataset=fashion_mnist

`burgess` is the paper's comparison: its network, equal codes, steps,
images a step and learning rate for cascade_vae, beta_vae, factor_vae and
beta_tcvae; `factor_vae` and `beta_tcvae` put the regulariser on those. What
they reach, how long they take and on what: docs/results.md. Without the
regulariser and otherwise the same are beta_vae at `--set beta=1` (`burgess` has
the 4 that it is known for), factor_vae, beta_tcvae, and cascade_infogan with
`--set structure_weight=0`; infogan has other codes. Traversals have the ranges
of the paper's figures; +-10 and +-12 are far outside what InfoGAN's N(0, 1)
codes ever are.
"""

# The paper's learning rate, 1e-4, is one for 300,000 steps and more.
BURGESS = {
    "network": "burgess",
    "latent_dim": 10,
    "batch_size": 64,
    "learning_rate": 5e-4,
    "steps": 20_000,
}
# The slower critic of sets in colour (FactorVAE's re-implementations).
_RGB = {"critic_learning_rate": 1e-5}


def _presets(paper=None, **own):
    """The presets of a data set, and what all of them have there."""
    table = {**BURGESS, **own}
    return {
        "default": table,
        "burgess": table,
        # Section 5.2 of the paper's ancestors: Burgess' networks, 300,000
        # steps of 64 images.
        "paper": {
            "network": "burgess",
            "steps": 300_000,
            **(paper or {}),
            **own,
        },
        # The regulariser on other objectives (figure 12). Half of a batch is
        # FactorVAE's critic's.
        "factor_vae": {**table, "base": "factor_vae", "batch_size": 128},
        "beta_tcvae": {**table, "base": "beta_tcvae"},
    }


VAE_PRESETS = {
    "any": _presets(),
    "sprites": _presets(traversal_span=2.0),
    "dsprites": _presets(traversal_span=2.0),
    "shapes": _presets(paper=_RGB),
    "shapes3d": _presets(paper=_RGB),
    "celeb_a": _presets(paper=_RGB, traversal_span=5.0),
}

INFOGAN_PRESETS = {
    "any": {},
    # Figure 10.
    "fashion_mnist": {"default": {"traversal_span": 10.0, "steps": 20_000}},
    # Figure 11.
    "mnist": {
        "default": {"traversal_span": 12.0, "steps": 20_000},
        "figure11": {
            "structure": "d",
            "traversal_span": 12.0,
            "steps": 20_000,
        },
    },
}
