"""TensorProto and arrays, as TensorFlow Serving fills and reads them."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid

# The field of a TensorProto that holds the values of a type.
FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int16: "int_val",
    tf.int8: "int_val",
    tf.uint16: "int_val",
    tf.uint8: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.string: "string_val",
}
# Types whose values lie on the wire as in memory, little end first.
PACKED = {tf.float32: "<f4", tf.float64: "<f8"}
MAX_TENSOR_BYTES = 2**28
# A few bytes can claim a tensor of any size, since the last value is repeated:
# so many values may be left out, and many requests wait at the same time.
MAX_LEFT_OUT = 2**20
# What an entry of an array of strings takes at least, and what smaller types
# are counted as: reading them takes wider ones on the way.
POINTER = 8


def read_inputs(signature, inputs):
    """The arrays of a gRPC request.

    Args:
      signature: a `Signature`.
      inputs: {alias: `TensorProto`}.

    Returns:
      {alias: array}, in the order of the signature.

    Raises:
      RequestError: other aliases or types than the signature's, or a tensor
        that cannot be read.
    """
    wanted = signature.inputs
    if len(inputs) != len(wanted):
        sent, required = set(inputs), set(wanted)
        raise invalid(
            f"input size does not match signature: {len(sent)}!="
            f"{len(required)} len({listed(sent)}) != len({listed(required)}). "
            f"Sent extra: {listed(sent - required)}. "
            f"Missing but required: {listed(required - sent)}."
        )
    for alias, spec in wanted.items():
        if alias not in inputs:
            raise invalid(
                f"Signature input alias: {alias} not found in request and no "
                "default value provided. Inputs expected to be in the set "
                f"{listed(wanted)}."
            )
        given = inputs[alias].dtype
        if given != spec.dtype.as_datatype_enum:
            raise invalid(
                f"Input {alias} expects {spec.dtype.name}, received "
                f"{type_name(given)}."
            )
    return {alias: from_proto(inputs[alias]) for alias in wanted}


def listed(names):
    """Names as TensorFlow Serving prints a set of them."""
    return "{" + ",".join(sorted(names)) + "}"


def type_name(number):
    """The name of a `DataType`, of one that TensorFlow lacks too."""
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"type {number}"


def from_proto(proto):
    """The array of a TensorProto.

    As in TensorFlow, the last value is repeated where some are missing (zeros
    where all are), and values beyond the shape are ignored.

    Raises:
      RequestError: an unknown type or shape, or content of another size.
    """
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
            raise ValueError("its shape is not fully known")
        size = math.prod(shape)
        if size * max(dtype.size or 0, POINTER) > MAX_TENSOR_BYTES:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"A tensor of shape {shape} exceeds {MAX_TENSOR_BYTES} bytes.",
            )
        # On the wire a value is a byte at least.
        if size - proto.ByteSize() > MAX_LEFT_OUT:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"A tensor of shape {shape} leaves out more than "
                f"{MAX_LEFT_OUT} values.",
            )
        if dtype not in FIELDS:
            return tf.make_ndarray(proto)
        if proto.tensor_content:
            if dtype == tf.string:
                raise ValueError("strings have no tensor_content")
            content = np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype)
            return content.reshape(shape)
        field = getattr(proto, FIELDS[dtype])
        given = min(size, len(field))
        if dtype == tf.string:
            values = np.empty(given, object)
            values[:] = field[:given]
        else:
            # Integers too large for the type wrap, as in C++.
            wide = np.int64 if FIELDS[dtype] == "int_val" else None
            values = np.fromiter(field, wide or dtype.as_numpy_dtype, given)
            values = values.astype(dtype.as_numpy_dtype, copy=False)
        missing = size - len(values)
        if missing:
            last = values[-1:] if len(values) else _zero(values)
            values = np.concatenate([values, np.repeat(last, missing)])
        return values.reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise invalid(f"A tensor cannot be read: {error}.") from error


def _zero(values):
    return (
        np.array([b""], object)
        if values.dtype == object
        else np.zeros_like(values, shape=1)
    )


def to_proto(array, dtype):
    """A TensorProto whose values are in the field of their type.

    Clients read `float_val`; TensorFlow's own `make_tensor_proto` would write
    `tensor_content` instead.

    Args:
      array: of any shape.
      dtype: its `tf.DType`.
    """
    if dtype not in FIELDS:
        return tf.make_tensor_proto(array, dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    # Even of a scalar: then it has a shape.
    proto.tensor_shape.SetInParent()
    for size in np.shape(array):
        proto.tensor_shape.dim.add(size=size)
    if dtype in PACKED and array.size:
        # Number by number this would take longer than many a model.
        data = np.ascontiguousarray(array, PACKED[dtype]).tobytes()
        number = proto.DESCRIPTOR.fields_by_name[FIELDS[dtype]].number
        proto.MergeFromString(
            bytes([number << 3 | 2, *_varint(len(data))]) + data
        )
    elif array.size:
        getattr(proto, FIELDS[dtype]).extend(np.ravel(array).tolist())
    return proto


def _varint(number):
    """A length on the wire: seven bits a byte, the top bit for more."""
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
