"""Asks a served model to encode, decode, swap and sample.

    python -m serving.client encode a.png b.png --out=codes.npz
    python -m serving.client decode codes.npz --out=back.png
    python -m serving.client swap a.png b.png --units=identity --out=c.png
    python -m serving.client sample --count=4 --out=s.png

--server is a REST address, or a gRPC one as grpc://localhost:8500; TensorFlow
Serving and `serving.run` are asked in the same way.
"""

import argparse
import base64
import dataclasses
import io
import json
import math
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Callable

import numpy as np

from serving.errors import NODE
from serving.run import USAGE_STATUS
from serving.run import Parser
from serving.run import positive

SERVER = "http://localhost:8501"
TIMEOUT = 30.0
# Requests change nothing, so one that failed may be sent again: when it did
# not get through, or the server says that it is busy or not there yet.
RETRIES = 4
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
RETRIED_STATUS = (429, 503)
RETRIED_CODES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
# A gRPC request is kept for sending it again up to this size.
RETRIED_BYTES = 2**25

DTYPES = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_BOOL": np.bool_,
    # Arrays of bytes of any length.
    "DT_STRING": np.object_,
}


class ServingError(Exception):
    """A request that cannot be sent, or that a server does not fulfil.

    Args:
      message: what is wrong and, where that helps, what is expected.
      status: the HTTP status or the name of the gRPC code; None where the
        request was not sent or not answered.
    """

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input or output of a signature.

    Attributes:
      dtype: TensorFlow's name of it, `"DT_FLOAT"`.
      shape: None for every open axis, the batch first; None altogether where
        the rank is open.
    """

    dtype: str
    shape: tuple | None

    def __str__(self):
        kind = self.dtype.removeprefix("DT_").lower()
        if self.shape is None:
            return kind
        inner = ["B", *("?" if n is None else str(n) for n in self.shape[1:])]
        return f"{kind} [{', '.join(inner[: len(self.shape)])}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a served function takes and returns, `{name: Spec}` each."""

    inputs: dict
    outputs: dict

    def __str__(self):
        return ", ".join(f"{name} {spec}" for name, spec in self.inputs.items())


