"""Counters under the names that TensorFlow Serving uses."""

import prometheus_client

PREFIX = ":tensorflow:serving:"
# Microseconds, growing by 1.8 from 10 to about half an hour.
BUCKETS = [10 * 1.8**power for power in range(33)]


class Metrics:
    """What Prometheus reads of a server."""

    def __init__(self):
        prometheus_client.disable_created_metrics()
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            f"{PREFIX}request_count",
            "The total number of requests.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self._request_latency = prometheus_client.Histogram(
            f"{PREFIX}request_latency",
            "Microseconds from a request to its answer.",
            ["model_name", "API", "entrypoint"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._runtime_latency = prometheus_client.Histogram(
            f"{PREFIX}runtime_latency",
            "Microseconds that running a batch took.",
            ["model_name", "API", "runtime"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._batch_size = prometheus_client.Histogram(
            f"{PREFIX}batching_session:processed_batch_size",
            "Rows that ran together.",
            ["model_name"],
            buckets=[2**power for power in range(11)],
            registry=self._registry,
        )

    def count_request(self, model, api, entrypoint, code, seconds):
        """Notes an answered request.

        Args:
          model: name of a model there is, so that there are as many series
            as models.
          api: the method, as its protocol spells it: "predict", "Predict".
          entrypoint: "REST" or "GRPC".
          code: the `Code` of the answer.
          seconds: that it took.
        """
        self._requests.labels(model, code.name).inc()
        latency = self._request_latency.labels(model, api, entrypoint)
        latency.observe(1e6 * seconds)

    def count_run(self, servable, rows, seconds):
        """Notes a run of a signature."""
        latency = self._runtime_latency.labels(servable.name, "Predict", "TF2")
        latency.observe(1e6 * seconds)
        self._batch_size.labels(servable.name).observe(rows)

    def page(self):
        """All of it as Prometheus' text, bytes."""
        text = prometheus_client.generate_latest(self._registry)
        # The library insists on a suffix that TensorFlow Serving lacks.
        return text.replace(b"request_count_total", b"request_count")
