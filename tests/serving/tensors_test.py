"""TensorProto as TensorFlow fills it, and what it may claim."""

import math

import numpy as np
import pytest
import tensorflow as tf

from serving import tensors
from serving.errors import Code
from serving.errors import RequestError

DTYPES = [*tensors.FIELDS, tf.float16, tf.bfloat16, tf.complex64]


def example(dtype, shape):
    if dtype == tf.string:
        values = [b"%d\xff" % n for n in range(math.prod(shape))]
        return np.array(values, object).reshape(shape)
    return tf.cast(tf.reshape(tf.range(math.prod(shape)), shape), dtype).numpy()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_tensorflow_reads_what_is_written(dtype, shape):
    array = example(dtype, shape)
    proto = tensors.to_proto(array, dtype)
    assert proto.HasField("tensor_shape")
    received = tf.make_ndarray(proto)
    assert received.shape == shape
    np.testing.assert_array_equal(received, array)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_what_tensorflow_writes_is_read(dtype, shape):
    array = example(dtype, shape)
    # As content where it can, in the fields where it cannot.
    received = tensors.from_proto(tf.make_tensor_proto(array, dtype))
    assert (received.shape, received.dtype) == (shape, array.dtype)
    np.testing.assert_array_equal(received, array)
    received = tensors.from_proto(tensors.to_proto(array, dtype))
    assert (received.shape, received.dtype) == (shape, array.dtype)
    np.testing.assert_array_equal(received, array)


def proto_of(dtype, *sizes, **fields):
    proto = type(tf.make_tensor_proto(0))(
        dtype=dtype.as_datatype_enum, **fields
    )
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (proto_of(tf.float32, 3, float_val=[1, 2]), [1, 2, 2]),
        (proto_of(tf.float32, 3), [0, 0, 0]),
        (proto_of(tf.string, 2), [b"", b""]),
        (proto_of(tf.string, 2, string_val=[b"a"]), [b"a", b"a"]),
        # What is beyond the shape is ignored.
        (proto_of(tf.int64, 1, int64_val=[5, 6]), [5]),
        (proto_of(tf.uint8, 2, int_val=[300, -1]), [44, 255]),
        (proto_of(tf.bool, 2, bool_val=[True, False]), [True, False]),
        (proto_of(tf.int32, 0), []),
    ],
)
def test_fields_are_read_as_in_tensorflow(proto, values):
    received = tensors.from_proto(proto)
    assert received.tolist() == values
    # TensorFlow's own parser, in C++, is the judge.
    judged = tf.io.parse_tensor(
        proto.SerializeToString(), tf.dtypes.as_dtype(proto.dtype)
    )
    np.testing.assert_array_equal(received, judged.numpy())


@pytest.mark.parametrize(
    ("proto", "code"),
    [
        (proto_of(tf.float32, -1), Code.INVALID_ARGUMENT),
        (proto_of(tf.float32, 2, tensor_content=b"abc"), Code.INVALID_ARGUMENT),
        (
            proto_of(tf.float32, 2, tensor_content=b"abcd"),
            Code.INVALID_ARGUMENT,
        ),
        (proto_of(tf.string, 1, tensor_content=b"abcd"), Code.INVALID_ARGUMENT),
        (proto_of(tf.float32, 2**31, 2**31), Code.RESOURCE_EXHAUSTED),
        (proto_of(tf.string, 2**40), Code.RESOURCE_EXHAUSTED),
        (proto_of(tf.complex64, 2**40), Code.RESOURCE_EXHAUSTED),
        (proto_of(tf.resource), Code.INVALID_ARGUMENT),
    ],
)
def test_tensors_that_cannot_be_read(proto, code):
    with pytest.raises(RequestError) as caught:
        tensors.from_proto(proto)
    assert caught.value.code == code


def test_an_unknown_rank_is_refused():
    proto = proto_of(tf.float32)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(RequestError, match="not fully known"):
        tensors.from_proto(proto)
