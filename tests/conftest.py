"""What every test runs on: two virtual CPU devices, no GPU, quiet logs."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Numbers and times of the suite are a CPU's, on every machine.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

# Before TensorFlow, as every command has it: it chooses the CPU's kernels.
import tfdisent  # noqa: E402, F401 isort: skip
import keras  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

# Before anything runs: afterwards TensorFlow refuses.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(autouse=True)
def seeded():
    """Initial weights do not depend on which tests ran before."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tfds_dir():
    """Directory with prepared TensorFlow Datasets, or the test is skipped."""
    shared = pathlib.Path(__file__).parents[2] / "shared"
    path = pathlib.Path(
        os.environ.get("TFDS_DATA_DIR") or shared / "tensorflow_datasets"
    )
    if not path.is_dir():
        pytest.skip(f"no prepared data sets in {path}; set TFDS_DATA_DIR")
    return path


@pytest.fixture(scope="session")
def mirrored():
    """A strategy over the two virtual devices.

    Collectives are numbered anew by every strategy but known to the process,
    so a second strategy that used them would run into the first one's. This
    one sums without them and lives beside any other.
    """
    return tf.distribute.MirroredStrategy(
        [device.name for device in tf.config.list_logical_devices("CPU")],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


@pytest.fixture(scope="session")
def save_run():
    """Writes a run directory as training leaves it, at step 0.

    Takes the directory, the configuration, the images' shape and, for a model
    on one, the backbone; returns the model.
    """
    from trainers import rundir

    def save(workdir, config, image_shape=(32, 32, 1), backbone=None):
        config = rundir.claim(workdir, config, image_shape)
        model = rundir.build_model(config, image_shape, backbone)
        model.compile()
        rundir.Checkpoints(model, workdir / "checkpoints").save()
        return model

    return save


@pytest.fixture
def narrow_ali(monkeypatch):
    """ALI's networks with their kernels and strides, but few filters."""
    from tfdisent import networks

    def narrow(spec):
        convolutions = {
            name: tuple((kernel, stride, 4) for kernel, stride, _ in spec[name])
            for name in ("encoder", "generator", "critic_image")
        }
        dense = {"critic_code": (8, 8), "critic_joint": (8, 8)}
        head = spec["generator_head"] and 4
        return {**spec, **convolutions, **dense, "generator_head": head}

    specs = {side: narrow(spec) for side, spec in networks.ALI.items()}
    monkeypatch.setattr(networks, "ALI", specs)
