"""ClassVAE, and the conditional VAE `cvae`, its naive model.

    python -m trainers.run --model=class_vae --dataset=mnist --preset=paper
    python -m trainers.run --model=class_vae --dataset=mnist --preset=ours

`default` is `paper`, the paper's form, in which z still tells the class; `ours`
keeps the class out of it. What they reach, how long they take and on what:
docs/results.md.
"""

# The paper's form, 50 epochs of 60,000 images (it names no budget).
PAPER = {"steps": 23_400, "ramp_steps": 11_700}

# z near chance: the classifier reads what it judges, learns faster than it is
# fooled, is larger than the probe, and goes on learning while the rest comes
# to rest; z holds fewer nats. Smaller beta and gamma hold the capacities as
# well and leave more to reconstruction. Where w needs no help the decoder
# ignores z, which therefore gets a head start.
OURS = {
    **PAPER,
    "step2_input": "z",
    "class_weight": 100.0,
    "classifier_hidden": (256, 256),
    "classifier_steps": 5,
    "beta": 10.0,
    "gamma": 10.0,
    "capacity_generic": 5.5,
    "capacity_specific": 15.0,
    "ramp_steps": 5_850,
    "specific_start": 5_850,
    "decay": True,
}
# More class_weight, and one seed of three had a decoder that ignored z.
FASHION = {**OURS, "class_weight": 50.0, "capacity_generic": 7.0}

PRESETS = {
    "any": {"default": PAPER, "paper": PAPER, "ours": OURS},
    "fashion_mnist": {"ours": FASHION},
}
# To compare with ClassVAE's `ours`: its beta, and more nats.
CVAE_PRESETS = {"any": {"default": PAPER, "ours": {**PAPER, "beta": 10.0}}}
