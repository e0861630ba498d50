"""Commands that train, evaluate and encode, and the code only they use."""

# Before TensorFlow: it chooses the CPU's kernels.
import tfdisent  # noqa: F401
