"""JSON requests and answers, as TensorFlow Serving reads and writes them."""

import base64
import binascii
import itertools
import json

import numpy as np
import orjson
import rapidjson
import tensorflow as tf

from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid

# How much of a value an error message shows.
SHOWN = 256
# NumPy's limit. No tensor that a model takes is nested deeper.
MAX_RANK = 64
# Brackets of a body, those inside of strings too. In Python every one costs up
# to thirty times the bytes it is sent as. The largest request of 1,024 grey
# images of 64x64 pixels has 4.3 million lists and no objects; encoded images
# are one to three objects a row.
MAX_LISTS = 5_000_000
MAX_OBJECTS = 2**17
PARSE_ERROR = "JSON Parse error: "
# What an integer has to lie in before it is cast to its type.
INTEGERS = {
    tf.int32: (-(2**31), 2**31),
    tf.int16: (-(2**31), 2**31),
    tf.int8: (-(2**31), 2**31),
    tf.uint8: (-(2**31), 2**31),
    tf.int64: (-(2**63), 2**63),
    tf.uint32: (0, 2**32),
    tf.uint64: (0, 2**64),
}
FLOATS = {tf.float32, tf.float64}
BYTES_SUFFIX = "_bytes"


# ---- requests -------------------------------------------------------------


class _FirstWins(dict):
    """An object of which the first of equal keys counts."""

    __slots__ = ("_repeated",)

    def __setitem__(self, key, value):
        if key in self:
            # The parser is yet to fill it, and crashes when it is gone. When
            # the next one comes, this one is complete.
            self._repeated = value
        else:
            super().__setitem__(key, value)


class _Decoder(rapidjson.Decoder):
    def start_object(self):
        return _FirstWins()


_decode = _Decoder(number_mode=rapidjson.NM_NATIVE | rapidjson.NM_NAN)


def parse(body):
    """The object of a request's body.

    RapidJSON reads it, as in TensorFlow Serving: NaN and Infinity are numbers,
    of equal keys the first counts, and whatever follows the object is ignored.

    Args:
      body: bytes.

    Raises:
      RequestError: no JSON, no object, or more of it than a request needs.
    """
    for bracket, most, kind in (
        (b"{", MAX_OBJECTS, "objects"),
        (b"[", MAX_LISTS, "lists"),
    ):
        if body.count(bracket) > most:
            raise invalid(f"{PARSE_ERROR}More than {most} {kind}.")
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        document = _decoded(body)
    except rapidjson.JSONDecodeError as error:
        # "Parse error at offset 3: Invalid value."
        offset, _, reason = str(error).partition(": ")
        offset = offset.rpartition(" ")[2]
        raise invalid(f"{PARSE_ERROR}{reason} at offset: {offset}") from error
    except UnicodeDecodeError as error:
        raise invalid(
            f"{PARSE_ERROR}Invalid encoding in string. at offset: {error.start}"
        ) from error
    except RecursionError as error:
        raise invalid(f"{PARSE_ERROR}Nested too deeply.") from error
    if not isinstance(document, dict):
        raise invalid(f"{shown(document)} Is not object")
    return document


def _decoded(body):
    try:
        return _decode(body)
    except rapidjson.JSONDecodeError as error:
        text = str(error)
        if "must not be followed" not in text:
            raise
        offset = int(text.split(":")[0].rpartition(" ")[2])
        return _decode(body[:offset])


def shown(value):
    """A value in an error message, cut where it is long."""
    return f"JSON Value: {_dumped(value)}"


def _dumped(value):
    return json.dumps(_head(value), indent=4, ensure_ascii=False)[:SHOWN]


def _head(value, depth=8):
    """The beginning of a value: printing all of a large one costs time."""
    if not depth and isinstance(value, dict | list):
        return "..."
    if isinstance(value, dict):
        items = itertools.islice(value.items(), 8)
        return {key[:SHOWN]: _head(item, depth - 1) for key, item in items}
    if isinstance(value, list):
        return [_head(item, depth - 1) for item in value[:8]]
    return value[:SHOWN] if isinstance(value, str) else value


