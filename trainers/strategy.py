"""Where a run trains: one device, several, or several machines."""

import functools
import pathlib

import tensorflow as tf

from tfdisent.errors import InputError

STRATEGIES = ("auto", "single", "mirrored", "multiworker")


def prepare_devices():
    """Lets GPUs take memory as they need it; to be called first."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def choose(name):
    """The `tf.distribute` strategy of a `--strategy` flag.

    Args:
      name: `"auto"` (mirrored where there is more than one GPU), `"single"`,
        `"mirrored"` over all GPUs, or all logical CPUs where there is none,
        `"multiworker"` as TF_CONFIG says.

    Raises:
      InputError: unknown name.
    """
    if name not in STRATEGIES:
        raise InputError(
            f"--strategy={name}: expected one of {', '.join(STRATEGIES)}."
        )
    if name == "multiworker":
        # Before any device is touched: collectives are configured once.
        return _multiworker()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(d.name for d in devices))
    return tf.distribute.get_strategy()


# Collectives are numbered anew by every strategy but known to the process: of
# several runs in a row, those of the second would meet the first one's.
_multiworker = functools.cache(tf.distribute.MultiWorkerMirroredStrategy)
_mirrored = functools.cache(tf.distribute.MirroredStrategy)


def slower_here(precision, processor="/proc/cpuinfo"):
    """A line where a precision only costs time, "" elsewhere.

    Args:
      precision: a Keras dtype policy.
      processor: what Linux tells of it; where it tells nothing, neither does
        this.
    """
    if precision != "mixed_bfloat16" or tf.config.list_physical_devices("GPU"):
        return ""
    processor = pathlib.Path(processor)
    if not processor.is_file() or "bf16" in processor.read_text():
        return ""
    return (
        "This processor has no bfloat16 instructions: mixed_bfloat16 is slower "
        "than float32 here."
    )


def is_chief(strategy):
    """Whether this process writes what there is only one of."""
    resolver = strategy.cluster_resolver
    return resolver is None or resolver.task_id in (None, 0)
