"""InfoGAN: a category and a few numbers that its images reveal."""

import keras

from tfdisent.models import base
from tfdisent.models import code_gan


@keras.saving.register_keras_serializable("tfdisent")
class InfoGAN(code_gan.CodeGAN):
    """InfoGAN (Chen et al., NeurIPS 2016); see `CodeGAN`.

    Its parts are what Q finds: `category`, probabilities of a uniform category,
    and `code`, means of numbers that are uniform in (-1, 1).

    Args:
      image_shape: 28x28 (the paper's network for MNIST), 32x32 or 64x64.
      categories: of the one categorical code.
      code_dim: continuous codes.
      noise_dim, info_weight, filters, hidden, norm, learning_rate,
        discriminator_learning_rate, seed: see `CodeGAN`.
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        categories=10,
        code_dim=2,
        noise_dim=62,
        info_weight=1.0,
        filters=(),
        hidden=(),
        norm="batch",
        learning_rate=1e-3,
        discriminator_learning_rate=2e-4,
        seed=0,
        **kwargs,
    ):
        super().__init__(
            image_shape,
            {
                "category": code_gan.category(categories),
                "code": code_gan.uniform(code_dim),
            },
            noise_dim=noise_dim,
            info_weight=info_weight,
            filters=filters,
            hidden=hidden,
            norm=norm,
            learning_rate=learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
            seed=seed,
            **kwargs,
        )
        self.categories = categories
        self.code_dim = code_dim

    @property
    def units(self):
        numbers = base.single_entries("code", self.code_dim)
        return {"category": ("category",)} | numbers
