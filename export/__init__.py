"""From a trained run to a SavedModel that TF Serving can load."""

# Before TensorFlow: it chooses the CPU's kernels.
import tfdisent  # noqa: F401
