"""What the page asks the server for."""

import json

import pytest


def test_models(server, exported):
    status, models = server.get("/page/models")
    assert status == 200
    found = {entry["name"]: entry for entry in models}
    names = ["broken", "graph", "halves", "m:x/y", "tiny", "zoo"]
    assert list(found) == names
    assert found["halves"]["card"] is None
    assert found["halves"]["versions"] == [
        {"version": "2", "state": "AVAILABLE", "error": ""},
        {"version": "1", "state": "AVAILABLE", "error": ""},
    ]
    (broken,) = found["broken"]["versions"]
    assert broken["state"] == "END" and broken["error"]
    _, directory = exported
    card = directory / "1" / "assets.extra" / "model_card.json"
    assert found["tiny"]["card"] == json.loads(card.read_text())


def test_samples(server, exported):
    status, names = server.get("/page/models/tiny/samples")
    assert (status, names) == (200, ["0.png", "1.png"])
    status, headers, body = server.request(
        "GET", "/page/models/tiny/samples/1.png"
    )
    assert status == 200
    assert headers["content-type"] == "image/png"
    _, directory = exported
    file = directory / "1" / "assets.extra" / "samples" / "1.png"
    assert body == file.read_bytes()
    assert server.get("/page/models/halves/samples") == (200, [])
    assert server.get("/page/models/none/samples")[0] == 404


@pytest.mark.parametrize(
    "name", ["2.png", "..%2Fmodel_card.json", "%2Fetc%2Fpasswd", "../0.png"]
)
def test_only_samples_are_samples(server, name):
    status, _, _ = server.request("GET", f"/page/models/tiny/samples/{name}")
    assert status == 404


def test_the_page_and_its_files(server):
    status, headers, body = server.request("GET", "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert server.request("GET", "/page/index.html")[2] == body
    for path in ("/page/../server.py", "/page/%2e%2e/server.py", "/page/none"):
        assert server.request("GET", path)[0] == 404
