"""Seed 004's models: a structure over the latents of a VAE or an InfoGAN.

    python -m trainers.run --model=cascade_vae --dataset=sprites \
        --set structure=d
    python -m trainers.run --model=cascade_infogan --dataset=fashion_mnist

What they reach, how long they take and on what: docs/results.md. Traversals
have the ranges of the paper's figures; +-10 and +-12 are far outside what
InfoGAN's N(0, 1) codes ever are.
"""

# RGB sets get a slower critic (FactorVAE's re-implementations).
_RGB = {"critic_learning_rate": 1e-5}

VAE_PRESETS = {
    "any": {
        # Section 5.2 of the paper's ancestors: Burgess' networks, 300,000
        # steps of 64 images.
        "paper": {"network": "burgess", "steps": 300_000},
        # The regulariser on other objectives (figure 12). Half of a batch is
        # FactorVAE's critic's.
        "factor_vae": {"base": "factor_vae", "batch_size": 128},
        "beta_tcvae": {"base": "beta_tcvae"},
    },
    "sprites": {"default": {"traversal_span": 2.0}},
    "dsprites": {"default": {"traversal_span": 2.0}},
    "shapes": {"default": _RGB},
    "shapes3d": {"default": _RGB},
    "celeb_a": {"default": {**_RGB, "traversal_span": 5.0}},
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
