"""ClassVAE: factors common to all classes, and each class's own.

Kondamudi and Balasubramanian, Class-Conditional and Class-Generic
Disentangled Representations, report, 2019. One model: q(z|x) sees the image,
q(w|x, y) the label too, p(x|z, w, y) both codes and the label. z is the part
`generic`, w the part `specific`, y the part `label`.

    L_VAE = E log p(x|z,w,y) - beta |KL(q(z|x)) - C_z|
                             - gamma |KL(q(w|x,y)) - C_w|           (4)
    L_class(z) = BCE(h(z), y), n independent sigmoids               (5)
    step 1, all but h: maximise L_VAE + lambda L_class(z)
    step 2, h alone:   minimise L_class(w)                          (6)

What the paper leaves open or says two ways:

- z is class-independent and w class-dependent everywhere but in one sentence
  of section 3.2, which has them the other way round.
- As printed, (5) is a log-likelihood, so that (6) would make encoder and
  classifier help each other the wrong way. Its text wants a cross-entropy,
  which is (5) negated; so it is here.
- The absolute values are of batch means; C rises linearly over `ramp_steps`.
  With `specific_start` w stays shut until z has found what all classes share;
  else w, which knows the class, takes thickness and slant, too, and the
  decoder may never look at z. That is our own setting.
- h sees w in step 2, and z in step 1 (section 3.3): it never learns to read
  z, so z may go on holding the class, which the paper's own table 1 shows.
  `step2_input="z"` trains h on what it judges; that is our own setting.
- Encoder and h chase each other, and how much of the class z shows depends on
  when training stops; with `decay` the encoders come to rest and h does not.
  Ours, too.
- BCE has no upper bound, so step 1 cuts logits at +-10; `capped` is the share
  of logits that were cut.
"""

import keras
import tensorflow as tf

from tfdisent import distributions
from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam
from tfdisent.optimizers import cosine_decay

LOGIT_CAP = 10.0
STEP2_INPUTS = ("w", "z", "both")