def signature_name(document):
    """The signature that a request names, "" for the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"{shown(document)} not formatted correctly. 'signature_name' key "
            "must be a string value."
        )
    return name


def read_predict(body, find_signature):
    """A predict request.

    Args:
      body: bytes.
      find_signature: called with the signature's name, "" for the default,
        once the body is known to be JSON; returns a `Signature`.

    Returns:
      `(signature, inputs, row_format)`: inputs is {alias: array}; row_format
      is whether `instances` were given.

    Raises:
      RequestError: what TensorFlow Serving refuses.
    """
    document = parse(body)
    name = signature_name(document)
    signature = find_signature(name)
    if not signature.inputs:
        raise invalid(
            f"Failed to get input map for signature: {name or 'DEFAULT'}"
        )
    numeric = any(
        spec.dtype in FLOATS or spec.dtype in INTEGERS
        for spec in signature.inputs.values()
    )
    # A list without these words has no booleans, which NumPy takes for numbers.
    plain = numeric and b"true" not in body and b"false" not in body
    if "instances" in document:
        if "inputs" in document:
            raise invalid(
                f"{shown(document)} Not formatted correctly expecting only one "
                "of 'inputs' or 'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(
                f"{shown(document)} Excepting 'instances' to be an list/array"
            )
        if not instances:
            raise invalid(f"{shown(document)} No values in 'instances' array")
        return signature, _read_rows(instances, signature, plain), True
    if "inputs" in document:
        inputs = _read_columns(document["inputs"], signature, plain)
        return signature, inputs, False
    raise invalid("Missing 'inputs' or 'instances' key")


def _read_columns(value, signature, plain):
    specs = signature.inputs
    if not isinstance(value, dict) or is_base64(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as "
                "multiple input tensors required as per tensorinfo_map"
            )
        ((name, spec),) = specs.items()
        return {name: read_tensor(value, spec.dtype, plain)}
    inputs = {}
    for name, spec in specs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        inputs[name] = read_tensor(value[name], spec.dtype, plain)
    return inputs


def _read_rows(instances, signature, plain):
    specs = signature.inputs
    if not _is_object(instances[0]) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map"
        )
    if _is_object(instances[0]):
        columns = _columns_of_objects(instances, specs)
    else:
        for number, item in enumerate(instances):
            if _is_object(item):
                raise invalid(
                    "Expecting value/list but got object at item "
                    f"{number} of input list"
                )
        columns = {next(iter(specs)): instances}
    inputs = {}
    for name, rows in columns.items():
        dtype = specs[name].dtype
        inputs[name] = _fast_tensor(rows, dtype, plain)
        if inputs[name] is None:
            key = f" key: {name}" if _is_object(instances[0]) else ""
            inputs[name] = _rows_tensor(rows, dtype, key)
    return inputs


def _columns_of_objects(instances, specs):
    """{alias: its value in every row}."""
    wanted = specs.keys()
    for number, item in enumerate(instances):
        if not _is_object(item):
            raise invalid(
                f"Expecting object but got list at item {number} of input list"
            )
        for name in item:
            if name not in specs:
                raise invalid(
                    f"Failed to process element: {number} key: {name} of "
                    "'instances' list. Error: INVALID_ARGUMENT: JSON object: "
                    f"does not have named input: {name}"
                )
        if item.keys() != wanted:
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. "
                f"JSON object: {_dumped(item)} keys must be equal to: "
                f"{','.join(sorted(wanted))}"
            )
    return {name: [item[name] for item in instances] for name in wanted}


def _rows_tensor(rows, dtype, key):
    """The rows of one input one by one, for their exact errors."""
    first, arrays = None, []
    for number, row in enumerate(rows):
        try:
            array = _exact_tensor(row, dtype)
            first = array if first is None else first
            if array.size != first.size:
                raise invalid(
                    f"Expecting tensor size: {first.size} but got: {array.size}"
                )
            if array.shape != first.shape:
                raise invalid(
                    f"Expecting shape {_shape_text(first)} but got: "
                    f"{_shape_text(array)}"
                )
        except RequestError as error:
            raise invalid(
                f"Failed to process element: {number}{key} of 'instances' "
                f"list. Error: {error}"
            ) from error
        arrays.append(array)
    return np.stack(arrays)


def _shape_text(array):
    return f"[{','.join(map(str, array.shape))}]"


def is_base64(value):
    """Whether a JSON value stands for bytes."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def _is_object(value):
    return isinstance(value, dict) and not is_base64(value)


def read_tensor(value, dtype, plain=False):
    """The array that a JSON value means.

    Args:
      value: a number, string, bool, b64 object, or nested lists of them.
      dtype: the `tf.DType` wanted.
      plain: whether it is known to be without booleans, which may save time.

    Raises:
      RequestError: ragged lists or values of another type.
    """
    fast = _fast_tensor(value, dtype, plain)
    return _exact_tensor(value, dtype) if fast is None else fast


def _fast_tensor(value, dtype, plain):
    """The array, or None where every value has to be looked at."""
    if not plain or not isinstance(value, list):
        return None
    if dtype not in FLOATS and dtype not in INTEGERS:
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    if not array.size:
        return None
    if dtype in FLOATS and array.dtype.kind in "if":
        with np.errstate(over="ignore"):
            return array.astype(dtype.as_numpy_dtype, copy=False)
    if dtype in INTEGERS and array.dtype.kind == "i":
        low, high = INTEGERS[dtype]
        if low <= array.min() and array.max() < high:
            # Beyond the type's own range it wraps, as in C++.
            return array.astype(dtype.as_numpy_dtype)
    return None


