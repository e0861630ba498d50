"""HDN, one code for each level of a category tree.

    python -m trainers.run --model=hdn --dataset=fashion_mnist
    python -m trainers.run --model=hdn --dataset=shapes --preset=P
    python -m trainers.run --model=hdn --dataset=folder:PATH

The learning rate halves at the thirds of a run. One that is to be the first
part of a longer one says so: `--steps=30000 --set schedule_steps=300000`. Table
2's hashing networks, three for each level, are trained on fashion_mnist, on
celeb_a and by the presets `paper`; elsewhere `--set baseline_steps=2000` asks
for them: at 64x64 they take as long as the model itself. One of their steps of
64 images costs two thirds of one of the model's of 16; 7,500 show them as many
images as 30,000 of the model's, and six networks take as long as these. The
runs that there are: docs/results.md.
"""

_DEFAULT = {"steps": 30_000}
# A.1.2: halved every 100,000 steps, which are the thirds of these.
_PAPER = {"steps": 300_000}
_WITHOUT_BASELINES = {"baseline_steps": 0}
# The form for 64x64 and 128x128: widths of A.1.1, three critics.
_WIDE = {"precision": "mixed_bfloat16", "checkpoint_every": 100}
_CELEB_A = {**_WIDE, **_PAPER, "hierarchy": "hair", "image_size": 128}
# A mirrored character is another one, and a mirrored room is seen from the
# other side: another pose.
_OMNIGLOT = {"hierarchy": "alphabet", "mirror": False}
_SHAPES = {**_WIDE, "hierarchy": "C", "mirror": False}
_SHAPES_HERE = {
    **_SHAPES,
    **_WITHOUT_BASELINES,
    "steps": 3_000,
    "image_every": 1_000,
    "score_every": 250,
}

PRESETS = {
    "any": {
        "default": {**_DEFAULT, **_WITHOUT_BASELINES},
        "paper": _PAPER,
    },
    "fashion_mnist": {"default": _DEFAULT},
    "shapes": {
        "default": _SHAPES_HERE,
        "P": {**_SHAPES_HERE, "hierarchy": "P"},
        "paper": {**_SHAPES, **_PAPER},
    },
    "celeb_a": {"default": _CELEB_A, "paper": _CELEB_A},
    "omniglot": {
        "default": {**_OMNIGLOT, **_DEFAULT, **_WITHOUT_BASELINES},
        "paper": {**_OMNIGLOT, **_PAPER},
    },
}
