"""FDEN and the invertible networks it is plugged into (seed 002).

    python -m trainers.run --model=fden --dataset=omniglot
    python -m trainers.run --model=fden --dataset=omniglot --preset=paper

What they reach, how long they take and on what: docs/results.md.
"""

AUTOENCODER_PRESETS = {
    "default": {
        "filters": (64, 128, 256),
        "steps": 10_000,
        "batch_size": 64,
    },
}

ALI_PRESETS = {
    "default": {
        "steps": 60_000,
        "batch_size": 64,
        "precision": "mixed_bfloat16",
        "learning_rate": 2e-4,
        "critic_learning_rate": 5e-5,
        "recon_weight": 0.01,
        "critic_noise": 0.2,
        "noise_steps": 4_000,
    },
    # ALI's own appendix A: 100 epochs of batch 100, nothing added.
    "paper": {
        "steps": 96_000,
        "batch_size": 100,
        "recon_weight": 0.0,
        "critic_noise": 0.0,
    },
}

PRESETS = {
    "any": {
        "default": {
            "alignment": "cosine",
            "batch_size": 64,
            "learning_rate": 1e-3,
            "steps": 20_000,
        },
        "paper": {
            "backbone_model": "ali",
            "alignment": "relation",
            "steps": 100_000,
            "eval_episodes": 1_000,
        },
    },
    "digits": {
        "default": {
            "alignment": "cosine",
            "batch_size": 64,
            "learning_rate": 1e-3,
            "steps": 1_500,
            "backbone_steps": 800,
        },
    },
}
