"""Several devices and several workers train exactly as one device does."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent import testing
from trainers import strategy as strategies

ROOT = pathlib.Path(__file__).parents[2]
WORKER = """
import sys
import keras
import numpy as np
from tfdisent import data
from tfdisent.models.autoencoder import Autoencoder
from trainers import config, strategy, train

# With SGD rounding stays rounding; Adam's first steps are lr * sign(g).
Autoencoder.default_optimizers = lambda self: {
    "main": keras.optimizers.SGD(1e-3)
}
losses = []
train.Progress.__call__ = lambda self, step, scalars: losses.append(
    scalars["loss"]
)
name, workdir, result = sys.argv[1:]
chosen = strategy.choose(name)
settings = ["filters=4,4", "hidden=8", "latent_dim=6", "batch_size=8",
            "steps=5", "log_every=1", "checkpoint_every=2", "code_noise=0.1",
            "input_noise=0.1"]
run = config.build("autoencoder", "digits", settings=settings)
model, _ = train.train_images(run, workdir, data.load("digits"), chosen)
if strategy.is_chief(chosen):
    weights = [np.asarray(v) for v in model.trainable_variables]
    np.savez(result, losses=losses, *weights)
"""


def start(name, workdir, result, tf_config=None):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, name, str(workdir), str(result)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    try:
        for process in processes:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output[-3000:]
    finally:
        # A worker waits for ever for one that failed.
        for process in processes:
            process.kill()


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.mark.slow
def test_two_workers_train_as_one_process(tmp_path):
    finish(start("single", tmp_path / "one", tmp_path / "one.npz"))
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    finish(
        *[
            start(
                "multiworker",
                tmp_path / "two",
                tmp_path / "two.npz",
                {"cluster": cluster, "task": {"type": "worker", "index": n}},
            )
            for n in range(2)
        ]
    )
    one, two = (np.load(tmp_path / f"{n}.npz") for n in ("one", "two"))
    assert len(one["losses"]) == 5
    np.testing.assert_allclose(one["losses"], two["losses"], rtol=1e-4)
    names = [name for name in one.files if name != "losses"]
    assert len(names) >= 12
    for name in names:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5)
    # The chief's checkpoints are the run's; nothing else is left there.
    assert (tmp_path / "two/checkpoints/ckpt-5.index").exists()
    assert not list((tmp_path / "two").glob("worker*"))


def test_choices():
    assert strategies.choose("single").num_replicas_in_sync == 1
    # No GPU here, so nothing is mirrored unless it is asked for.
    if not tf.config.list_physical_devices("GPU"):
        assert strategies.choose("auto").num_replicas_in_sync == 1
    devices = len(tf.config.list_logical_devices("CPU"))
    assert strategies.choose("mirrored").num_replicas_in_sync == devices
    # Collectives of a second one would meet the first one's.
    assert strategies.choose("mirrored") is strategies.choose("mirrored")
    with pytest.raises(InputError, match="auto, single, mirrored"):
        strategies.choose("tpu")


@pytest.mark.parametrize("name", ["fden", "factor_vae", "class_vae"])
def test_a_runs_replicas_train_what_looks_across_the_batch(name):
    """Collectives forget the shapes that the other tests' strategy keeps."""

    def train(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(1)
            norm = {"norm": None} if name == "fden" else {}
            model = testing.tiny_model(name, **norm)
            rate = 1e-2 if name == "fden" else 1e-5
            model.compile(
                {
                    key: keras.optimizers.SGD(rate)
                    for key in model.default_optimizers()
                }
            )
        batch = testing.random_batch(model)
        replicas = strategy.num_replicas_in_sync

        def share(context):
            return {
                key: tf.split(value, replicas)[context.replica_id_in_sync_group]
                for key, value in batch.items()
            }

        @tf.function(jit_compile=False)
        def step(shares):
            strategy.run(model.train_step, args=(shares,))

        before = [v.numpy() for v in model.trainable_variables]
        for _ in range(3):
            shares = strategy.experimental_distribute_values_from_function(
                share
            )
            step(shares)
        return before, [v.numpy() for v in model.trainable_variables]

    before, one = train(tf.distribute.get_strategy())
    _, two = train(strategies.choose("mirrored"))
    moved = max(np.abs(a - b).max() for a, b in zip(before, one, strict=True))
    off = max(np.abs(a - b).max() for a, b in zip(one, two, strict=True))
    assert moved > 1e-5
    assert off < min(1e-5, 0.1 * moved)


@pytest.mark.parametrize("name", ["auto", "mirrored"])
def test_several_gpus_are_mirrored(name, monkeypatch):
    gpus = [types.SimpleNamespace(name=f"/gpu:{n}") for n in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(strategies, "_mirrored", lambda devices: devices)
    assert strategies.choose(name) == ("/gpu:0", "/gpu:1")
    assert strategies.choose("single").num_replicas_in_sync == 1
    del gpus[1]
    one = strategies.choose(name)
    if name == "mirrored":
        assert one == ("/gpu:0",)
    else:
        assert one is tf.distribute.get_strategy()


def test_the_memory_of_every_gpu_grows(monkeypatch):
    grown = []
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", kind]
    )
    monkeypatch.setattr(
        tf.config.experimental,
        "set_memory_growth",
        lambda device, enable: grown.append((device, enable)),
    )
    strategies.prepare_devices()
    assert grown == [("GPU:0", True), ("GPU", True)]


@pytest.mark.parametrize(
    ("flags", "precision", "slower"),
    [
        ("avx2 fma", "mixed_bfloat16", True),
        ("avx2 avx512_bf16", "mixed_bfloat16", False),
        ("avx2 fma", "float32", False),
        (None, "mixed_bfloat16", False),
    ],
)
def test_a_precision_that_only_costs_time_is_named(
    flags, precision, slower, tmp_path
):
    processor = tmp_path / "cpuinfo"
    if flags:
        processor.write_text(f"flags : {flags}\n")
    said = strategies.slower_here(precision, processor)
    assert ("slower than float32" in said) == slower
    assert bool(said) == slower


def test_one_process_is_its_own_chief():
    assert strategies.is_chief(tf.distribute.get_strategy())
