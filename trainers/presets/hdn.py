"""HDN (seed 000).

    python -m trainers.run --model=hdn --dataset=fashion_mnist
    python -m trainers.run --model=hdn --dataset=shapes --preset=P
    python -m trainers.run --model=hdn --dataset=folder:PATH

A fashion_mnist run of 30,000 steps ends at a quarter of the learning rate and
stays there when it is given more. Table 2's hashing networks, three for each
level, are trained where seed 000 or docs/results.md has that table; elsewhere
`--set baseline_steps=2000` asks for them: at 64x64 they take as long as the
model itself. What these reach, how long they take and on what:
docs/results.md.
"""

_DEFAULT = {"steps": 30_000, "halve_every": 10_000}
# The form for 64x64 and 128x128: widths of A.1.1, three critics.
_WIDE = {"precision": "mixed_bfloat16", "checkpoint_every": 100}
_SHAPES = {
    **_WIDE,
    # A mirrored room is seen from the other side: another pose.
    "mirror": False,
    "steps": 3_000,
    "halve_every": 1_000,
    "image_every": 1_000,
    "baseline_steps": 0,
}

PRESETS = {
    "any": {
        "default": {**_DEFAULT, "baseline_steps": 0},
        # A.1.2: 300,000 steps, halved every 100,000.
        "paper": {"steps": 300_000},
    },
    "fashion_mnist": {"default": _DEFAULT},
    "shapes": {
        "default": {**_SHAPES, "hierarchy": "C"},
        "P": {**_SHAPES, "hierarchy": "P"},
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
            **_DEFAULT,
            "hierarchy": "alphabet",
            "mirror": False,
            "baseline_steps": 0,
        },
    },
}
