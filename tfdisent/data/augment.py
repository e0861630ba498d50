"""Small changes to images that leave what they show as it is."""

import tensorflow as tf

# Largest rotation (radians), change of either scale, and shift (share of the
# side): what another hand or camera would do.
ROTATION = 0.2
SCALE = 0.12
SHIFT = 1 / 16


def jitter(images, seed):
    """Slightly turned, stretched and shifted images.

    Args:
      images: float32 `[B, H, W, C]`; what moves in from outside is 0.
      seed: int32 `[2]`; row i follows (seed, i) within the batch.

    Returns:
      float32 `[B, H, W, C]`, bilinear.
    """
    shape = tf.shape(images)
    draw = tf.random.stateless_uniform([shape[0], 5], seed, -1.0, 1.0)
    angle, stretch_x, stretch_y, right, down = tf.unstack(draw, axis=-1)
    cos, sin = tf.cos(ROTATION * angle), tf.sin(ROTATION * angle)
    scale_x, scale_y = 1 + SCALE * stretch_x, 1 + SCALE * stretch_y
    height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    x, y = (width - 1) / 2, (height - 1) / 2
    # Output to input coordinates, around the shifted centre.
    a, b = cos / scale_x, -sin / scale_y
    c, d = sin / scale_x, cos / scale_y
    to_x, to_y = x + SHIFT * width * right, y + SHIFT * height * down
    zero = tf.zeros_like(a)
    transforms = tf.stack(
        [
            a,
            b,
            x - a * to_x - b * to_y,
            c,
            d,
            y - c * to_x - d * to_y,
            zero,
            zero,
        ],
        axis=-1,
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=shape[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
