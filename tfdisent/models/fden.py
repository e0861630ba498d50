"""FDEN: plug-in factorization of a trained model's latent representation.

Yoon and Suk, Plug-in Factorization for Latent Representation Disentanglement.
The Disentangler D splits a frozen encoder's z into identity and style, the
Factorizer F pulls them apart (a statistician estimates and D minimises their
mutual information) and aligns identity with classes over
episodes, the Entangler E puts z back together. Implemented: eq. (3) L_R,
(4) L_M, (5) L_C, (6) the objective, (7) adaptive clipping, appendix B.

Departures and readings, each with its reason:

- (5) is printed as a log-likelihood, yet (6) minimises it: L_C is the cross
  entropy. L_R is a mean over the entries of z, so alpha = 1 means the same
  for every size.
- Two gradients from one forward pass take the place of the reversal layer,
  since (7) needs g_u and g_m apart; with no clip active they are the reversal
  graph's gradients (a test holds them to it). The statistician takes the
  gradient of -L_M unweighted, so that its estimate means something when
  gamma is 0; Adam does not see the factor.
- Clipping is per variable (the authors' code) or global (the text's theta),
  before gamma is applied.
- Initial weights are Glorot's. The printed truncated normal of 0.001 lets
  every signal vanish (`init="paper"` shows it).
- Dropout is 0 by default; the paper's 0.2 before every layer keeps the
  relation head below a nearest neighbour. z is the encoder's mean,
  standardised by the training set.
- The paper does not tabulate the alignment network: `relation` follows its
  text, `siamese` has the widths of the authors' code (whose layers have no
  biases, here as elsewhere), `proto` and `cosine` have no weights.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdisent import layers
from tfdisent import losses
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam
from tfdisent.optimizers import cosine_decay

# Cosine similarities are sharpened by this before the softmax.
COSINE_SCALE = 10.0
INITIALIZERS = {
    "glorot_normal": lambda: keras.initializers.GlorotNormal(),
    "paper": lambda: keras.initializers.TruncatedNormal(stddev=1e-3),
}
# What the constructor's arguments may be.
CHOICES = {
    "alignment": ("relation", "siamese", "proto", "cosine"),
    "clip_scope": ("per_variable", "global"),
    "norm": ("batch", None),
    "init": tuple(INITIALIZERS),
}


@keras.saving.register_keras_serializable("tfdisent")
class FDEN(base.PartsModel):
    """Factorized Disentangler-Entangler Network on a frozen backbone.

    It trains on episodes of the backbone's codes (`codes`), not of images:
    `support` `[E, C, K, Dim]`, `query` `[E, Q, Dim]`, `target` int `[E, Q]`.

    Args:
      backbone: a model with `image_shape`, `parts` of rank 1, `encode` and
        `decode`; its weights are never changed.
      alignment: `"relation"`, `"siamese"`, `"proto"` or `"cosine"`.
      alpha, beta, gamma: weights of L_R, L_C and L_M, eq. (6).
      clip_scope: `"per_variable"` or `"global"`, eq. (7).
      dropout: rate before every dense layer; the paper prints 0.2.
      norm: `"batch"` on the first layer of every module, or None.
      init: `"glorot_normal"` or `"paper"`.
      learning_rate: of Adam (beta_1 0.5, beta_2 0.999).
      decay: whether it falls to zero along half a cosine; the paper's is
        constant.
      schedule_steps: training steps over which it falls.
      seed: of noise and shuffles.
    """

    needs = frozenset({"backbone", "episodes"})
    tracked = (
        "loss",
        "reconstruction",
        "alignment",
        "accuracy",
        "mutual_information",
        "gradient_norm",
        "mi_gradient_norm",
        "mi_gradient_norm_clipped",
    )

    def __init__(
        self,
        backbone,
        alignment="relation",
        alpha=1.0,
        beta=1.0,
        gamma=0.5,
        clip_scope="per_variable",
        dropout=0.0,
        norm="batch",
        init="glorot_normal",
        learning_rate=1e-4,
        decay=False,
        schedule_steps=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(backbone.image_shape, seed, **kwargs)
        given = {
            "alignment": alignment,
            "clip_scope": clip_scope,
            "norm": norm,
            "init": init,
        }
        for name, value in given.items():
            if value not in CHOICES[name]:
                raise ValueError(
                    f"{name} must be one of {CHOICES[name]}. Received: {value}"
                )
        self.backbone = backbone
        self.backbone.trainable = False
        self.alignment = alignment
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.clip_scope = clip_scope
        self.dropout = dropout
        self.norm = norm
        self.init = init
        self.learning_rate = learning_rate
        self.decay = decay
        self.schedule_steps = schedule_steps
        self.size = sum(shape[-1] for shape in backbone.parts.values())
        n = self.size
        self.code_mean = self._fixed("code_mean", "zeros")
        self.code_scale = self._fixed("code_scale", "ones")
        self.disentangler = {
            "shared": self._module("disentangler", n, (512, 512, 512, 2 * n)),
            "identity": self._module("to_identity", 2 * n, (512, 512, n)),
            "style": self._module("to_style", 2 * n, (512, 512, n)),
        }
        self.statistician = self._module(
            "statistician", 2 * n, (1024, 256, 64, 1)
        )
        self.entangler = {
            "identity": self._module("from_identity", n, (256, 256, n)),
            "style": self._module("from_style", n, (256, 256, n)),
            "joint": self._module("entangler", 2 * n, (512, 512, 512, n)),
        }
        widths = {
            "relation": (n, n // 2, n // 4, 1),
            "siamese": (n, n // 2, n // 3, n // 4, 1),
        }.get(alignment)
        self.aligner = widths and self._module("aligner", 2 * n, widths)
        self.built = True

    def _module(self, name, inputs, sizes):
        stack = layers.dense_stack(
            sizes,
            dropout=self.dropout,
            norm=self.norm,
            kernel_initializer=INITIALIZERS[self.init](),
            output_dtype="float32",
            name=name,
        )
        stack.build((None, inputs))
        return stack

    def _fixed(self, name, initializer):
        return self.add_weight(
            name=name,
            shape=(self.size,),
            initializer=initializer,
            trainable=False,
            dtype="float32",
        )

    # ---- the contract -----------------------------------------------------

    @property
    def parts(self):
        return {"identity": (self.size,), "style": (self.size,)}

    @property
    def units(self):
        return base.whole_parts(self.parts)

    def encode(self, image):
        identity, style = self.disentangle(self.codes(image))
        return {"identity": identity, "style": style}

    def decode(self, identity, style):
        return self.decode_codes(self.entangle(identity, style))

    # ---- codes of the backbone -------------------------------------------

    def codes(self, image):
        """The backbone's code, its parts concatenated: float32 `[B, Dim]`."""
        parts = self.backbone.encode(image)
        return tf.concat(
            [tf.cast(parts[p], tf.float32) for p in self.backbone.parts], -1
        )

    def decode_codes(self, z):
        """Images `[B, H, W, C]` of codes `[B, Dim]`, by the backbone."""
        shapes = self.backbone.parts
        pieces = tf.split(z, [s[-1] for s in shapes.values()], axis=-1)
        return self.backbone.decode(**dict(zip(shapes, pieces, strict=True)))

    def adapt(self, data):
        """Standardises codes by the training set's mean and spread.

        Args:
          data: codes of the training images, each float32 `[Dim]`.
        """
        data = np.stack([*data])
        self.code_mean.assign(np.mean(data, axis=0))
        # A dead entry stays what it is instead of exploding.
        spread = np.std(data, axis=0)
        self.code_scale.assign(np.where(spread > 1e-6, spread, 1.0))

    def disentangle(self, z, training=False, seed=None):
        """D: codes to factors.

        Args:
          z: float32 `[B, Dim]`, as `codes` gives them.
          training: whether batch statistics are updated.
          seed: of the dropout, None for none.

        Returns:
          `(identity, style)`, float32 `[B, Dim]` each.
        """
        z = (z - self.code_mean) / self.code_scale
        return self._disentangle(z, training, seed)

    def _disentangle(self, z, training, seed):
        modules = self.disentangler
        hidden = modules["shared"](z, training=training, seed=_fold(seed, 0))
        return (
            modules["identity"](hidden, training=training, seed=_fold(seed, 1)),
            modules["style"](hidden, training=training, seed=_fold(seed, 2)),
        )

    def entangle(self, identity, style):
        """E: factors `[B, Dim]` each to codes `[B, Dim]`."""
        z = self._entangle(identity, style, training=False, seed=None)
        return self.code_mean + self.code_scale * z

    def _entangle(self, identity, style, training, seed):
        modules = self.entangler
        streams = [
            modules["identity"](
                identity, training=training, seed=_fold(seed, 3)
            ),
            modules["style"](style, training=training, seed=_fold(seed, 4)),
        ]
        joined = tf.concat(streams, axis=-1)
        return modules["joint"](joined, training=training, seed=_fold(seed, 5))

    # ---- few-shot ---------------------------------------------------------

    def classify(self, support, query, training=False, seed=None):
        """Scores of the classes of episodes.

        Args:
          support: identities float32 `[E, C, K, Dim]`.
          query: identities float32 `[E, Q, Dim]`.
          training, seed: as `disentangle`.

        Returns:
          Logits float32 `[E, Q, C]`.
        """
        if self.aligner:
            episodes, queries, size = noise.shape_of(query)
            ways, shots = support.shape[1:3]
            pairs = [episodes, queries, ways, shots, size]
            joined = tf.concat(
                [
                    tf.broadcast_to(support[:, None], pairs),
                    tf.broadcast_to(query[:, :, None, None], pairs),
                ],
                axis=-1,
            )
            scores = self.aligner(
                tf.reshape(joined, [-1, 2 * size]),
                training=training,
                seed=_fold(seed, 6),
            )
            return tf.reduce_mean(tf.reshape(scores, pairs[:-1]), axis=-1)
        prototypes = tf.reduce_mean(support, axis=2)
        if self.alignment == "cosine":
            unit_prototypes = tf.math.l2_normalize(prototypes, axis=-1)
            unit_query = tf.math.l2_normalize(query, axis=-1)
            return COSINE_SCALE * tf.matmul(
                unit_query, unit_prototypes, transpose_b=True
            )
        difference = query[:, :, None] - prototypes[:, None]
        return -tf.reduce_sum(tf.square(difference), axis=-1)

    # ---- training ---------------------------------------------------------

    def default_optimizers(self):
        rate = self.learning_rate
        if self.decay:
            rate = cosine_decay(rate, self.schedule_steps)
        return {"main": Adam(rate, beta_1=0.5, beta_2=0.999)}

    def variables_of(self, name):
        del name
        return (
            self.module_variables("disentangler")
            + self.module_variables("rest")
            + self.module_variables("statistician")
        )

    def module_variables(self, name):
        """Trainable variables by role in (6) and (7).

        Args:
          name: `"disentangler"` (theta), `"statistician"` (xi), or `"rest"`
            (phi and psi).
        """
        stacks = {
            "disentangler": list(self.disentangler.values()),
            "statistician": [self.statistician],
            "rest": [
                *self.entangler.values(),
                *([self.aligner] if self.aligner else []),
            ],
        }[name]
        return [v for stack in stacks for v in stack.trainable_variables]

    def objective(self, batch, training=True, seed=None, statistician=None):
        """The three losses of (6) on a batch of episodes.

        Args:
          batch: `support`, `query`, `target`; see the class.
          training: whether batch statistics are used and updated.
          seed: int32 `[2]` of dropout and shuffle.
          statistician: replaces T, for tests: `[B, 2 Dim]` -> `[B, 1]`.

        Returns:
          {"reconstruction": L_R, "alignment": L_C, "mutual_information": L_M,
          "accuracy"}.
        """
        support, query = batch["support"], batch["query"]
        size, queries = self.size, query.shape[1]
        episodes, ways, shots, _ = noise.shape_of(support)
        # Episode after episode, so that the rows of replicas in a row are
        # those of one device.
        z = tf.concat(
            [tf.reshape(support, [episodes, ways * shots, size]), query], axis=1
        )
        z = (tf.reshape(z, [-1, size]) - self.code_mean) / self.code_scale
        # Dropout only where it is asked for; the shuffle always.
        masks = seed if training and self.dropout else None
        identity, style = self._disentangle(z, training, masks)
        restored = self._entangle(identity, style, training, masks)
        of_support, of_query = tf.split(
            tf.reshape(identity, [episodes, ways * shots + queries, size]),
            [ways * shots, queries],
            axis=1,
        )
        logits = self.classify(
            tf.reshape(of_support, [episodes, ways, shots, size]),
            of_query,
            training,
            masks,
        )
        target = batch["target"]
        # What shuffles across the batch sees the global one; every replica
        # scores its own rows of it.
        order = noise.permutation(noise.shape_of(z)[0], _fold(seed, 100))
        shuffled = tf.gather(noise.gather(style), order)
        pairs = tf.stack(
            [
                tf.concat([identity, style], axis=-1),
                tf.concat([identity, shuffled], axis=-1),
            ],
            axis=1,
        )
        scores = (statistician or self.statistician)(
            tf.reshape(pairs, [-1, 2 * size]),
            training=training,
            seed=_fold(masks, 7),
        )
        scores = noise.gather(tf.reshape(scores, [-1, 2]))
        joint, product = tf.unstack(scores, axis=1)
        hits = tf.equal(
            tf.argmax(logits, axis=-1, output_type=tf.int32), target
        )
        return {
            "reconstruction": tf.reduce_mean(tf.square(z - restored)),
            "alignment": tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
            ),
            "mutual_information": losses.donsker_varadhan(joint, product),
            "accuracy": tf.reduce_mean(tf.cast(hits, tf.float32)),
        }

    def gradients(self, batch, training=True):
        """Both gradients of one forward pass, summed over replicas.

        Returns:
          `(losses, useful, adversarial)`: `useful` is d(alpha L_R + beta L_C)
          for the disentangler's and the remaining variables, `adversarial` is
          dL_M for the disentangler's and the statistician's, lists in the
          order of `module_variables`, as the optimizer scales them.
        """
        theta = self.module_variables("disentangler")
        rest = self.module_variables("rest")
        xi = self.module_variables("statistician")
        with tf.GradientTape(persistent=True) as tape:
            terms = self.objective(batch, training, self.noise_seed(0))
            useful = self.scaled(
                self.alpha * terms["reconstruction"]
                + self.beta * terms["alignment"]
            )
            adversarial = self.scaled(terms["mutual_information"])
        zero = tf.UnconnectedGradients.ZERO
        g_useful = tape.gradient(
            useful, theta + rest, unconnected_gradients=zero
        )
        g_adversarial = tape.gradient(
            adversarial, theta + xi, unconnected_gradients=zero
        )
        del tape
        return terms, _reduce(g_useful), _reduce(g_adversarial)

    def update(self, batch):
        terms, g_useful, g_adversarial = self.gradients(batch)
        count = len(self.module_variables("disentangler"))
        g_u, g_rest = g_useful[:count], g_useful[count:]
        g_m, g_xi = g_adversarial[:count], g_adversarial[count:]
        clipped = clip_adaptively(g_u, g_m, self.clip_scope)
        total = [u + self.gamma * a for u, a in zip(g_u, clipped, strict=True)]
        # Summed over replicas already, and the optimizer sums once more.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        gradients = total + g_rest + [-g for g in g_xi]
        self.descend([g / replicas for g in gradients])
        # Norms as the loss has them, whatever float16 scaled it by.
        scale = self.optimizer_of["main"].scale_loss(tf.constant(1.0))
        return {
            **terms,
            "loss": self.total(terms),
            "gradient_norm": _norm(g_u, scale),
            "mi_gradient_norm": _norm(g_m, scale),
            "mi_gradient_norm_clipped": _norm(clipped, scale),
        }

    def evaluate_batch(self, batch):
        terms = self.objective(batch, training=False, seed=self.noise_seed(1))
        return {**terms, "loss": self.total(terms)}

    def total(self, terms):
        """(6): alpha L_R + beta L_C - gamma L_M."""
        return (
            self.alpha * terms["reconstruction"]
            + self.beta * terms["alignment"]
            - self.gamma * terms["mutual_information"]
        )

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return super().get_config() | {"backbone": backbone}

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})