class Client:
    """A model on a server, asked for its named parts.

    Images are given as files (paths, or the bytes of PNG or JPEG data), which
    the model reads and resizes itself, or as arrays, float in [0, 1] or
    uint8, `[H, W, C]` or `[B, H, W, C]`. Whatever has one row is repeated for
    the others.

    ```python
    client = Client("http://localhost:8501", "fden")
    parts = client.encode(["a.png", "b.png"])
    image = client.swap("a.png", "b.png", units=["identity"])
    ```

    Args:
      server: `http://HOST:PORT`, or `grpc://HOST:PORT` (imports TensorFlow).
      model: its name; None for the only one of a `serving.run`.
      version: a number, a label such as `"stable"`, or None for the latest.
      card: the model card, its path or what it says. None asks the server;
        only `serving.run` has it, and only names of units need it.
      timeout: seconds that one attempt may take.
      retries: further attempts, each after a longer wait.

    Raises:
      ServingError: from every method, see there.
    """

    def __init__(
        self,
        server=SERVER,
        model=None,
        version=None,
        card=None,
        timeout=TIMEOUT,
        retries=RETRIES,
    ):
        scheme, _, place = server.partition("://")
        transports = {"http": _Rest, "https": _Rest, "grpc": _Grpc}
        if scheme not in transports or not place:
            raise ServingError(
                f"{server!r} is no address of a server; they look like "
                "http://localhost:8501 or grpc://localhost:8500."
            )
        self._transport = transports[scheme](server, timeout, retries)
        self.model = model or self._transport.only_model()
        self.version = version
        self._signatures = None
        self._card = card

    @property
    def signatures(self):
        """{name: `Signature`} of the model, asked for once."""
        if self._signatures is None:
            found = self._transport.metadata(self.model, self.version)
            self._signatures = {
                name: Signature(
                    _specs(entry.get("inputs")), _specs(entry.get("outputs"))
                )
                for name, entry in found.items()
                # The one that initialises a SavedModel cannot be called.
                if not name.startswith("__")
            }
        return self._signatures

    @property
    def card(self):
        """The version's card, `{}` where there is none; asked for once."""
        if self._card is None:
            found = self._transport.card(self.model, self.version)
            self._card = found if isinstance(found, dict) else {}
        elif not isinstance(self._card, dict):
            self._card = _read_card(self._card)
        return self._card

    # ---- the verbs --------------------------------------------------------

    def encode(self, images, label=None):
        """The parts of images.

        Args:
          images: one or several.
          label: int or `[B]`, for a model that takes it.

        Returns:
          {part: float32 `[B, *shape]`}.

        Raises:
          ServingError: a file that cannot be read, or what the server says.
        """
        name, images = _images(images, "image")
        signature = "encode_bytes" if name == "image_bytes" else "encode"
        labels = {} if label is None else {"label": label}
        found = self.predict(signature, **{name: images}, **labels)
        order = [name for name in self.card.get("parts", {}) if name in found]
        return {name: found[name] for name in order or sorted(found)}

    def decode(self, png=False, **parts):
        """Images of parts.

        Args:
          png: whether to return files instead of arrays.
          **parts: every part by its name, `[B, *shape]` or `shape`.

        Returns:
          float32 `[B, H, W, C]` in [0, 1], or a list of PNG data.

        Raises:
          ServingError: a part too few or too many, or of another shape.
        """
        signature = "decode_bytes" if png else "decode"
        return _pictures(self.predict(signature, **parts), png)

    def swap(
        self,
        source,
        target,
        units,
        source_label=None,
        target_label=None,
        png=False,
    ):
        """Images of the source with some units of the target.

        Args:
          source, target: one or several images, both files or both arrays.
          units: names of the units to take from the target, or {name: weight}
            with 0 for the source's, 1 for the target's; or weights `[B, n]`
            or `[n]` in the order of the model card.
          source_label, target_label: ints or `[B]`, where the model takes
            labels.
          png: whether to return files instead of arrays.

        Returns:
          float32 `[B, H, W, C]` in [0, 1] (of 8 bits where images were given
          as files), or a list of PNG data.

        Raises:
          ServingError: a unit that the model does not have, or what the
            server says.
        """
        name, source = _images(source, "source")
        other, target = _images(target, "target")
        files = name.endswith("_bytes")
        if files != other.endswith("_bytes"):
            raise ServingError(
                "Source and target must both be files or both be arrays."
            )
        labels = {"source_label": source_label, "target_label": target_label}
        found = self.predict(
            "swap_bytes" if files else "swap",
            **{name: source, other: target, "mix": self._mix(units)},
            **{n: value for n, value in labels.items() if value is not None},
        )
        return _pictures(found, png)

    def sample(self, count=1, seed=0, png=False):
        """Images from the prior.

        Args:
          count: how many.
          seed: int; image i follows (seed, i) alone.
          png: whether to return files instead of arrays.

        Returns:
          float32 `[B, H, W, C]` in [0, 1], or a list of PNG data.

        Raises:
          ServingError: the model has no prior, or what the server says.
        """
        seeds = np.stack([np.full(count, seed), np.arange(count)], axis=1)
        return _pictures(self.predict("sample", seed=seeds), png)

    def _mix(self, units):
        """Weights `[n]` or `[B, n]` of named units."""
        if isinstance(units, (str, bytes)):
            units = [units]
        if not isinstance(units, dict):
            units = list(units)
            if not all(isinstance(unit, str) for unit in units):
                return units
            units = dict.fromkeys(units, 1.0)
        known = list(self.card.get("units", {}))
        if not known:
            # A model that is not there has no card either: says so.
            _ = self.signatures
            raise ServingError(
                "The names of units are in the model card, which this server "
                "does not have: give the file (--card=..., "
                "assets.extra/model_card.json of the version)."
            )
        unknown = [unit for unit in units if unit not in known]
        if unknown:
            raise ServingError(
                f"{self.model} has no unit {unknown[0]!r}; it has: "
                f"{', '.join(known)}."
            )
        return [units.get(unit, 0.0) for unit in known]

    # ---- any signature ----------------------------------------------------

    def predict(self, signature, /, **inputs):
        """Calls a signature of the model.

        Args:
          signature: its name.
          **inputs: what it takes, converted to its types; a value without
            the batch's axis is one row, one row is repeated for the others.

        Returns:
          {name: array} of its outputs; strings as objects of bytes.

        Raises:
          ServingError: other inputs than the signature's, a server that
            cannot be reached, or one that refuses.
        """
        spec = self.signatures.get(signature)
        if spec is None:
            raise ServingError(
                f"{self.model} has no signature {signature!r}; it has: "
                f"{', '.join(sorted(self.signatures))}."
            )
        expects = f" {signature} of {self.model} expects: {spec}."
        if set(inputs) != set(spec.inputs):
            missing = [name for name in spec.inputs if name not in inputs]
            extra = [name for name in inputs if name not in spec.inputs]
            said = f"Missing: {', '.join(missing)}. " if missing else ""
            said += f"Not an input: {', '.join(extra)}. " if extra else ""
            raise ServingError(f"{said.strip()}{expects}")
        try:
            arrays = {
                name: _array(name, inputs[name], wanted)
                for name, wanted in spec.inputs.items()
            }
            arrays = _same_rows(arrays)
        except (ValueError, TypeError, OverflowError) as error:
            raise ServingError(f"{_sentence(error)}{expects}") from error
        try:
            return self._transport.predict(
                self.model, self.version, signature, arrays, spec
            )
        except ServingError as error:
            if error.status in (400, "INVALID_ARGUMENT"):
                raise ServingError(f"{error}{expects}", error.status) from error
            raise


