"""What all VAEs here share: Gaussian codes, a likelihood, the ELBO's terms."""

from typing import NamedTuple

import tensorflow as tf

from tfdisent import distributions
from tfdisent import losses
from tfdisent import noise
from tfdisent.models import base
from tfdisent.models.regularisers import total_kl
from tfdisent.optimizers import Adam

ESTIMATORS = {
    "mss": losses.stratified_weights,
    "mws": losses.minibatch_weights,
}


class Pass(NamedTuple):
    """What a batch leaves on its way through a VAE.

    Attributes:
      image: float32 `[B, H, W, C]`.
      posterior: {part: distribution of batch shape `[B]`}.
      codes: {part: `[B, d]`}, one draw an image.
      kl: {part: float32 `[B, d]`}, of the posterior from the prior.
      parts_of_kl: `losses.Decomposition` of all parts together.
      spare: images that are in no loss of the VAE, or None.
      seed: int32 `[2]`, for whatever else is drawn; fold a salt into it.
    """

    image: tf.Tensor
    posterior: dict
    codes: dict
    kl: dict
    parts_of_kl: losses.Decomposition
    spare: tf.Tensor | None
    seed: tf.Tensor


class VAE(base.PartsModel):
    """A VAE whose loss is reconstruction plus what its regularisers add.

    Reconstruction is a negative log-likelihood summed over pixels, the KL is
    summed over codes: both in nats an image. A subclass implements `posterior`
    and `logits`, and passes its regularisers (`tfdisent.models.regularisers`),
    the KL among them.

    Every term of the ELBO is tracked: `reconstruction`, `kl`, the KL of every
    part where there are several, and `mutual_information`,
    `total_correlation` and `dimension_kl`, the three parts of the KL (Chen et
    al., NeurIPS 2018, eq. 2) as one batch estimates them. They sum to the
    KL of the codes drawn, but each is biased: `mutual_information` ends at log
    N, what it misses appears in `total_correlation`, and `dimension_kl` may
    be negative. They compare runs of equal batches and `data_size`; the
    scores `mutual_information` and `total_correlation` (docs/metrics.md) are
    taken from many more images, otherwise.

    Args:
      image_shape: `(H, W, C)`.
      regularisers: list of `Regulariser`.
      likelihood: of pixels, a name in `distributions.LIKELIHOODS`.
      learning_rate: of Adam.
      data_size: N, images in the training set, for the estimates of q(z);
        the batch's own size where that is larger.
      seed: of the noise.

    Attributes:
      estimator: name of the weights with which q(z) is estimated.
    """

    estimator = "mss"

    def __init__(
        self,
        image_shape,
        regularisers,
        likelihood="bernoulli",
        learning_rate=5e-4,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        if likelihood not in distributions.LIKELIHOODS:
            raise ValueError(
                f"likelihood must be one of {list(distributions.LIKELIHOODS)}. "
                f"Received: {likelihood}"
            )
        # The trackers are made of it right away.
        self.tracked = (
            "loss",
            "reconstruction",
            "kl",
            *self.kl_names().values(),
            *losses.Decomposition._fields,
            *(name for r in regularisers for name in r.tracked),
        )
        super().__init__(image_shape, seed, **kwargs)
        self.regularisers = list(regularisers)
        self.likelihood = likelihood
        self.learning_rate = learning_rate
        self.data_size = data_size

    # ---- what a subclass implements --------------------------------------

    def posterior(self, image, training=False):
        """{part: distribution}; `training` is for batch statistics."""
        raise NotImplementedError

    def logits(self, training=False, **parts):
        """Log-odds of the pixels, or of their means, `[B, H, W, C]`."""
        raise NotImplementedError

    # ---- the contract ----------------------------------------------------

    def encode(self, image):
        return {n: q.mean() for n, q in self.posterior(image).items()}

    def decode(self, **parts):
        return tf.sigmoid(self.logits(**parts))

    def log_likelihood(self, image, **parts):
        return self.log_probability(image, self.logits(**parts))

    def log_probability(self, image, logits):
        """log p of pixels whose distribution has these logits, `[B]`, nats."""
        likelihood = distributions.LIKELIHOODS[self.likelihood](logits)
        return likelihood.log_prob(image)

    def sample(self, seed):
        draws = {
            name: noise.rowwise_normal(
                seed if number == 0 else _fold_rows(seed, number), shape[0]
            )
            for number, (name, shape) in enumerate(self.parts.items())
        }
        return self.decode(**draws)

    def default_optimizers(self):
        rivals = {r.rival: r.optimizer() for r in self.regularisers if r.rival}
        return {"main": Adam(self.learning_rate), **rivals}

    def variables_of(self, name):
        own = {
            r.rival: r.trainable_variables for r in self.regularisers if r.rival
        }
        if name in own:
            return own[name]
        others = {id(v) for variables in own.values() for v in variables}
        return [v for v in self.trainable_variables if id(v) not in others]

    # ---- training --------------------------------------------------------

    def update(self, batch):
        image, spare = batch["image"], None
        if any(r.wants_spare for r in self.regularisers):
            image, spare = alternate_rows(image)

        def objective():
            scalars, rivals = self.objective(
                image, self.noise_seed(0), spare, training=True
            )
            return scalars, {"main": scalars["loss"], **rivals}

        return self.descend_all(objective)

    def evaluate_batch(self, batch):
        image = batch["image"]
        return self.objective(image, self.held_out_seed(image))[0]

    def objective(self, image, seed, spare=None, training=False):
        """The loss with its terms, one posterior draw an image.

        Args:
          image: float32 `[B, H, W, C]` in [0, 1].
          seed: int32 `[2]`.
          spare: further images for the regularisers that want them.
          training: whether batch statistics are used and updated.

        Returns:
          {name: scalar} for every name of `tracked`, and {rival: loss}.
        """
        run, logits = self.run(image, seed, spare, training)
        reconstruction = -tf.reduce_mean(self.log_probability(image, logits))
        scalars = {
            "reconstruction": reconstruction,
            "kl": total_kl(run),
        }
        for group, name in self.kl_names().items():
            part, entries = self.groups[group]
            by_entry = tf.gather(run.kl[part], entries, axis=-1)
            scalars[name] = tf.reduce_mean(tf.reduce_sum(by_entry, axis=-1))
        scalars |= run.parts_of_kl._asdict()
        loss, rivals = reconstruction, {}
        for regulariser in self.regularisers:
            penalty = regulariser.penalty(self, run)
            loss += penalty.value
            scalars |= penalty.reports
            if regulariser.rival:
                rivals[regulariser.rival] = penalty.rival_loss
        return {"loss": loss} | scalars, rivals

    def run(self, image, seed, spare=None, training=False):
        """A `Pass` of images and the logits; arguments as `objective`."""
        posterior = self.posterior(image, training=training)
        codes = self.draw(posterior, seed)
        run = Pass(
            image,
            posterior,
            codes,
            self.divergence(posterior),
            self.decomposition(posterior, codes),
            spare,
            seed,
        )
        return run, self.logits(training=training, **codes)

    def draw(self, posterior, seed):
        """A draw of every part and row, {part: float32 `[B, d]`}."""
        codes = {}
        for number, (name, q) in enumerate(posterior.items()):
            own = seed if number == 0 else noise.fold(seed, number)
            standard = noise.normal(noise.shape_of(q.mean()), own)
            codes[name] = q.mean() + q.stddev() * standard
        return codes

    def divergence(self, posterior):
        """{part: KL from the prior by entry, float32 `[B, d]`}."""
        return {
            name: distributions.kl_to_standard_normal(q)
            for name, q in posterior.items()
        }

    def decomposition(self, posterior, codes):
        """`losses.Decomposition` of all parts, over the global batch."""
        z = tf.concat(list(codes.values()), axis=-1)
        means = tf.concat([q.mean() for q in posterior.values()], axis=-1)
        stddevs = tf.concat([q.stddev() for q in posterior.values()], axis=-1)
        means, stddevs = noise.gather(means), noise.gather(stddevs)
        count = tf.shape(means)[0]
        weights = ESTIMATORS[self.estimator](
            count, tf.maximum(self.data_size, count)
        )
        return losses.decompose_kl(
            distributions.log_densities(z, means, stddevs),
            noise.own_rows(weights),
            tf.add_n([q.log_prob(codes[n]) for n, q in posterior.items()]),
            # TFP does not know the shape of draws of a single entry.
            distributions.standard_normal(
                sum(self.parts[n][-1] for n in codes)
            ).log_prob(z),
        )

    def kl_names(self):
        """{group: name of its KL}, where there are several groups."""
        names = {n: f"kl_{n.replace(' ', '_')}" for n in self.groups}
        return names if len(names) > 1 else {}


def alternate_rows(image):
    """Two halves of a batch, every other row each.

    Replicas so split their rows as one device would. A single row is in both.
    """
    rows = tf.shape(image)[0]
    return image[::2], image[tf.minimum(1, rows - 1) :: 2]


def _fold_rows(seed, salt):
    return tf.map_fn(lambda row: noise.fold(row, salt), tf.cast(seed, tf.int32))