def _exact_tensor(value, dtype):
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    if len(shape) > MAX_RANK:
        raise invalid(f"Encountered list of more than {MAX_RANK} levels")
    values = []
    _collect(value, 0, shape, dtype, values)
    if dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = values
    elif dtype in FLOATS:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64).astype(dtype.as_numpy_dtype)
    elif dtype in INTEGERS:
        wide = np.uint64 if dtype == tf.uint64 else np.int64
        array = np.array(values, wide).astype(dtype.as_numpy_dtype)
    else:
        array = np.array(values, dtype.as_numpy_dtype)
    return array.reshape(shape)


def _collect(value, level, shape, dtype, values):
    """Appends the values below a list, each checked."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"{shown(value)} found at incorrect level: {level + 1} in the "
                f"JSON DOM. Expected at level: {len(shape)}"
            )
        values.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < "
            f"{len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: "
            f"{level} expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, values)


def _element(value, dtype):
    kind = type(value)
    if dtype in FLOATS:
        if kind is float or kind is int:
            return value
    elif dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        if kind is int and low <= value < high:
            return value
    elif dtype == tf.string:
        if kind is str:
            return value.encode()
        if isinstance(value, dict):
            return from_base64(value)
    elif dtype == tf.bool:
        if kind is bool:
            return value
    elif not isinstance(value, dict):
        raise RequestError(
            Code.UNIMPLEMENTED,
            f"Conversion of {shown(value)} to type: {type_name(dtype)}",
        )
    raise invalid(
        f"{shown(value)} Type: {type_of(value)} is not of expected type: "
        f"{type_name(dtype)}"
    )


def type_name(dtype):
    """The name of a type in TensorFlow Serving's messages."""
    names = {tf.float32: "float", tf.float64: "double", tf.float16: "half"}
    return names.get(dtype, dtype.name)


def type_of(value):
    """The name of a JSON value's type."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    if isinstance(value, str):
        return "String"
    if isinstance(value, list):
        return "Array"
    return "Object" if isinstance(value, dict) else "Number"


def from_base64(value):
    """The bytes that `{"b64": ...}` stands for.

    Raises:
      RequestError: it does not.
    """
    if not is_base64(value):
        raise invalid(f"{shown(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    # Padding may be missing, and may be dots; white space is skipped.
    text = "".join(text.split())
    bare = text.rstrip("=.")
    padding = -len(bare) % 4
    try:
        if len(text) - len(bare) not in (0, padding):
            raise ValueError("wrong padding")
        return binascii.a2b_base64(bare + "=" * padding, strict_mode=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


# ---- answers --------------------------------------------------------------


def write_predict(outputs, dtypes, row_format):
    """The body of an answer to predict.

    Args:
      outputs: {alias: array}.
      dtypes: {alias: `tf.DType`}.
      row_format: whether the request had `instances`.

    Returns:
      bytes; numbers that are not finite are written NaN, Infinity, -Infinity.

    Raises:
      RequestError: a type that JSON cannot carry, or outputs without rows
        where rows are wanted.
    """
    values = {
        name: _writable(name, array, dtypes[name])
        for name, array in outputs.items()
    }
    finite = all(
        np.isfinite(array).all()
        for name, array in outputs.items()
        if dtypes[name] in FLOATS
    )
    if not row_format:
        if len(values) == 1:
            (values,) = values.values()
        return dump({"outputs": values}, finite)
    sizes = {}
    for name, array in outputs.items():
        if not np.ndim(array):
            raise invalid(f"Tensor name: {name} has no shape information ")
        sizes[name] = len(array)
        expected = next(iter(sizes.values()))
        if sizes[name] != expected:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: "
                f"{sizes[name]} expecting: {expected}"
            )
    if len(values) == 1:
        (rows,) = values.values()
    else:
        rows = [
            dict(zip(values, row, strict=True))
            for row in zip(*values.values(), strict=True)
        ]
    return dump({"predictions": rows}, finite)


def _writable(name, array, dtype):
    """An array, or lists where its values have another form in JSON."""
    if dtype == tf.string:
        write = _base64_object if name.endswith(BYTES_SUFFIX) else _text
        values = np.empty(np.size(array), object)
        values[:] = [write(value) for value in np.ravel(array).tolist()]
        return values.reshape(np.shape(array)).tolist()
    if dtype in FLOATS or dtype in INTEGERS or dtype == tf.bool:
        return np.ascontiguousarray(array) if np.ndim(array) else array[()]
    raise invalid(
        f"Failed to write JSON value for tensor type: {type_name(dtype)}"
    )


def _base64_object(value):
    return {"b64": base64.b64encode(value).decode("ascii")}


def _text(value):
    # Bytes that are no text leave as they are, as from TensorFlow Serving.
    return value.decode("utf-8", "surrogateescape")


def dump(value, finite=True):
    """JSON of plain data and arrays, as bytes.

    Args:
      value: lists, dicts, strings, numbers and arrays.
      finite: whether no number in it is NaN or infinite.
    """
    try:
        if not finite:
            raise ValueError
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError):
        # Slower, but it has NaN, and text that is none.
        text = json.dumps(value, default=_listed, ensure_ascii=False)
        return text.encode("utf-8", "surrogateescape")


def _listed(value):
    return value.tolist()
