"""What is merged, what is not, and what happens when things go wrong."""

import threading
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf

from serving.batching import Batcher
from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid
from serving.servable import Signature
from serving.servable import Spec

ROWS = Spec(tf.float32, (None, 2))


class Recorder(Signature):
    """A signature that runs a Python function and remembers the sizes."""

    def __init__(self, function=lambda x: 2 * x, spec=ROWS):
        super().__init__("f", {"x": spec}, {"y": spec}, function)
        object.__setattr__(self, "sizes", [])
        # Set: runs; cleared: the thread that runs it waits.
        object.__setattr__(self, "gate", threading.Event())
        self.gate.set()

    def run(self, inputs):
        self.sizes.append(len(inputs["x"]))
        self.gate.wait(30)
        return {"y": self.function(inputs["x"])}


@pytest.fixture
def batcher():
    batcher = Batcher(threads=1, max_batch_size=4, max_queued=8)
    yield batcher
    batcher.close()


def rows(*values):
    return np.repeat(np.float32(values)[:, None], 2, axis=1)


def submit(batcher, signature, value, timeout=30.0):
    return batcher.submit(None, signature, {"x": value}, timeout)


def behind_a_gate(batcher, signature, *values, timeout=30.0):
    """Futures of requests that had to wait for one another."""
    signature.gate.clear()
    first = submit(batcher, signature, rows(0))
    while not signature.sizes:
        time.sleep(0.001)
    futures = [submit(batcher, signature, v, timeout) for v in values]
    signature.gate.set()
    first.result(30)
    return futures


def assert_doubled(futures, values):
    for future, value in zip(futures, values, strict=True):
        np.testing.assert_array_equal(future.result(30)["y"], 2 * value)


def test_what_waits_together_runs_together(batcher):
    signature = Recorder()
    values = [rows(1), rows(2, 3), rows(4), rows(5), rows(6, 7, 8, 9, 10)]
    futures = behind_a_gate(batcher, signature, *values)
    assert_doubled(futures, values)
    # Four at most, but who brings more runs alone.
    assert signature.sizes == [1, 4, 1, 5]


def test_other_shapes_run_apart(batcher):
    signature = Recorder(spec=Spec(tf.float32, (None, None)))
    wide = np.ones([1, 3], np.float32)
    values = [rows(1), wide, rows(2), wide]
    assert_doubled(behind_a_gate(batcher, signature, *values), values)
    assert signature.sizes == [1, 2, 2]


@pytest.mark.parametrize(
    "spec",
    [Spec(tf.float32, (2,)), Spec(tf.float32, None), Spec(tf.float32, (1, 2))],
)
def test_what_declares_no_rows_runs_alone(batcher, spec):
    signature = Recorder(spec=spec)
    values = [rows(1), rows(2)]
    assert_doubled(behind_a_gate(batcher, signature, *values), values)
    assert signature.sizes == [1, 1, 1]


def test_one_bad_request_fails_alone(batcher):
    def function(x):
        if (x < 0).any():
            raise invalid("negative")
        return 2 * x

    signature = Recorder(function)
    values = [rows(1), rows(-1), rows(3)]
    good, bad, other = behind_a_gate(batcher, signature, *values)
    assert_doubled([good, other], [values[0], values[2]])
    with pytest.raises(RequestError, match="negative"):
        bad.result(30)
    assert signature.sizes == [1, 3, 1, 1, 1]


def test_rows_that_do_not_come_back_are_asked_for_alone(batcher):
    # Declares rows and returns their mean.
    signature = Recorder(lambda x: x.mean(axis=0, keepdims=True))
    futures = behind_a_gate(batcher, signature, rows(1, 3), rows(5))
    np.testing.assert_array_equal(futures[0].result(30)["y"], rows(2))
    np.testing.assert_array_equal(futures[1].result(30)["y"], rows(5))


def test_a_full_queue_refuses(batcher):
    signature = Recorder()
    with pytest.raises(RequestError) as caught:
        behind_a_gate(batcher, signature, *[rows(1)] * 9)
    signature.gate.set()
    assert caught.value.code == Code.RESOURCE_EXHAUSTED
    assert caught.value.http == 429


def test_who_gave_up_leaves_room(batcher):
    signature = Recorder()
    signature.gate.clear()
    futures = [submit(batcher, signature, rows(0))]
    while not signature.sizes:
        time.sleep(0.001)
    waiting = [submit(batcher, signature, rows(n)) for n in range(8)]
    for future in waiting[1:]:
        assert future.cancel()
    values = [rows(n) for n in range(20, 27)]
    futures += waiting[:1] + [submit(batcher, signature, v) for v in values]
    with pytest.raises(RequestError, match="queue"):
        submit(batcher, signature, rows(1))
    signature.gate.set()
    assert_doubled(futures, [rows(0), rows(0), *values])
    assert sum(signature.sizes) == 9


def test_too_many_rows_are_refused():
    batcher = Batcher(threads=1, max_request_rows=3)
    with pytest.raises(RequestError, match="4 rows"):
        submit(batcher, Recorder(), rows(1, 2, 3, 4))
    batcher.close()


def test_what_came_too_late_or_was_cancelled_does_not_run(batcher):
    signature = Recorder()
    signature.gate.clear()
    first = submit(batcher, signature, rows(0))
    while not signature.sizes:
        time.sleep(0.001)
    late = submit(batcher, signature, rows(1), timeout=-1)
    cancelled = submit(batcher, signature, rows(2))
    kept = submit(batcher, signature, rows(3))
    assert cancelled.cancel()
    signature.gate.set()
    assert_doubled([first, kept], [rows(0), rows(3)])
    with pytest.raises(RequestError) as caught:
        late.result(30)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert signature.sizes == [1, 1]


def test_closing_finishes_what_waits():
    batcher = Batcher(threads=1, max_batch_size=1)
    signature = Recorder(lambda x: time.sleep(0.01) or 2 * x)
    values = [rows(n) for n in range(6)]
    futures = [submit(batcher, signature, value) for value in values]
    batcher.close()
    assert all(future.done() for future in futures)
    assert_doubled(futures, values)
    with pytest.raises(RequestError) as caught:
        submit(batcher, signature, rows(1))
    assert caught.value.code == Code.UNAVAILABLE


def test_a_defect_answers_and_the_thread_goes_on(batcher, caplog):
    def function(x):
        raise KeyError("ours")

    with pytest.raises(RequestError) as caught:
        submit(batcher, Recorder(function), rows(1)).result(30)
    assert caught.value.code == Code.INTERNAL
    assert "ours" in caplog.text
    assert_doubled([submit(batcher, Recorder(), rows(1))], [rows(1)])


def test_nothing_keeps_an_old_version_alive(batcher):
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    batcher.submit(held, Recorder(), {"x": rows(1)}, 30.0).result(30)
    del held
    end = time.monotonic() + 10
    while gone() is not None:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_signatures_take_turns(batcher):
    """One that is asked for all the time does not starve the other."""
    busy, other = Recorder(), Recorder()
    order = []
    busy_futures, signature = [], busy
    signature.gate.clear()
    first = submit(batcher, busy, rows(0))
    while not busy.sizes:
        time.sleep(0.001)
    for number in range(6):
        future = submit(batcher, busy, rows(number, number, number))
        future.add_done_callback(lambda _: order.append("busy"))
        busy_futures.append(future)
    future = submit(batcher, other, rows(9))
    future.add_done_callback(lambda _: order.append("other"))
    signature.gate.set()
    for waiting in [first, *busy_futures, future]:
        waiting.result(30)
    batcher.close()
    assert order.index("other") == 1
