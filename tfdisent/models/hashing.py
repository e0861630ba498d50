"""Hashing networks, the baselines of retrieval (HDN, table 2).

DSH (Liu et al., CVPR 2016), HashNet (Cao et al., ICCV 2017) and SSDH (Yang et
al., TPAMI 2018), one network for each level of a hierarchy, trained on that
level's categories.

Departures: the trunk is HDN's style encoder, trained from scratch, since the
faces that HDN's authors pre-trained it on are withdrawn; pairs are those of one
batch; Adam in place of momentum.
"""

import keras
import tensorflow as tf

from tfdisent import losses
from tfdisent import networks
from tfdisent.models import base
from tfdisent.optimizers import Adam

# Below this side the trunk is that of HDN's form for 28x28.
WIDE = 64
INITIAL_SCALE = 0.1


class Hashing(base.StepModel):
    """Images to bits; a subclass says by which loss.

    Args:
      image_shape: `(H, H, C)`.
      bits: length of the code.
      classes: how many categories labels count.
      filters: of the first convolution; 0 for 32 or 64, by size.
      learning_rate: of Adam.
      seed: of the noise.
    """

    needs = frozenset({"label"})
    tracked = ("loss",)

    def __init__(
        self,
        image_shape=(28, 28, 1),
        bits=8,
        classes=2,
        filters=0,
        learning_rate=3e-4,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        self.bits = bits
        self.classes = classes
        self.filters = filters
        self.learning_rate = learning_rate
        wide = self.image_shape[0] >= WIDE
        self.trunk = networks.hdn_style_encoder(
            self.image_shape,
            filters or (64 if wide else 32),
            levels=1,
            style_dim=bits,
            strided=wide,
            name="trunk",
        )
        # Values start near 0, as in HashNet's code: a saturated tanh has no
        # gradient to leave with.
        kernel = self.trunk.blocks[-2].kernel
        kernel.assign(INITIAL_SCALE * kernel)
        self.built = True

    def encode(self, image):
        """Values whose signs are the bits, float32 `[B, bits]`.

        Args:
          image: float32 `[B, H, W, C]` in [0, 1].
        """
        return self.trunk(2 * image - 1)[:, 0]

    def loss_of(self, values, labels):
        """The loss of `encode`'s values `[B, bits]` and int labels `[B]`."""
        raise NotImplementedError

    def default_optimizers(self):
        return {"main": Adam(self.learning_rate)}

    def update(self, batch):
        with tf.GradientTape() as tape:
            loss = self.loss_of(self.encode(batch["image"]), batch["label"])
            scaled = self.scaled(loss)
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return {"loss": loss}

    def evaluate_batch(self, batch):
        values = self.encode(batch["image"])
        return {"loss": self.loss_of(values, batch["label"])}


class DSH(Hashing):
    """Deep supervised hashing; margin 2 bits, as published.

    The published pull of .01 is of a sum over bits, this one of their mean, as
    in later code.
    """

    def loss_of(self, values, labels):
        return losses.dsh_loss(values, labels, margin=2.0 * self.bits, pull=0.1)


class HashNet(Hashing):
    """Hashing by continuation: tanh(s h), s rising from 1 as steps go by.

    s = sqrt(1 + 0.005 t), set anew every 200 steps (the authors' code).
    """

    def loss_of(self, values, labels):
        period = tf.cast(self.step.value // 200, tf.float32)
        scale = tf.sqrt(1 + 0.005 * 200 * period)
        return losses.hashnet_loss(tf.tanh(scale * values), labels)


class SSDH(Hashing):
    """Supervised semantics-preserving hashing: classes read off the bits."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.classifier = keras.layers.Dense(self.classes, dtype="float32")
        self.classifier.build((None, self.bits))

    def loss_of(self, values, labels):
        codes = tf.sigmoid(values)
        return losses.ssdh_loss(codes, self.classifier(codes), labels)


METHODS = {"DSH": DSH, "HashNet": HashNet, "SSDH": SSDH}
