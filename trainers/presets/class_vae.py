"""ClassVAE and the naive model (seed 003).

    python -m trainers.run --model=class_vae --dataset=mnist --preset=paper
    python -m trainers.run --model=class_vae --dataset=mnist --preset=ours

What they reach, how long they take and on what: docs/results.md.
"""

# The paper's form, 50 epochs of 60,000 images (it names no budget).
PAPER = {"steps": 23_400, "ramp_steps": 11_700}

PRESETS = {"any": {"default": PAPER, "paper": PAPER}}
CVAE_PRESETS = {"any": {"default": PAPER}}