def clip_adaptively(useful, adversarial, scope="per_variable"):
    """g_a = min(|g_u|, |g_m|) g_m / |g_m|; FDEN, eq. (7).

    Args:
      useful, adversarial: lists of tensors of equal shapes.
      scope: `"per_variable"` compares norms variable by variable, `"global"`
        those of the whole lists.

    Returns:
      A list like `adversarial`, no longer than `useful` in the scope's norm.
    """
    if scope == "global":
        factors = [
            _clip_factor(
                tf.linalg.global_norm(useful),
                tf.linalg.global_norm(adversarial),
            )
        ] * len(adversarial)
    else:
        factors = [
            _clip_factor(tf.norm(u), tf.norm(m))
            for u, m in zip(useful, adversarial, strict=True)
        ]
    return [f * m for f, m in zip(factors, adversarial, strict=True)]


def _clip_factor(useful_norm, adversarial_norm):
    return tf.minimum(1.0, tf.math.divide_no_nan(useful_norm, adversarial_norm))


def _norm(gradients, scale):
    """Their global norm, unscaled; 0 in a step that float16 overflowed.

    The optimizer skips such a step and goes on, so its infinity is no alarm.
    """
    norm = tf.linalg.global_norm(gradients) / scale
    return tf.where(tf.math.is_finite(norm), norm, 0.0)


def _fold(seed, salt):
    return None if seed is None else noise.fold(seed, salt)


def _reduce(gradients):
    """The gradients summed over replicas, as the clip has to see them."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    return context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
