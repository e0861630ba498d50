"""HDN: hierarchical disentangle network, one code for each level of a tree.

Hierarchical Disentangle Network for Object Representation Learning: a
content map F_1 says what all categories share, a code R_l of eight numbers
for each level l = 2 .. L what tells an object from its siblings at that level.
Codes of two images are recombined level by level, decoded, and the classifier
of every level must find the category of the image that its code came from.
Equations 2 to 8 and appendix A.1.

Where the paper is silent, its authors' code (a later version of theirs) was
read for facts:

- The image and the code that (6) compares are those of the recombined image;
  `feature_recon="own"` is the text's other reading. Its targets carry
  gradients.
- The category of a level, and the parent under which it is judged, both come
  from the image that gave R_l.
- Content stays: only codes are exchanged, which is the same up to the names of
  the two images.

Departures:

- Both updates of a step share one encoding of the batch. The discriminator is
  updated first; each update draws its own recombination.
- The convolutions after each enlargement mirror borders with the edge pixel
  included (`layers.UpConv2D`), everything else without it.
- The learning rate halves at the thirds of the run, whatever its length, and
  stays where a run is continued; the paper's 300,000 steps are one case.
- `disent_cls` and `disent_ent` follow the later version's idea in a simpler
  form (`_feature_losses`).
"""

import keras
import tensorflow as tf

from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam
from tfdisent.tree import levels_of

# Below this side images get the narrow networks and one critic (A.1.1).
WIDE = 64
# What four stride-2 convolutions with mirrored borders can take.
LEAST = 16
# What the draws of one step are for.
_MIRROR, _CRITIC, _MAIN = range(3)


