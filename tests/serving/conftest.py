"""A server in a process of its own, and the SavedModels it serves."""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]
TYPES = {
    "float": tf.float32,
    "double": tf.float64,
    "int32": tf.int32,
    "int16": tf.int16,
    "int8": tf.int8,
    "uint8": tf.uint8,
    "int64": tf.int64,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "bool": tf.bool,
    "string": tf.string,
    "half": tf.float16,
}
PORTS = re.compile(
    r"http://127\.0\.0\.1:(\d+)/.*gRPC: 127\.0\.0\.1:(\d+)", re.S
)


def signature(function, **specs):
    """A concrete function of named inputs, {name: (shape, dtype)}."""
    return tf.function(function).get_concrete_function(
        **{
            name: tf.TensorSpec(shape, dtype, name=name)
            for name, (shape, dtype) in specs.items()
        }
    )


class Halves(tf.Module):
    """y = x / 2 + offset: which version answered can be told from y."""

    def __init__(self, offset):
        super().__init__()
        self.offset = tf.Variable(float(offset))

    def signatures(self):
        halve = signature(
            lambda x: {"y": x / 2 + self.offset}, x=([None], tf.float32)
        )
        return {"serving_default": halve}


class Zoo(tf.Module):
    """Signatures of every kind that the protocol treats differently."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones([3, 2]))
        self.start = tf.Variable(0.0)

    def _loop(self, x):
        # Takes as long as x asks for: seconds for a million.
        steps = tf.reduce_max(x)
        end = tf.while_loop(
            lambda i: i < steps, lambda i: (i + 1.0,), (self.start + 0.0,)
        )
        return {"y": x + (end[0] - steps)}

    def _positive(self, x):
        with tf.control_dependencies(
            [tf.debugging.assert_positive(x, message="x must be positive")]
        ):
            return {"y": tf.identity(x)}

    def _parse(self, inputs):
        return tf.io.parse_example(
            inputs,
            {
                "x": tf.io.FixedLenFeature([], tf.float32),
                "bias": tf.io.FixedLenFeature([], tf.float32, 0.0),
            },
        )

    def _regress(self, inputs):
        features = self._parse(inputs)
        return {"outputs": 2 * features["x"] + features["bias"]}

    def _classify(self, inputs):
        x = self._parse(inputs)["x"]
        names = tf.constant([["small", "large"]])
        return {
            "scores": tf.stack([1 - x, x], 1),
            "classes": tf.repeat(names, tf.shape(x)[0], 0),
        }

    def signatures(self):
        rows = ([None], tf.float32)
        found = {
            "two": signature(
                lambda a, b: {"sum": a + b, "difference": a - b}, a=rows, b=rows
            ),
            "scaled": signature(lambda x: {"y": 2 * x}, x=(None, tf.float32)),
            "matrix": signature(
                lambda x: {"y": x @ self.weight}, x=([None, None], tf.float32)
            ),
            "bytes": signature(
                lambda data: {"data_bytes": data}, data=(None, tf.string)
            ),
            "positive": signature(self._positive, x=rows),
            "loop": signature(self._loop, x=rows),
            # Declares rows, returns others.
            "liar": signature(
                lambda x: {"y": tf.ensure_shape(x[:1] + len_(x), [None])},
                x=rows,
            ),
            "selected": signature(
                lambda x: {"y": tf.boolean_mask(x, x > 0)}, x=rows
            ),
            "shapes": signature(
                lambda x: {"row": x, "all": tf.reduce_sum(x)},
                x=(None, tf.float32),
            ),
            "to_half": signature(
                lambda x: {"y": tf.cast(x, tf.float16)}, x=rows
            ),
            "regress": signature(self._regress, inputs=([None], tf.string)),
            "classify": signature(self._classify, inputs=([None], tf.string)),
        }
        for name, dtype in TYPES.items():
            found[name] = signature(
                lambda x: {"y": tf.identity(x)}, x=(None, dtype)
            )
        return {"serving_default": found["positive"], **found}


def save_graph(directory):
    """A SavedModel as TensorFlow 1 wrote them: one graph for all signatures."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = v1.placeholder(tf.string, [None])
        features = {"x": tf.io.FixedLenFeature([], tf.float32)}
        x = tf.io.parse_example(inputs, features)["x"]
        weight = v1.get_variable("weight", initializer=2.0)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(directory))
        info = v1.saved_model.utils.build_tensor_info
        define = v1.saved_model.signature_def_utils.build_signature_def
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "regress": define(
                    {"inputs": info(inputs)},
                    {"outputs": info(weight * x)},
                    "tensorflow/serving/regress",
                ),
                "classify": define(
                    {"inputs": info(inputs)},
                    {"scores": info(tf.stack([1 - x, x], 1))},
                    "tensorflow/serving/classify",
                ),
            },
        )
        builder.save()


