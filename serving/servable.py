"""One loaded version of a model: its signatures and how they are run."""

import dataclasses
import functools
import pathlib
import re

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving import tensors
from serving.errors import NODE
from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid

DEFAULT_SIGNATURE = "serving_default"
TAG = "serve"
WARMUP_FILE = pathlib.Path("assets.extra", "tf_serving_warmup_requests")
# More warm-up requests fail the load, as in TensorFlow Serving.
MAX_WARMUP_REQUESTS = 1000
# What TensorFlow's functions put around the message of an operation.
PREFIX = re.compile(
    r"\AGraph execution error:\s*"
    r"(?:Detected at node [^\n]*\n)?(?:<stack traces unavailable>\n)?"
)
SUFFIX = re.compile(r"\s*\[Op:\w+\](?: name: \S*)?\s*\Z")


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input or output of a signature.

    Attributes:
      dtype: a `tf.DType`.
      shape: tuple with None for open axes; None where the rank is open.
    """

    dtype: tf.DType
    shape: tuple | None

    @classmethod
    def from_proto(cls, info):
        shape = tf.TensorShape(info.tensor_shape)
        known = None if shape.rank is None else tuple(shape.as_list())
        return cls(tf.dtypes.as_dtype(info.dtype), known)

    @property
    def batched(self):
        """Whether it says that it takes any number of rows."""
        return bool(self.shape) and self.shape[0] is None


@dataclasses.dataclass(frozen=True, eq=False)
class Signature:
    """A function of a loaded version.

    Attributes:
      name: of the signature.
      inputs, outputs: {alias: `Spec`}.
      function: a TensorFlow function of the inputs by name; None where the
        entry is no function, as that of the initialiser.
    """

    name: str
    inputs: dict
    outputs: dict
    function: object

    @functools.cached_property
    def batched(self):
        """Whether requests for it may be put together along the first axis."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.batched for spec in specs)

    def run(self, inputs):
        """Runs it.

        Args:
          inputs: {alias: array}, every alias of the signature, of its dtype.

        Returns:
          {alias: array}; strings are object arrays of bytes.

        Raises:
          RequestError: with the code and message of the failing operation.
        """
        if self.function is None:
            raise invalid(f"Signature {self.name} computes nothing.")
        try:
            outputs = self.function(
                **{name: tf.constant(value) for name, value in inputs.items()}
            )
            return {name: _array(value) for name, value in outputs.items()}
        except tf.errors.OpError as error:
            raise RequestError(
                Code(error.error_code), operation_message(error.message)
            ) from error
        except (TypeError, ValueError) as error:
            raise invalid(str(error)) from error


def _array(tensor):
    value = tensor.numpy()
    # Of no rank, strings arrive as plain bytes.
    return np.array(value, object) if isinstance(value, bytes) else value


def operation_message(text):
    """What an operation said, without what TensorFlow's functions add."""
    return NODE.sub("", PREFIX.sub("", SUFFIX.sub("", text))).strip()


class Servable:
    """A version in memory.

    Args:
      name: of the model.
      version: its number.
      path: its directory.

    Attributes:
      name, version, path: as given.
      signature_defs: {name: `SignatureDef`} as saved_model.pb has them.
      signatures: {name: `Signature`} of those.

    Raises:
      RequestError: it cannot be loaded, or a warm-up request of it fails.
    """

    def __init__(self, name, version, path):
        self.name = name
        self.version = version
        self.path = pathlib.Path(path)
        self.signature_defs = read_signature_defs(self.path)
        try:
            # Variables and tables die with the object: it is kept.
            self._loaded = tf.saved_model.load(str(self.path), tags=[TAG])
        except tf.errors.OpError as error:
            raise RequestError(
                Code(error.error_code), operation_message(error.message)
            ) from error
        except Exception as error:
            # A SavedModel is a program: anything may go wrong in it.
            raise RequestError(
                Code.UNKNOWN, f"{type(error).__name__}: {error}"
            ) from error
        self.signatures = {
            key: self._signature(key, entry)
            for key, entry in self.signature_defs.items()
        }
        self._warm_up()

    def _signature(self, name, entry):
        function = self._loaded.signatures.get(name)
        if function is None:
            # The initialiser is listed too, with an output of no type.
            return Signature(name, {}, {}, None)
        inputs, outputs = (
            {
                alias: Spec.from_proto(info)
                for alias, info in sorted(side.items())
            }
            for side in (entry.inputs, entry.outputs)
        )
        return Signature(name, inputs, outputs, function)

    @property
    def listed(self):
        """The names of its signatures, for messages."""
        # The one that initialises a SavedModel cannot be called.
        return ", ".join(n for n in self.signatures if not n.startswith("__"))

    def signature(self, name):
        """The signature of a name, the default one of "", or None."""
        return self.signatures.get(name or DEFAULT_SIGNATURE)

    def _warm_up(self):
        path = self.path / WARMUP_FILE
        if not path.exists():
            return
        records = tf.data.TFRecordDataset(str(path))
        for number, record in enumerate(records.as_numpy_iterator()):
            if number == MAX_WARMUP_REQUESTS:
                raise invalid(
                    f"Number of warmup records exceeds {MAX_WARMUP_REQUESTS}"
                )
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                continue
            request = log.predict_log.request
            signature = self.signature(request.model_spec.signature_name)
            if signature is None:
                raise RequestError(
                    Code.FAILED_PRECONDITION,
                    "Warm-up names an unknown signature: "
                    f"{request.model_spec.signature_name!r}",
                )
            signature.run(tensors.read_inputs(signature, request.inputs))


def read_signature_defs(path):
    """{name: `SignatureDef`} of a version's saved_model.pb.

    Raises:
      RequestError: there is none, or none for serving in it.
    """
    try:
        data = (path / "saved_model.pb").read_bytes()
        saved = saved_model_pb2.SavedModel.FromString(data)
    except OSError as error:
        raise RequestError(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb at supplied export directory "
            f"path: {path}",
        ) from error
    except Exception as error:
        raise RequestError(
            Code.DATA_LOSS, f"Can't parse {path / 'saved_model.pb'}: {error}"
        ) from error
    for graph in saved.meta_graphs:
        if TAG in graph.meta_info_def.tags:
            return dict(sorted(graph.signature_def.items()))
    raise RequestError(
        Code.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {TAG} }}",
    )