@keras.saving.register_keras_serializable("tfdisent")
class HDN(base.PartsModel):
    """HDN, hierarchical disentangle network.

    Trains on batches with `image` and `label`, the number of the image's leaf.
    Below 64 pixels the networks are those for 28x28, else those for 128x128.

    Args:
      image_shape: `(H, H, C)`, H a multiple of 4 from 16 to 256.
      tree: numbers of children, breadth first (`levels_of`); `(2, 3, 2)` is
        the paper's Fashion-MNIST.
      style_dim: numbers a level.
      filters: of the first convolutions; 0 for 32 or 64, by size.
      scales: sizes at which a critic looks; 0 for 1 or 3, by size.
      style_layers: `"residual"` or `"strided"`, the end of the style
        encoder; `"auto"` as the paper has it for the size.
      learning_rate: of both updates.
      halve_every: steps after which it halves, twice; 0 for thirds of
        `schedule_steps`.
      schedule_steps: training steps; with neither, the rate stays.
      weight_decay: of both updates, added to the gradient.
      alpha: weight of the image reconstruction, (5) in (7).
      beta: weight of the feature reconstruction, (6) in (7).
      feature_recon: `"recombined"`, or `"own"` for images that are not.
      mirror: whether training images are mirrored at random.
      w_disent_cls: weight of classifying every code alone.
      w_disent_ent: weight of the other levels' uncertainty about it.
      w_tv: weight of the total variation of recombined images.
      seed: of the noise.
    """

    needs = frozenset({"hierarchy"})
    image_sides = tuple(range(LEAST, 257, 4))
    tracked = (
        "loss",
        "classification",
        "adversarial",
        "image_recon",
        "feature_recon",
        "critic",
        "critic_classification",
    )

    def __init__(
        self,
        image_shape=(28, 28, 1),
        tree=(2, 3, 2),
        style_dim=8,
        filters=0,
        scales=0,
        style_layers="auto",
        learning_rate=1e-4,
        halve_every=0,
        schedule_steps=0,
        weight_decay=1e-4,
        alpha=10.0,
        beta=1.0,
        feature_recon="recombined",
        mirror=True,
        w_disent_cls=0.0,
        w_disent_ent=0.0,
        w_tv=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        self.tree = tuple(int(n) for n in tree)
        self.style_dim = style_dim
        self.filters = filters
        self.scales = scales
        self.style_layers = style_layers
        self.learning_rate = learning_rate
        self.halve_every = halve_every
        self.schedule_steps = schedule_steps
        self.weight_decay = weight_decay
        self.alpha = alpha
        self.beta = beta
        self.feature_recon = feature_recon
        self.mirror = mirror
        self.w_disent_cls = w_disent_cls
        self.w_disent_ent = w_disent_ent
        self.w_tv = w_tv
        self.parents, self.paths = levels_of(self.tree)
        self._check()

        shape, side = self.image_shape, self.image_shape[0]
        wide = side >= WIDE
        filters = filters or (64 if wide else 32)
        strided = wide if style_layers == "auto" else style_layers == "strided"
        self._content_shape = (side // 4, side // 4, 4 * filters)
        sizes = [len(nodes) for nodes in self.parents]
        styles = (len(sizes), style_dim)
        self.content_encoder = networks.hdn_content_encoder(
            shape, filters, name="content_encoder"
        )
        self.style_encoder = networks.hdn_style_encoder(
            shape, filters, *styles, strided, name="style_encoder"
        )
        self.decoder = networks.hdn_decoder(
            self._content_shape,
            styles,
            shape[-1],
            filters,
            hidden=4 * filters,
            name="decoder",
        )
        self.critics = networks.hdn_critics(
            shape, sizes, filters, scales or (3 if wide else 1)
        )
        self.style_classifiers = []
        if w_disent_cls or w_disent_ent:
            self.style_classifiers = networks.hdn_style_classifiers(
                styles, sizes
            )
        self.built = True

    def _check(self):
        choices = {
            "style_layers": ("auto", "residual", "strided"),
            "feature_recon": ("recombined", "own"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {known}. Received: "
                    f"{getattr(self, name)!r}"
                )
        if min(self.filters, self.scales) < 0 or self.style_dim < 1:
            raise ValueError(
                "filters and scales must be at least 0, style_dim at least 1. "
                f"Received: {self.filters}, {self.scales}, {self.style_dim}"
            )
        smallest = -(-self.image_shape[0] // 2 ** max(0, self.scales - 1))
        if smallest < LEAST:
            raise ValueError(
                f"scales={self.scales} shrinks {self.image_shape[0]} pixels "
                f"to {smallest}; a critic needs {LEAST}."
            )

    @property
    def parts(self):
        names = [f"level{number}" for number in range(2, len(self.parents) + 2)]
        return {"root": self._content_shape} | {
            name: (self.style_dim,) for name in names
        }

    @property
    def units(self):
        return base.whole_parts(self.parts)

    # ---- networks --------------------------------------------------------

    def encode(self, image):
        content, styles = self._encode(2 * image - 1)
        codes = tf.unstack(styles, axis=1)
        return dict(zip(self.parts, [content, *codes], strict=True))

    def decode(self, root, **codes):
        styles = [codes[name] for name in self.parts if name != "root"]
        return (self.decoder(root, tf.stack(styles, axis=1)) + 1) / 2

    def classify(self, image):
        """What the critics' classifiers say of images.

        Args:
          image: float32 `[B, H, W, C]` in [0, 1].

        Returns:
          For every level from the second on, logits float32 `[scales, B,
          K_l]`; only differences between siblings mean anything.
        """
        return self._criticise(2 * image - 1)[1]

    def _encode(self, image):
        """F_1 and the stacked R_2 .. R_L of images in [-1, 1]."""
        return self.content_encoder(image), self.style_encoder(image)

    def _criticise(self, image):
        """Maps of every scale, and logits `[scales, B, K_l]` of every level."""
        maps, logits = [], []
        for number, critic in enumerate(self.critics):
            if number:
                image = networks.halved(image)
            score, classes = critic(image)
            maps.append(score)
            logits.append(classes)
        return maps, [tf.stack(level) for level in zip(*logits, strict=True)]

    # ---- training --------------------------------------------------------

    def default_optimizers(self):
        return {name: self._adam() for name in ("main", "critic")}

    def _adam(self):
        rate = self.learning_rate
        period = self.halve_every or self.schedule_steps // 3
        if period:
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(
                [period, 2 * period], [rate, rate / 2, rate / 4]
            )
        return Adam(rate, beta_1=0.5)

    def variables_of(self, name):
        own = self.critics
        if name == "main":
            own = [self.content_encoder, self.style_encoder, self.decoder]
            own += self.style_classifiers
        return [v for network in own for v in network.trainable_variables]

    def recombine(self, styles, nodes, salt):
        """Every code of every image its own or its partner's, at random.

        Args:
          styles: float32 `[B, L - 1, style_dim]`.
          nodes: int32 `[B, L - 1]`, the categories of every image.
          salt: int; which draw of this step.

        Returns:
          `(styles, nodes)` of the same shapes: each code with the category of
          the image it came from, which its parent follows from.
        """
        rows, levels, _ = noise.shape_of(styles)
        seed = self.noise_seed(salt)
        partner = noise.permutation(rows, noise.fold(seed, 0))
        taken = noise.uniform([rows, levels], noise.fold(seed, 1)) < 0.5
        other_styles = tf.gather(noise.gather(styles), partner)
        other_nodes = tf.gather(noise.gather(nodes), partner)
        return (
            tf.where(taken[..., None], other_styles, styles),
            tf.where(taken, other_nodes, nodes),
        )

    def update(self, batch):
        image = 2 * batch["image"] - 1
        if self.mirror:
            coins = noise.uniform(
                noise.shape_of(image)[:1], self.noise_seed(_MIRROR)
            )
            turned = tf.reverse(image, axis=[2])
            image = tf.where(coins[:, None, None, None] < 0.5, turned, image)
        nodes = tf.gather(self.paths, batch["label"])
        variables = self.variables_of("main")
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            content, styles = self._encode(image)
            # The critics' update does not touch what encoded this batch.
            with tape.stop_recording():
                reports = self._update_critics(image, content, styles, nodes)
            loss, own = self._main_losses(image, content, styles, nodes)
            scaled = self.scaled(loss)
        self._descend(tape.gradient(scaled, variables), "main")
        return {"loss": loss, **own, **reports}

    def _update_critics(self, image, content, styles, nodes):
        """(8): one update of the critics; returns its losses."""
        styles, _ = self.recombine(styles, nodes, _CRITIC)
        generated = self.decoder(content, styles)
        variables = self.variables_of("critic")
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            maps, logits = self._criticise(tf.concat([image, generated], 0))
            critic = tf.constant(0.0)
            for score in maps:
                real, fake = tf.split(score, 2)
                critic += losses.least_squares(real, 1.0)
                critic += losses.least_squares(fake, 0.0)
            # Classifiers learn from real images only.
            logits = [tf.split(level, 2, axis=1)[0] for level in logits]
            classification = self._classification(logits, nodes)
            scaled = self.scaled(critic + classification, "critic")
        self._descend(tape.gradient(scaled, variables), "critic")
        return {"critic": critic, "critic_classification": classification}

    def _main_losses(self, image, content, styles, nodes):
        """(7): the loss of encoders and decoder, and its parts."""
        mixed, mixed_nodes = self.recombine(styles, nodes, _MAIN)
        # One pass decodes what is restored and what is recombined.
        decoded = self.decoder(
            tf.concat([content, content], 0), tf.concat([styles, mixed], 0)
        )
        restored, generated = tf.split(decoded, 2)
        maps, logits = self._criticise(generated)
        adversarial = tf.add_n([losses.least_squares(m, 1.0) for m in maps])
        classification = self._classification(logits, mixed_nodes)
        image_recon = losses.mean_absolute_error(restored, image)
        if self.feature_recon == "own":
            feature_recon = self._feature_recon(restored, content, styles)
        else:
            feature_recon = self._feature_recon(generated, content, mixed)
        loss = classification + adversarial
        loss += self.alpha * image_recon + self.beta * feature_recon
        if self.w_tv:
            loss += self.w_tv * losses.total_variation(generated)
        if self.style_classifiers:
            loss += self._feature_losses(styles, nodes)
            loss += self._feature_losses(mixed, mixed_nodes)
        return loss, {
            "classification": classification,
            "adversarial": adversarial,
            "image_recon": image_recon,
            "feature_recon": feature_recon,
        }

    def _feature_recon(self, image, content, styles):
        """(6): how far an image's own codes are from those it was made of."""
        again = self._encode(image)
        return losses.mean_absolute_error(
            again[0], content
        ) + losses.mean_absolute_error(again[1], styles)

    def _classification(self, logits, nodes):
        """(3): local cross-entropy, summed over levels and scales."""
        total = tf.constant(0.0)
        for level, parents in enumerate(self.parents):
            for scale in tf.unstack(logits[level]):
                total += tf.reduce_mean(
                    losses.local_cross_entropy(scale, nodes[:, level], parents)
                )
        return total

    def _feature_losses(self, styles, nodes):
        """What linear classifiers read off single codes; not in the paper.

        Every code, the others at zero, should tell its own level, and leave
        all other levels as unsure as can be. What reads other levels learns
        to read them from codes that do not change for it, and the codes are
        hidden from it as it is: it could say nothing of any codes, else.
        """
        certain, unsure = tf.constant(0.0), tf.constant(0.0)
        count = len(self.parents)
        for known in range(count):
            alone = styles * tf.one_hot(known, count)[:, None]
            flat = tf.reshape(alone, [-1, count * self.style_dim])
            for level, classifier in enumerate(self.style_classifiers):
                truth = nodes[:, level], self.parents[level]
                if level == known:
                    certain += tf.reduce_mean(
                        losses.local_cross_entropy(classifier(flat), *truth)
                    )
                    continue
                read = classifier(tf.stop_gradient(flat))
                unsure += tf.reduce_mean(
                    losses.local_cross_entropy(read, *truth)
                )
                kernel, bias = map(tf.stop_gradient, classifier.weights)
                read = tf.matmul(flat, kernel) + bias
                unsure -= tf.reduce_mean(losses.local_entropy(read, *truth))
        return self.w_disent_cls * certain + self.w_disent_ent * unsure

    def _descend(self, gradients, optimizer):
        """`descend` with the decay of weights added, as PyTorch's Adam does."""
        if self.weight_decay:
            # Scaled and shared out like the loss that the gradients are of.
            decay = self.scaled(tf.constant(self.weight_decay), optimizer)
            gradients = [
                gradient + tf.cast(decay, gradient.dtype) * variable
                for gradient, variable in zip(
                    gradients, self.variables_of(optimizer), strict=True
                )
            ]
        self.descend(gradients, optimizer)

    def evaluate_batch(self, batch):
        image = 2 * batch["image"] - 1
        nodes = tf.gather(self.paths, batch["label"])
        content, styles = self._encode(image)
        restored = generated = self.decoder(content, styles)
        if self.feature_recon == "recombined":
            # All codes of the image at the same place from the end.
            styles = styles[::-1]
            generated = self.decoder(content, styles)
        return {
            "image_recon": losses.mean_absolute_error(restored, image),
            "feature_recon": self._feature_recon(generated, content, styles),
            "critic_classification": self._classification(
                self._criticise(image)[1], nodes
            ),
        }