def len_(x):
    return tf.cast(tf.shape(x)[0], x.dtype)


def save(module, directory):
    tf.saved_model.save(module, str(directory), signatures=module.signatures())


CONFIG = """
model_config_list {
  config {
    name: "halves" base_path: "halves" model_platform: "tensorflow"
    model_version_policy { all {} }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
  }
  config { name: "zoo" base_path: "zoo" model_platform: "tensorflow" }
  config { name: "tiny" base_path: "tiny" model_platform: "tensorflow" }
  config { name: "m:x/y" base_path: "halves" model_type: TENSORFLOW }
  config { name: "graph" base_path: "graph" model_platform: "tensorflow" }
  config { name: "broken" base_path: "broken" model_platform: "tensorflow" }
}
"""


@pytest.fixture(scope="session")
def halves(tmp_path_factory):
    """SavedModels whose offset is 2, 3 and 4, to be copied as versions."""
    folder = tmp_path_factory.mktemp("halves")
    for offset in (2, 3, 4):
        save(Halves(offset), folder / str(offset))
    return folder


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """The directory of a model with every kind of signature."""
    folder = tmp_path_factory.mktemp("served") / "zoo"
    save(Zoo(), folder / "1")
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`(model, directory)` of an autoencoder as `export` writes it."""
    from export import saved_model
    from tfdisent.models.autoencoder import Autoencoder

    keras.utils.set_random_seed(0)
    model = Autoencoder((32, 32, 1), latent_dim=8, filters=(4, 4, 4), hidden=8)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1))
    directory = tmp_path_factory.mktemp("exported") / "tiny"
    saved_model.export_model(
        model,
        directory,
        samples={"image": images.astype(np.uint8)},
        max_pixels=10_000,
    )
    return model, directory


class Server:
    """A running `serving.run`.

    Args:
      models: the directory it serves.
      flags: further ones.
      program: what Python runs.
    """

    def __init__(self, models, *flags, program=("-m", "serving.run")):
        # A pipe that nobody reads would stop the server when it is full.
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [
                sys.executable,
                *program,
                f"--models={models}",
                "--rest_port=0",
                "--grpc_port=0",
                "--file_system_poll_wait_seconds=0.2",
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )

    @functools.cached_property
    def ports(self):
        """Of REST and gRPC; the process takes seconds to say them."""
        lines = self.process.stdout.readline() + self.process.stdout.readline()
        found = PORTS.search(lines)
        if not found:
            pytest.fail(f"no server: {self.printed()}")
        return tuple(map(int, found.groups()))

    @property
    def rest_port(self):
        return self.ports[0]

    @property
    def grpc_port(self):
        return self.ports[1]

    def request(self, method, path, body=None, headers=()):
        """`(status, headers, body)` of one request; a str or bytes body."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.rest_port, timeout=60
        )
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_accept_encoding=True)
            data = body.encode() if isinstance(body, str) else body
            for name, value in dict(headers).items():
                connection.putheader(name, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def get(self, path):
        """`(status, parsed body)`."""
        status, _, body = self.request("GET", path)
        return status, json.loads(body)

    def predict(self, model, value, path=""):
        """`(status, parsed body)` of a predict request."""
        body = value if isinstance(value, str | bytes) else json.dumps(value)
        status, _, answer = self.request(
            "POST", f"/v1/models/{model}{path}:predict", body
        )
        return status, json.loads(answer)

    def wait_for(self, model, version, state="AVAILABLE", seconds=120):
        """Waits until a version is in a state; returns its status."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            code, body = self.get(f"/v1/models/{model}/versions/{version}")
            if (
                code == 200
                and body["model_version_status"][0]["state"] == state
            ):
                return body["model_version_status"][0]
            time.sleep(0.05)
        pytest.fail(
            f"{model} {version} is not {state}: {body}; {self.printed()}"
        )

    def stop(self, number=signal.SIGTERM):
        """The exit status and what was printed to stderr."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """The same, of a server that is stopping."""
        self.process.communicate(timeout=60)
        return self.process.returncode, self.printed()

    def printed(self):
        """What it has logged."""
        self.log.seek(0)
        return self.log.read()


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """`start(models, *flags) -> Server`; stopped at the end at the latest."""
    servers = []

    def start(models, *flags, **options):
        servers.append(Server(models, *flags, **options))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@pytest.fixture(scope="session")
def server(start, request, tmp_path_factory):
    """One server for all tests that do not change what is served."""
    models = tmp_path_factory.mktemp("models")
    config = models / "models.config"
    config.write_text(CONFIG)
    # TensorFlow starts there while models are made here.
    server = start(models, f"--model_config_file={config}")
    halves, zoo, (_, tiny) = map(
        request.getfixturevalue, ("halves", "zoo", "exported")
    )
    for version, offset in ((1, 2), (2, 3)):
        shutil.copytree(halves / str(offset), models / "halves" / str(version))
    shutil.copytree(zoo, models / "zoo")
    shutil.copytree(tiny, models / "tiny")
    save_graph(models / "graph" / "1")
    (models / "broken" / "7").mkdir(parents=True)
    (models / "broken" / "7" / "saved_model.pb").write_bytes(b"\xff\xff")
    for model, version in (
        ("halves", 1),
        ("halves", 2),
        ("zoo", 1),
        ("tiny", 1),
        ("graph", 1),
        ("m%3Ax%2Fy", 2),
    ):
        server.wait_for(model, version)
    server.wait_for("broken", 7, "END")
    return server


# ---- models with named parts ------------------------------------------------


@pytest.fixture(scope="session")
def parts_server(start, tmp_path_factory):
    """A server of two exported models: `vae` (64x64) and `labelled` (8x8).

    Its `models` is the directory they are in; pages of other addresses may
    ask it.
    """
    import numpy as np

    from export import saved_model
    from tfdisent.models.base import PartsModel
    from tfdisent.models.beta_vae import BetaVAE

    class Labelled(PartsModel):
        """The least model with a label, a map and a unit of two parts."""

        takes_label = True
        parts = {"root": (4, 4, 3), "code": (4,), "label": (5,)}
        units = {"root": ("root",), "class": ("label", "code")}

        def __init__(self):
            super().__init__((8, 8, 3))
            self.scale = self.add_weight(shape=(), initializer="ones")
            self.built = True

        def encode(self, image, label):
            return {
                "root": image[:, ::2, ::2],
                "code": self.scale * image[:, 0, ::2, 0],
                "label": tf.one_hot(label, 5),
            }

        def decode(self, root, code, label):
            weights = tf.linspace([0.0], [1.0], 5)
            shift = tf.reduce_mean(code, -1, True) + label @ weights
            large = tf.repeat(tf.repeat(root, 2, 1), 2, 2)
            return tf.sigmoid(large + shift[..., None, None])

    models = tmp_path_factory.mktemp("parts")
    # TensorFlow starts there while models are exported here.
    served = start(models, "--rest_api_enable_cors_support")
    draw = np.random.default_rng(0)
    vae = BetaVAE(image_shape=(64, 64, 1), latent_dim=4)
    images = draw.random((64, 64, 64, 1), np.float32)
    samples = draw.integers(0, 256, (4, 8, 8, 3), np.uint8)
    saved_model.export_model(
        vae,
        models / "vae",
        card={
            "ranges": saved_model.code_ranges(vae, images),
            "dataset": {"name": "noise"},
            "scores": {"mig": {"mean": 0.25, "std": 0.5}, "seed": 3},
        },
        samples={"image": images[:4]},
    )
    saved_model.export_model(
        Labelled(),
        models / "labelled",
        samples={"image": samples, "label": np.array([0, 1, 2, 3])},
    )
    for name in ("vae", "labelled"):
        served.wait_for(name, 1, seconds=120)
    served.models = models
    return served
