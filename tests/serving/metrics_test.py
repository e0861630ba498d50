"""Series under TensorFlow Serving's names."""

from types import SimpleNamespace

from serving.errors import Code
from serving.metrics import Metrics

PREFIX = ":tensorflow:serving:"
REST = '{API="predict",entrypoint="REST",model_name="m"}'
RUN = '{API="Predict",model_name="m",runtime="TF2"}'


def samples(page):
    """{series without its prefix: value}."""
    lines = page.decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line[0] != "#"]
    assert all(name.startswith(PREFIX) for name, _ in pairs)
    return {name.removeprefix(PREFIX): float(value) for name, value in pairs}


def test_requests_and_runs_are_counted():
    metrics = Metrics()
    for code in (Code.OK, Code.OK, Code.NOT_FOUND):
        metrics.count_request("m", "predict", "REST", code, 0.002)
    metrics.count_run(SimpleNamespace(name="m"), 3, 0.5)
    found = samples(metrics.page())
    assert found['request_count{model_name="m",status="OK"}'] == 2
    assert found['request_count{model_name="m",status="NOT_FOUND"}'] == 1
    assert found[f"request_latency_count{REST}"] == 3
    assert abs(found[f"request_latency_sum{REST}"] - 6000) < 1e-6
    assert found[f"runtime_latency_sum{RUN}"] == 500_000
    rows = 'batching_session:processed_batch_size_sum{model_name="m"}'
    assert found[rows] == 3


def test_a_server_counts(server):
    def page():
        return server.request("GET", "/monitoring/prometheus/metrics")

    def ok():
        status, headers, body = page()
        assert status == 200
        assert headers["content-type"].startswith("text/plain")
        counted = 'request_count{model_name="zoo",status="OK"}'
        return samples(body).get(counted, 0)

    before = ok()
    for _ in range(3):
        assert server.predict("zoo", {"instances": [1]})[0] == 200
    # Names that callers make up get no series.
    server.predict("made-up", {"instances": [1]})
    assert ok() == before + 3
    assert b"made-up" not in page()[2]