# ---- values -----------------------------------------------------------------


def _specs(entries):
    """{name: `Spec`} of the tensors in a signature's JSON."""
    specs = {}
    # Maps of protocol buffers have no order.
    for name, entry in sorted((entries or {}).items()):
        shape = entry.get("tensor_shape", {})
        dims = tuple(int(dim.get("size", 0)) for dim in shape.get("dim", []))
        known = tuple(None if size < 0 else size for size in dims)
        open_rank = shape.get("unknown_rank", False)
        specs[name] = Spec(
            entry.get("dtype", "DT_INVALID"), None if open_rank else known
        )
    return specs


def _array(name, value, spec):
    """A value as an array of a signature's type and shape."""
    if spec.dtype not in DTYPES:
        raise TypeError(f"{name} is of {spec.dtype}, which is not sent here")
    dtype = DTYPES[spec.dtype]
    if isinstance(value, bytes):
        value = [value]
    array = np.asarray(value)
    if np.issubdtype(dtype, np.integer) and array.dtype.kind not in "iub":
        raise TypeError(f"{name} must be whole numbers")
    if dtype is not np.object_ and array.dtype.kind not in "iufb":
        raise TypeError(f"{name} must be numbers")
    # Not `astype` alone, which wraps what is too large.
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if array.size and not (
            limits.min <= array.min() and array.max() <= limits.max
        ):
            raise OverflowError(f"{name} does not fit into {dtype.__name__}")
    array = array.astype(dtype)
    if spec.shape is None:
        return array
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    fits = array.ndim == len(spec.shape) and all(
        wanted in (None, size)
        for wanted, size in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} has shape {list(np.shape(value))}")
    return array


def _same_rows(arrays):
    """Repeats what has one row as often as the others have rows."""
    rows = {len(array) for array in arrays.values() if array.ndim} - {1}
    if len(rows) > 1:
        raise ValueError(
            "Inputs have "
            + ", ".join(f"{len(a)} ({n})" for n, a in arrays.items() if a.ndim)
            + " rows"
        )
    count = rows.pop() if rows else 1
    return {
        name: array.repeat(count, axis=0)
        if array.ndim and len(array) == 1
        else array
        for name, array in arrays.items()
    }


def _images(images, name):
    """`(input's name, value)` of images given as files or arrays."""
    if isinstance(images, (str, bytes, os.PathLike)):
        images = [images]
    if isinstance(images, (list, tuple)) and all(
        isinstance(image, (str, bytes, os.PathLike)) for image in images
    ):
        return f"{name}_bytes", [_contents(image) for image in images]
    array = np.asarray(images)
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 255.0
    return name, array


def _contents(image):
    if isinstance(image, bytes):
        return image
    try:
        return pathlib.Path(image).read_bytes()
    except OSError as error:
        raise ServingError(
            f"Cannot read {str(image)!r}: {error.strerror}."
        ) from error


