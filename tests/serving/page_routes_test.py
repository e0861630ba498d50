"""What the page asks the server for."""

import json
import pathlib
import types

import pytest

from serving import page_routes


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


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ('{"units": {}}', {"units": {}}),
        ('{"scores": {"mig": NaN}}', None),
        ('{"scores": {"mig": -Infinity}}', None),
        ('{"scores": 1e999}', None),
        ('{"name": "\\ud800"}', None),
        ("[1]", None),
        ("7", None),
        ("{", None),
        ("[" * 100_000, None),
        (None, None),
    ],
)
def test_a_card_that_cannot_be_sent_is_none(tmp_path, text, card):
    file = tmp_path / page_routes.EXTRA / "model_card.json"
    file.parent.mkdir()
    if text:
        file.write_text(text)
    version = types.SimpleNamespace(path=pathlib.Path(tmp_path))
    assert page_routes.read_card(version) == card


def test_the_card_of_a_version(server, exported):
    _, directory = exported
    card = directory / "1" / "assets.extra" / "model_card.json"
    path = "/page/models/tiny/card"
    for query in ("", "?version=1"):
        status, found = server.get(path + query)
        assert (status, found) == (200, json.loads(card.read_text()))
    # No card, a name with a slash, no version, no label.
    assert server.get("/page/models/halves/card?version=stable")[0] == 404
    assert server.get("/page/models/m%3Ax%2Fy/card")[1]["error"].endswith(
        "card."
    )
    assert server.get(path + "?version=2")[0] == 404
    assert server.get(path + "?version=nope")[0] == 400
    assert server.get(path + "?version=" + "9" * 5_000)[0] == 400


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
