"""HDN (seed 000).

    python -m trainers.run --model=hdn --dataset=fashion_mnist
    python -m trainers.run --model=hdn --dataset=shapes --preset=P
    python -m trainers.run --model=hdn --dataset=folder:PATH

A fashion_mnist run of 30,000 steps ends at a quarter of the learning rate and
stays there when it is given more. What these reach, how long they take and on
what: docs/results.md.
"""

# The form for 64x64 and 128x128: widths of A.1.1, three critics.
_WIDE = {"precision": "mixed_bfloat16", "checkpoint_every": 100}

PRESETS = {
    "any": {
        "default": {"steps": 30_000, "halve_every": 10_000},
        # A.1.2: 300,000 steps, halved every 100,000.
        "paper": {"steps": 300_000},
    },
    "shapes": {
        "default": {
            **_WIDE,
            "hierarchy": "C",
            "steps": 3_000,
            "halve_every": 1_000,
            "image_every": 1_000,
        },
        # A mirrored room is seen from the other side.
        "P": {
            **_WIDE,
            "hierarchy": "P",
            "mirror": False,
            "steps": 3_000,
            "halve_every": 1_000,
            "image_every": 1_000,
        },
    },
    "celeb_a": {
        "default": {
            **_WIDE,
            "hierarchy": "hair",
            "image_size": 128,
            "steps": 300_000,
        },
    },
    "omniglot": {
        "default": {
            "hierarchy": "alphabet",
            "mirror": False,
            "steps": 30_000,
            "halve_every": 10_000,
        },
    },
}
