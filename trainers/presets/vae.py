"""The VAE family, set up as two papers compare it.

    python -m trainers.run --model=pro_vlae --dataset=shapes
    python -m trainers.run --model=beta_vae --dataset=shapes --preset=ladder
    python -m trainers.run --model=pro_vlae --dataset=mnist
    python -m trainers.run --model=pro_vlae --dataset=shapes --preset=four \\
        --precision=mixed_bfloat16

`ladder` is pro-VLAE's comparison: equal codes, steps, images a step and
network for all of them; a tenth of the grid is held out, and errors are of it.
`paper` is that paper's own budget, `four` its network of four levels, made for
photographs. `burgess` is CascadeVAE's comparison (see `cascade`). The runs that
there are: docs/results.md.
"""

from trainers.presets import cascade

# pro-VLAE's comparison at a budget for two cores: 3 x 7,000 steps.
_BUDGET = {"steps": 21_000, "batch_size": 64, "learning_rate": 5e-4}
_FLAT = {**_BUDGET, "network": "ladder"}
# Half of FactorVAE's batch is its critic's.
_FACTOR = {**_FLAT, "batch_size": 128}
# Codes a level, and all of them.
_SPRITES, _SHAPES = {"z_dim": 2}, {"z_dim": 3}
_SPRITES_FLAT, _SHAPES_FLAT = {"latent_dim": 6}, {"latent_dim": 9}
# Grids are trained on as a whole otherwise.
_HELD_OUT = {"evaluation_split": "validation"}
_MNIST = {**_BUDGET, "steps": 15_000}

BETA_VAE = {
    "any": {"burgess": {**cascade.BURGESS, "beta": 4.0}},
    "sprites": {
        "default": {"beta": 4.0, "steps": 60_000},
        "ladder": {**_FLAT, **_SPRITES_FLAT, **_HELD_OUT},
        # Burgess et al. 2018.
        "capacity": {
            "network": "burgess",
            "capacity": 25.0,
            "gamma": 1000.0,
            "capacity_steps": 100_000,
            "steps": 150_000,
        },
    },
    "shapes": {
        "default": {"beta": 4.0, "steps": 60_000},
        "ladder": {**_FLAT, **_SHAPES_FLAT, **_HELD_OUT},
    },
    "mnist": {"default": {"steps": 15_000}},
    "celeb_a": {
        "default": {"beta": 10.0, "learning_rate": 1e-4, "steps": 100_000}
    },
}

FACTOR_VAE = {
    "any": {"burgess": {**cascade.BURGESS, "batch_size": 128}},
    "sprites": {
        "default": {"steps": 60_000},
        "ladder": {**_FACTOR, **_SPRITES_FLAT, **_HELD_OUT},
    },
    "shapes": {
        "default": {"steps": 60_000},
        "ladder": {**_FACTOR, **_SHAPES_FLAT, **_HELD_OUT},
    },
    "mnist": {"default": {"steps": 15_000}},
}

BETA_TCVAE = {
    "any": {"burgess": cascade.BURGESS},
    "sprites": {
        "default": {"steps": 60_000},
        "ladder": {**_FLAT, **_SPRITES_FLAT, **_HELD_OUT},
    },
    "shapes": {
        "default": {"steps": 60_000},
        "ladder": {**_FLAT, **_SHAPES_FLAT, **_HELD_OUT},
    },
    "mnist": {"default": {"steps": 15_000}},
}

# pro-VLAE's script: a step of its schedule is 30 epochs of dSprites in
# batches of 128, 15 of 3D Shapes in batches of 100.
_PAPER_SPRITES = {**_SPRITES, "batch_size": 128, "steps": 3 * 172_800}
_PAPER_SHAPES = {**_SHAPES, "beta": 8.0, "batch_size": 100, "steps": 216_000}
# For CelebA 5 epochs a step, beta 1 and gamma 0.1.
_FOUR = {"levels": 4, "z_dim": 7}
# Its 38 million weights take .45 s of two cores a step of 32 images in
# mixed_bfloat16: an hour for this. A quarter of the paper's images a step: at
# its 5e-4 a run diverged (docs/results.md).
_FOUR_HERE = {
    **_FOUR,
    "batch_size": 32,
    "learning_rate": 2.5e-4,
    "steps": 8_000,
}

