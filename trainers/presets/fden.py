"""FDEN and the invertible networks it is plugged into.

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
        "steps": 10_000,
        "batch_size": 64,
        "precision": "mixed_bfloat16",
        "learning_rate": 2e-4,
        "critic_learning_rate": 1e-4,
        "recon_weight": 0.1,
        # A critic that is not blurred this much wins within 100 steps.
        "critic_noise": 1.0,
        "noise_steps": 15_000,
    },
    # ALI's own appendix A: 100 epochs of batch 100 (of Omniglot), no terms
    # added.
    "paper": {
        "steps": 96_000,
        "batch_size": 100,
        "recon_weight": 0.0,
        "critic_noise": 0.0,
    },
}

# One model for all three few-shot settings: episodes of twenty classes with
# twenty queries teach more an hour than the paper's five and one.
_TWENTY_WAYS = {
    "alignment": "proto",
    "ways": 20,
    "queries": 20,
    "batch_size": 8,
    # At 3e-3 the statistician dies and the factors stay dependent.
    "learning_rate": 1e-3,
}

PRESETS = {
    "any": {
        "default": {
            "alignment": "proto",
            "batch_size": 64,
            "learning_rate": 1e-3,
            "steps": 20_000,
            "decay": True,
        },
        # Appendix B without its dropout: one query, five ways, a constant
        # rate, on ALI as its own default preset trains it.
        "paper": {
            "backbone_model": "ali",
            "alignment": "relation",
            "steps": 100_000,
            "eval_episodes": 1_000,
        },
    },
    "omniglot": {
        "default": {
            **_TWENTY_WAYS,
            "jitters": 3,
            "steps": 16_000,
            "decay": True,
        },
    },
    "digits": {
        "default": {
            "alignment": "proto",
            "ways": 5,
            "queries": 20,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "steps": 600,
            "decay": True,
            "jitters": 3,
            "backbone_steps": 500,
            "image_every": 0,
            "critic_steps": 500,
            "judge_steps": 500,
        },
    },
}