@keras.saving.register_keras_serializable("tfdisent")
class ClassVAE(base.PartsModel):
    """A VAE with a code for all classes and one for the image's class.

    Args:
      image_shape: `(28, 28, C)`, perceptrons, or `(64, 64, C)`, convolutions.
      num_classes: n; labels lie in [0, n).
      latent_dim: size of `generic` and of `specific`.
      beta: weight of |KL(q(z|x)) - C_z|; with C_z = 0 of the KL itself.
      gamma: weight of |KL(q(w|x,y)) - C_w|.
      capacity_generic: C_z, nats.
      capacity_specific: C_w, nats.
      ramp_steps: steps over which each capacity rises from 0.
      specific_start: step at which C_w begins to rise; C_z does at 0.
      class_weight: lambda; 0 trains without L_class.
      step2_input: what the classifier learns from: `"w"`, `"z"` or `"both"`.
      step2_train_encoder: whether step 2's loss is minimised over the
        encoders, too.
      classifier_hidden: widths of the classifier's hidden layers.
      classifier_steps: updates of the classifier a step, each on new draws.
      learning_rate: of everything but the classifier.
      classifier_learning_rate: of the classifier.
      decay: whether `learning_rate` falls to zero along half a cosine; the
        classifier's stays, so that it catches up with what it judges.
      schedule_steps: training steps over which it falls.
      seed: of the noise.
    """

    image_sides = (28, 64)
    needs = frozenset({"label"})
    takes_label = True
    tracked = (
        "loss",
        "reconstruction",
        "kl_generic",
        "kl_specific",
        "fooled",
        "classifier",
        "capped",
    )

    def __init__(
        self,
        image_shape=(28, 28, 1),
        num_classes=10,
        latent_dim=10,
        beta=100.0,
        gamma=100.0,
        capacity_generic=15.0,
        capacity_specific=25.0,
        ramp_steps=11_700,
        specific_start=0,
        class_weight=1.0,
        step2_input="w",
        step2_train_encoder=False,
        classifier_hidden=(64,),
        classifier_steps=1,
        learning_rate=1e-3,
        classifier_learning_rate=1e-3,
        decay=False,
        schedule_steps=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        if step2_input not in STEP2_INPUTS:
            raise ValueError(
                f"step2_input must be one of {STEP2_INPUTS}. Received: "
                f"{step2_input}"
            )
        self.num_classes = num_classes
        self.latent_dim = latent_dim
        self.beta = beta
        self.gamma = gamma
        self.capacity_generic = capacity_generic
        self.capacity_specific = capacity_specific
        self.ramp_steps = ramp_steps
        self.specific_start = specific_start
        self.class_weight = class_weight
        self.step2_input = step2_input
        self.step2_train_encoder = step2_train_encoder
        self.classifier_hidden = tuple(classifier_hidden)
        self.classifier_steps = classifier_steps
        self.learning_rate = learning_rate
        self.classifier_learning_rate = classifier_learning_rate
        self.decay = decay
        self.schedule_steps = schedule_steps
        shape = self.image_shape
        self.encoder_generic = networks.label_encoder(
            shape, 2 * latent_dim, name="encoder_generic"
        )
        self.encoder_specific = networks.label_encoder(
            shape, 2 * latent_dim, num_classes, name="encoder_specific"
        )
        self.decoder = networks.label_decoder(
            shape, 2 * latent_dim + num_classes, name="decoder"
        )
        self.classifier = networks.perceptron(
            latent_dim, self.classifier_hidden, num_classes, name="classifier"
        )
        self.built = True

    @property
    def parts(self):
        codes = (self.latent_dim,)
        return {
            "generic": codes,
            "specific": codes,
            "label": (self.num_classes,),
        }

    @property
    def units(self):
        return {"generic": ("generic",), "specific": ("specific", "label")}

    def one_hot(self, label):
        """Labels int `[B]` as float32 `[B, num_classes]`."""
        return tf.one_hot(label, self.num_classes)

    def posterior(self, image, label):
        """q(z|x) and q(w|x, y): {"generic", "specific"}, events `[d]`."""
        parameters = {
            "generic": self.encoder_generic(image),
            "specific": self.encoder_specific(image, self.one_hot(label)),
        }
        posterior = {}
        for part, values in parameters.items():
            mean, log_variance = tf.split(values, 2, axis=-1)
            posterior[part] = distributions.diagonal_normal(
                mean, 0.5 * log_variance
            )
        return posterior

    def encode(self, image, label):
        """Images and labels int `[B]` to parts; the label one-hot."""
        posterior = self.posterior(image, label)
        codes = {part: q.mean() for part, q in posterior.items()}
        return codes | {"label": self.one_hot(label)}

    def decode(self, generic, specific, label):
        return tf.sigmoid(self.logits(generic, specific, label))

    def logits(self, generic, specific, label):
        """log-odds of the pixels, `[B, H, W, C]`."""
        return self.decoder(tf.concat([generic, specific, label], axis=-1))

    def log_likelihood(self, image, generic, specific, label):
        """log p(x | z, w, y), `[B]`, nats."""
        logits = self.logits(generic, specific, label)
        return distributions.bernoulli(logits).log_prob(image)

    def sample(self, seed):
        """Both codes from N(0, I), the class uniform."""
        sizes = [self.latent_dim, self.latent_dim, self.num_classes]
        draw = noise.rowwise_normal(seed, sum(sizes))
        generic, specific, votes = tf.split(draw, sizes, axis=-1)
        # The largest of equally distributed numbers is any of them.
        label = self.one_hot(tf.argmax(votes, axis=-1))
        return self.decode(generic, specific, label)

    def default_optimizers(self):
        rate = self.learning_rate
        if self.decay:
            rate = cosine_decay(rate, self.schedule_steps)
        return {
            "main": Adam(rate),
            "classifier": Adam(self.classifier_learning_rate),
        }

    def variables_of(self, name):
        own = (self.encoder_generic, self.encoder_specific, self.decoder)
        if name == "classifier":
            own = (self.classifier,)
        return [v for network in own for v in network.trainable_variables]

    def update(self, batch):
        label = self.one_hot(batch["label"])
        with tf.GradientTape() as tape:
            scalars, posterior = self.objective(batch, self.noise_seed(0))
            scaled = self.scaled(scalars["loss"])
        self.descend(tape.gradient(scaled, self.variables_of("main")))
        for number in range(self.classifier_steps):
            codes = {
                part: tf.stop_gradient(code)
                for part, code in self.draw(
                    posterior, self.noise_seed(2 + number)
                ).items()
            }
            with tf.GradientTape() as tape:
                loss = self.classifier_loss(codes, label)
                scaled = self.scaled(loss, "classifier")
            own = self.variables_of("classifier")
            self.descend(tape.gradient(scaled, own), "classifier")
        return scalars | {"classifier": loss}

    def evaluate_batch(self, batch):
        return self.objective(batch, self.held_out_seed(batch["image"]))[0]

    def draw(self, posterior, seed):
        """One sample of every posterior, {part: `[B, d]`}."""
        codes = {}
        for number, (part, q) in enumerate(posterior.items()):
            shape = noise.shape_of(q.mean())
            normal = noise.normal(shape, noise.fold(seed, number))
            codes[part] = q.mean() + q.stddev() * normal
        return codes

    def objective(self, batch, seed):
        """Step 1: what all but the classifier minimise.

        Returns:
          `(scalars, posterior)`.
        """
        image, label = batch["image"], self.one_hot(batch["label"])
        posterior = self.posterior(image, batch["label"])
        codes = self.draw(posterior, seed)
        likelihood = self.log_likelihood(image, **codes, label=label)
        reconstruction = -tf.reduce_mean(likelihood)
        kl, gap = {}, {}
        capacities = {
            "generic": (self.capacity_generic, 0),
            "specific": (self.capacity_specific, self.specific_start),
        }
        for part, q in posterior.items():
            by_entry = distributions.kl_to_standard_normal(q)
            # |.| is of the whole batch's mean, whatever the replicas.
            whole = noise.gather(tf.reduce_sum(by_entry, axis=-1))
            kl[part] = tf.reduce_mean(whole)
            capacity, start = capacities[part]
            open_for = tf.maximum(self.step.value - start, 0)
            gap[part] = losses.capacity_gap(
                whole, capacity, open_for, self.ramp_steps
            )
        logits = self.classifier(codes["generic"])
        cut = tf.clip_by_value(logits, -LOGIT_CAP, LOGIT_CAP)
        fooled = tf.reduce_mean(losses.label_cross_entropy(label, cut))
        loss = (
            reconstruction
            + self.beta * gap["generic"]
            + self.gamma * gap["specific"]
            - self.class_weight * fooled
        )
        if self.step2_train_encoder:
            loss += self.classifier_loss(codes, label)
        scalars = {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl_generic": kl["generic"],
            "kl_specific": kl["specific"],
            "fooled": fooled,
            "capped": tf.reduce_mean(tf.cast(logits != cut, tf.float32)),
        }
        return scalars, posterior

    def classifier_loss(self, codes, label):
        """Step 2: what the classifier minimises on its input."""
        parts = {"w": ["specific"], "z": ["generic"]}.get(
            self.step2_input, ["generic", "specific"]
        )
        found = [
            losses.label_cross_entropy(label, self.classifier(codes[part]))
            for part in parts
        ]
        return tf.reduce_mean(tf.concat(found, axis=0))