VLAE = {
    "any": {"default": _BUDGET, "four": _FOUR_HERE},
    "sprites": {
        "default": {**_BUDGET, **_SPRITES},
        "ladder": {**_BUDGET, **_SPRITES, **_HELD_OUT},
        "paper": _PAPER_SPRITES,
    },
    "shapes": {
        "default": {**_BUDGET, **_SHAPES},
        "ladder": {**_BUDGET, **_SHAPES, **_HELD_OUT},
        "paper": {**_PAPER_SHAPES, "beta": 10.0},
    },
    "mnist": {
        "default": {**_MNIST, **_SHAPES},
        "original": {
            "network": "original",
            "z_dim": 2,
            "likelihood": "laplace",
            "warm_up": 2_000,
            "learning_rate": 2e-4,
            "batch_size": 100,
            "steps": 15_000,
        },
    },
    "celeb_a": {
        "default": {**_FOUR, "batch_size": 128, "steps": 31_660},
    },
}

_PAPER_FACES = {**_FOUR, "gamma": 0.1, "batch_size": 128, "steps": 31_660}

PRO_VLAE = {
    "any": {"default": _BUDGET, "four": {**_FOUR_HERE, "gamma": 0.1}},
    "sprites": {
        "default": {**_BUDGET, **_SPRITES},
        "ladder": {**_BUDGET, **_SPRITES, **_HELD_OUT},
        "paper": _PAPER_SPRITES,
    },
    "shapes": {
        "default": {**_BUDGET, **_SHAPES},
        "ladder": {**_BUDGET, **_SHAPES, **_HELD_OUT},
        "paper": _PAPER_SHAPES,
    },
    "mnist": {"default": {**_MNIST, **_SHAPES}},
    "celeb_a": {
        "default": _PAPER_FACES,
        # Of a shorter run it would be all of a stage.
        "paper": {**_PAPER_FACES, "fade_steps": 5_000},
    },
}

# Its own learning rate; the rest as in the comparison.
_STUDENTS = {"network": "ladder", "steps": 21_000}


def _summed(pixels):
    """Lezama's weights beside a reconstruction that is a sum over pixels.

    His is a mean: as they stand, the weights hardly hold the student here.
    """
    return {
        "code_weight": 0.25 * pixels,
        "jacobian_weight": 0.1 * pixels,
        "covariance_weight": 1e-3 * pixels,
    }


JACOBIAN_VAE = {
    "sprites": {
        "default": {**_STUDENTS, **_SPRITES},
        "ladder": {**_STUDENTS, **_SPRITES, **_HELD_OUT},
        "summed": {**_STUDENTS, **_SPRITES, **_HELD_OUT, **_summed(64 * 64)},
    },
    "shapes": {
        "default": {**_STUDENTS, **_SHAPES},
        "ladder": {**_STUDENTS, **_SHAPES, **_HELD_OUT},
        "summed": {**_STUDENTS, **_SHAPES, **_HELD_OUT, **_summed(64 * 64 * 3)},
    },
    "mnist": {"default": {**_STUDENTS, "steps": 15_000}},
}

for _presets in (
    BETA_VAE,
    FACTOR_VAE,
    BETA_TCVAE,
    VLAE,
    PRO_VLAE,
    JACOBIAN_VAE,
):
    # The papers' own sets, on the grids that `sprites` and `shapes` render.
    _presets |= {
        "dsprites": _presets["sprites"],
        "shapes3d": _presets["shapes"],
    }
