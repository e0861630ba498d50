"""Requests for the same signature, run together."""

import asyncio
import collections
import concurrent.futures
import dataclasses
import logging
import threading
import time

import numpy as np

from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid

logger = logging.getLogger(__name__)

# Converting more bytes than this would keep other requests waiting.
LARGE = 2**19
EXPIRED = "Timed out waiting for the model."


@dataclasses.dataclass(eq=False)
class Task:
    """A request that waits for its turn.

    Attributes:
      servable: holds the signature's variables; kept until it has run.
      signature: a `Signature`.
      inputs: {alias: array}.
      rows: how many, None where it has to run by itself.
      deadline: on `time.monotonic`'s clock.
      future: of {alias: array}.
    """

    servable: object
    signature: object
    inputs: dict
    rows: int | None
    deadline: float
    future: concurrent.futures.Future


class Batcher:
    """Threads that run requests, merging those that wait together.

    Nothing waits for company: a free thread takes what is there. So a lone
    request is not delayed, and under load batches grow by themselves.

    Requests are merged along the first axis when their signature is the same,
    declares that axis open in every input and output, and the other axes are
    equal. When a merged batch fails, its requests are run one by one, so that
    a damaged image fails nobody else's.

    Args:
      threads: how many batches run at the same time.
      max_batch_size: rows of a merged batch.
      max_request_rows: of one request; a request of more than a batch runs by
        itself.
      max_queued: requests that wait; more are refused.
      observe: called with (servable, rows, seconds) of every run.
    """

    def __init__(
        self,
        threads=2,
        max_batch_size=64,
        max_request_rows=1024,
        max_queued=256,
        observe=None,
    ):
        self.max_batch_size = max_batch_size
        self.max_request_rows = max_request_rows
        self.max_queued = max_queued
        self._observe = observe
        # {what may be merged: its tasks}, the longest waiting first.
        self._queues = collections.OrderedDict()
        self._queued = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}")
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, servable, signature, inputs, timeout):
        """Queues a request.

        Args:
          servable: the `Servable` of the signature.
          signature: a `Signature`.
          inputs: {alias: array}, all that it takes.
          timeout: seconds after which nobody waits for it any more.

        Returns:
          A `concurrent.futures.Future` of {alias: array}. Cancelled before
          its turn, it does not run.

        Raises:
          RequestError: too many rows, a full queue, or a server that stops.
        """
        rows = row_count(signature, inputs)
        if rows is not None and rows > self.max_request_rows:
            raise invalid(
                f"A request of {rows} rows is larger than the maximum of "
                f"{self.max_request_rows}."
            )
        future = concurrent.futures.Future()
        deadline = time.monotonic() + timeout
        task = Task(servable, signature, inputs, rows, deadline, future)
        key = task if rows is None else _merging_key(signature, inputs)
        with self._changed:
            if self._closed:
                raise RequestError(Code.UNAVAILABLE, "The server is stopping.")
            if self._queued >= self.max_queued:
                self._forget_cancelled()
            if self._queued >= self.max_queued:
                raise RequestError(
                    Code.RESOURCE_EXHAUSTED,
                    "The batch scheduling queue to which this task was "
                    "submitted is full",
                )
            self._queues.setdefault(key, collections.deque()).append(task)
            self._queued += 1
            self._changed.notify()
        return future

    def close(self):
        """Finishes what was queued, then ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self):
        while (tasks := self._take()) is not None:
            try:
                self._run(tasks)
            except BaseException:
                # Ours, not the model's: say so, and serve the next.
                logger.exception("A batch was lost.")
                _fail(tasks, RequestError(Code.INTERNAL, "Internal error."))
            # A reference kept while waiting would keep an old version alive.
            del tasks

    def _forget_cancelled(self):
        """Makes room of tasks whose callers have given up."""
        for key, queue in list(self._queues.items()):
            kept = [task for task in queue if not task.future.cancelled()]
            self._queued -= len(queue) - len(kept)
            self._queues[key] = collections.deque(kept)
            if not kept:
                del self._queues[key]

    def _take(self):
        """The tasks of the next batch; None when there will be no more."""
        with self._changed:
            while not self._queues:
                if self._closed:
                    return None
                self._changed.wait()
            key, queue = next(iter(self._queues.items()))
            tasks = [queue.popleft()]
            rows = tasks[0].rows
            while queue and rows + queue[0].rows <= self.max_batch_size:
                tasks.append(queue.popleft())
                rows += tasks[-1].rows
            if queue:
                # The others' turn first.
                self._queues.move_to_end(key)
            else:
                del self._queues[key]
            self._queued -= len(tasks)
        return tasks

    def _run(self, tasks):
        now = time.monotonic()
        waiting = []
        for task in tasks:
            if not task.future.set_running_or_notify_cancel():
                continue
            if task.deadline < now:
                _fail([task], RequestError(Code.DEADLINE_EXCEEDED, EXPIRED))
            else:
                waiting.append(task)
        if not waiting:
            return
        if len(waiting) > 1 and self._run_merged(waiting):
            return
        for task in waiting:
            try:
                outputs = self._timed(task, task.inputs, task.rows or 1)
            except RequestError as error:
                task.future.set_exception(error)
            else:
                task.future.set_result(outputs)

    def _run_merged(self, tasks):
        """Whether it could be done; if not, no task has its result yet."""
        first = tasks[0]
        total = sum(task.rows for task in tasks)
        merged = {
            name: np.concatenate([task.inputs[name] for task in tasks])
            for name in first.inputs
        }
        try:
            outputs = self._timed(first, merged, total)
        except RequestError:
            return False
        if any(np.shape(value)[:1] != (total,) for value in outputs.values()):
            # The signature declares rows that it does not return.
            return False
        start = 0
        for task in tasks:
            stop = start + task.rows
            task.future.set_result(
                {name: value[start:stop] for name, value in outputs.items()}
            )
            start = stop
        return True

    def _timed(self, task, inputs, rows):
        start = time.perf_counter()
        outputs = task.signature.run(inputs)
        if self._observe:
            seconds = time.perf_counter() - start
            self._observe(task.servable, rows, seconds)
        return outputs


def row_count(signature, inputs):
    """How many rows a request has, None where it has to run by itself."""
    if not signature.batched:
        return None
    sizes = {np.shape(value)[:1] for value in inputs.values()}
    (size,) = sizes if len(sizes) == 1 else [()]
    return size[0] if size and size[0] > 0 else None


def _merging_key(signature, inputs):
    return (signature, *(np.shape(value)[1:] for value in inputs.values()))


def _fail(tasks, error):
    for task in tasks:
        if not task.future.done():
            task.future.set_exception(error)


async def beside(size, function, *arguments):
    """Calls a function, in another thread where it is about many bytes."""
    if size < LARGE:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)