def _pictures(outputs, png):
    """Images of a signature's outputs, as arrays or PNG data."""
    if "image_bytes" in outputs:
        files = list(outputs["image_bytes"])
        return files if png else _decoded(files)
    images = outputs["image"]
    return [_encoded(image) for image in images] if png else images


def _decoded(files):
    """float32 `[B, H, W, C]` of PNG data."""
    from PIL import Image

    pixels = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    images = np.stack(pixels).astype(np.float32) / 255.0
    return images if images.ndim == 4 else images[..., None]


def _encoded(image):
    """PNG data of float `[H, W, 1 or 3]` in [0, 1]."""
    from PIL import Image

    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    file = io.BytesIO()
    squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(squeezed).save(file, format="PNG")
    return file.getvalue()


def _read_card(path):
    try:
        card = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if not isinstance(card, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise ServingError(f"No model card in {str(path)!r}: {error}") from None
    return card


def _sentence(error):
    # Of TensorFlow Serving; `serving.run` leaves it out.
    text = NODE.sub("", str(error)).strip()
    return text if text.endswith(".") else f"{text}."


# ---- REST -------------------------------------------------------------------


class _Rest:
    """TensorFlow Serving's REST protocol.

    Requests and answers go in rows, or in columns where there are no rows.
    """

    def __init__(self, server, timeout, retries):
        import urllib3

        class Retry(urllib3.Retry):
            """Sends a request again, but not one that took too long."""

            def increment(self, *args, error=None, **kwargs):
                if isinstance(error, urllib3.exceptions.ReadTimeoutError):
                    raise error
                return super().increment(*args, error=error, **kwargs)

        self.server = server.rstrip("/")
        self.failures = urllib3.exceptions.HTTPError
        self.pool = urllib3.PoolManager(
            maxsize=8,
            timeout=timeout,
            retries=Retry(
                total=retries,
                backoff_factor=FIRST_WAIT,
                backoff_max=LONGEST_WAIT,
                status_forcelist=RETRIED_STATUS,
                allowed_methods=None,
                raise_on_status=False,
            ),
        )

    def only_model(self):
        names = self._names()
        if not names:
            raise ServingError(
                "--model=NAME is needed: TensorFlow Serving does not say "
                "which models it has."
            )
        if len(names) != 1:
            raise ServingError(
                f"--model=NAME is needed; {self.server} has: "
                f"{', '.join(names)}."
            )
        return names[0]

    def card(self, model, version):
        path = f"/page/models/{_quoted(model)}/card"
        if version is not None:
            path += f"?version={_quoted(str(version))}"
        return self._of_ours(path)

    def metadata(self, model, version):
        try:
            answer = self._json(
                "GET", f"{_model_path(model, version)}/metadata"
            )
        except ServingError as error:
            names = self._names() if error.status == 404 else []
            if not names or model in names:
                raise
            raise ServingError(
                f"{error} It has: {', '.join(names)}.", error.status
            ) from error
        return answer["metadata"]["signature_def"]["signature_def"]

    def predict(self, model, version, signature, arrays, spec):
        columns = {name: _to_json(array) for name, array in arrays.items()}
        counts = {len(array) for array in arrays.values() if array.ndim}
        in_rows = len(counts) == 1 and all(a.ndim for a in arrays.values())
        body = {"signature_name": signature}
        if in_rows:
            body["instances"] = [
                {name: column[row] for name, column in columns.items()}
                for row in range(counts.pop())
            ]
        else:
            body["inputs"] = columns
        path = f"{_model_path(model, version)}:predict"
        answer = self._json("POST", path, body)
        found = answer["predictions" if in_rows else "outputs"]
        if len(spec.outputs) == 1:
            (only,) = spec.outputs
            found = {only: found}
        elif in_rows:
            found = {
                name: [row[name] for row in found] for name in spec.outputs
            }
        return {
            name: _from_json(found[name], output)
            for name, output in spec.outputs.items()
        }

    def _names(self):
        """The models that there are; none where the server does not say."""
        return [entry["name"] for entry in self._of_ours("/page/models") or []]

    def _of_ours(self, path):
        """What only a `serving.run` answers; None of another server."""
        try:
            return self._json("GET", path)
        except ServingError as error:
            if error.status is None:
                raise
            return None

    def _json(self, method, path, body=None):
        try:
            answer = self.pool.request(
                method,
                self.server + path,
                body=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
            )
        except self.failures as error:
            reason = getattr(error, "reason", None) or error
            raise ServingError(
                f"{self.server} does not answer: {_sentence(reason)}"
            ) from error
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = None
        if answer.status != 200 or found is None:
            said = found.get("error") if isinstance(found, dict) else None
            raise ServingError(
                f"{self.server} answers {answer.status}: "
                f"{_sentence(said or answer.reason or 'no JSON')}",
                answer.status,
            )
        return found


def _quoted(name):
    return urllib.parse.quote(name, safe="")


def _model_path(model, version):
    path = f"/v1/models/{_quoted(model)}"
    if version is None:
        return path
    if str(version).isdigit():
        return f"{path}/versions/{version}"
    return f"{path}/labels/{_quoted(version)}"


def _to_json(array):
    if array.dtype != np.object_:
        return array.tolist()

    def written(value):
        if isinstance(value, list):
            return [written(item) for item in value]
        data = value.encode() if isinstance(value, str) else value
        return {"b64": base64.b64encode(data).decode()}

    return written(array.tolist())


def _from_json(values, spec):
    if spec.dtype != "DT_STRING":
        return np.asarray(values, DTYPES.get(spec.dtype))

    def read(value):
        if isinstance(value, list):
            return [read(item) for item in value]
        if isinstance(value, dict):
            return base64.b64decode(value["b64"])
        return value.encode()

    return np.array(read(values), np.object_)


# ---- gRPC -------------------------------------------------------------------


class _Grpc:
    """TensorFlow Serving's gRPC protocol; imports TensorFlow."""

    def __init__(self, server, timeout, retries):
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ServingError(
                f"{server} needs tensorflow and tensorflow-serving-api "
                f"({error}); REST needs neither."
            ) from error
        policy = {
            "maxAttempts": 1 + min(retries, RETRIES),
            "initialBackoff": f"{FIRST_WAIT}s",
            "maxBackoff": f"{LONGEST_WAIT}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": RETRIED_CODES,
        }
        service = {"name": [{}]}
        if retries:
            service["retryPolicy"] = policy
        self.server, self.timeout = server, timeout
        self.tf, self.failures = tf, grpc.RpcError
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(
                server.removeprefix("grpc://").rstrip("/"),
                options=[
                    # 4 MiB otherwise: five float images of 256x256x3.
                    ("grpc.max_receive_message_length", -1),
                    ("grpc.max_send_message_length", -1),
                    ("grpc.per_rpc_retry_buffer_size", RETRIED_BYTES),
                    (
                        "grpc.service_config",
                        json.dumps({"methodConfig": [service]}),
                    ),
                ],
            )
        )

    def only_model(self):
        raise ServingError(
            "--model=NAME is needed: gRPC servers do not say which models "
            "they have."
        )

    def card(self, model, version):
        del model, version

    def metadata(self, model, version):
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(
            metadata_field=["signature_def"]
        )
        _set_spec(request.model_spec, model, version)
        answer = self._call(self.stub.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return json_format.MessageToDict(
            found, preserving_proto_field_name=True
        )["signature_def"]

    def predict(self, model, version, signature, arrays, spec):
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        _set_spec(request.model_spec, model, version)
        request.model_spec.signature_name = signature
        for name, array in arrays.items():
            tensor = self.tf.make_tensor_proto(array)
            request.inputs[name].CopyFrom(tensor)
        answer = self._call(self.stub.Predict, request)
        return {
            name: self.tf.make_ndarray(answer.outputs[name])
            for name in spec.outputs
        }

    def _call(self, method, request):
        try:
            return method(request, timeout=self.timeout)
        except self.failures as error:
            code = error.code().name
            raise ServingError(
                f"{self.server} answers {code}: {_sentence(error.details())}",
                code,
            ) from error


def _set_spec(spec, model, version):
    spec.name = model
    if version is not None and str(version).isdigit():
        spec.version.value = int(version)
    elif version is not None:
        spec.version_label = version


# ---- the command ------------------------------------------------------------


def parse(argv):
    """The command line as a namespace."""
    parser = Parser(
        prog="serving.client",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flag = parser.add_argument
    flag("verb", choices=list(VERBS), help="what is asked for")
    flag("files", nargs="*", help="images, or for decode the .npz of codes")
    flag("--server", default=SERVER, help="http://HOST:PORT or grpc://...")
    flag("--model", help="its name; not needed where there is only one")
    flag("--version", help="a number, or a label such as stable; or the latest")
    flag("--card", help="the model card, where the server does not have it")
    flag(
        "--units",
        type=_listing,
        help="swap: what is taken from the target, NAME or NAME=WEIGHT with "
        "weights from 0 to 1, separated by commas",
    )
    flag("--labels", type=_numbers, help="one an image, for models that ask")
    flag("--count", type=positive(int), default=1, help="sample: how many")
    flag("--seed", type=int, default=0, help="sample: where they come from")
    flag(
        "--out",
        help="where it goes, codes as .npz, images as .npz or .png (numbered "
        "where there are several)",
    )
    flag(
        "--timeout",
        type=positive(float),
        default=TIMEOUT,
        help="seconds, an attempt",
    )
    values = parser.parse_intermixed_args(argv)
    least, most = VERBS[values.verb].files
    if not least <= len(values.files) <= most:
        parser.error(
            f"{values.verb} takes {VERBS[values.verb].takes}; received "
            f"{len(values.files)} files."
        )
    if not values.out and values.verb != "encode":
        parser.error("--out=FILE is needed.")
    if values.out and not values.out.endswith((".npz", ".png")):
        parser.error(f"--out={values.out}: a name that ends in .png or .npz.")
    if values.verb == "encode" and (values.out or "").endswith(".png"):
        parser.error(f"--out={values.out}: codes are written as .npz.")
    if values.verb == "swap" and not values.units:
        parser.error("--units=NAME,... is needed.")
    if values.labels and len(values.labels) != len(values.files):
        parser.error(
            f"--labels: {len(values.files)} images, {len(values.labels)} "
            "labels."
        )
    return values


def _listing(text):
    """{name: weight} of `NAME,NAME=WEIGHT`."""
    pairs = [unit.partition("=") for unit in text.split(",")]
    try:
        return {name: float(weight or 1) for name, _, weight in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of NAME or NAME=WEIGHT"
        ) from None


def _numbers(text):
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers"
        ) from None


def main(argv=None):
    values = parse(argv)
    try:
        client = Client(
            values.server,
            values.model,
            values.version,
            values.card,
            values.timeout,
        )
        VERBS[values.verb].run(client, values)
    except (ServingError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return USAGE_STATUS
    return 0


def _encode(client, values):
    parts = client.encode(values.files, values.labels)
    if values.out:
        _write(values.out, _npz(parts))
    else:
        print(json.dumps({name: code.tolist() for name, code in parts.items()}))


def _decode(client, values):
    (path,) = values.files
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = dict(file)
    except (ValueError, TypeError, AttributeError) as error:
        raise ServingError(f"{path!r} is no .npz of codes.") from error
    _write_images(values.out, lambda png: client.decode(png=png, **parts))


def _swap(client, values):
    labels = values.labels or (None, None)
    _write_images(
        values.out,
        lambda png: client.swap(*values.files, values.units, *labels, png=png),
    )


def _sample(client, values):
    _write_images(
        values.out,
        lambda png: client.sample(values.count, values.seed, png=png),
    )


@dataclasses.dataclass(frozen=True)
class Verb:
    """A request of the command line.

    Attributes:
      run: `run(client, values)`.
      files: how many it takes, at least and at most.
      takes: the same in words.
    """

    run: Callable
    files: tuple
    takes: str


VERBS = {
    "encode": Verb(_encode, (1, math.inf), "images"),
    "decode": Verb(_decode, (1, 1), "one .npz of codes, as encode writes it"),
    "swap": Verb(_swap, (2, 2), "two images, source and target"),
    "sample": Verb(_sample, (0, 0), "no file"),
}


def _npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _write_images(out, images):
    """Writes what `images(png)` returns under the name(s) given."""
    path = pathlib.Path(out)
    if path.suffix == ".npz":
        _write(path, _npz({"image": images(False)}))
        return
    files = images(True)
    for number, data in enumerate(files):
        name = path.name if len(files) == 1 else f"{path.stem}-{number}.png"
        _write(path.with_name(name), data)


def _write(path, data):
    """Writes beside the file, then renames: an older one is whole till then."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
