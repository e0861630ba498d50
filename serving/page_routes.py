"""What the page in the browser needs beside TensorFlow Serving's protocol.

GET /                             the page
GET /page/...                     its files
GET /page/models                  [{name, versions, card}]
GET /page/models/NAME/card        the model card, of ?version=NUMBER or LABEL
GET /page/models/NAME/samples     [file names]
GET /page/models/NAME/samples/X   an image
"""

import json
import pathlib
import re

from starlette.responses import FileResponse
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from serving.errors import RequestError

PAGE = pathlib.Path(__file__).with_name("page")
EXTRA = "assets.extra"
NUMBER = re.compile(r"\d{1,19}", re.ASCII)
IMAGES = {".png", ".jpg", ".jpeg"}


def routes(manager):
    """The routes of `/` and `/page`.

    Args:
      manager: a `Manager`.
    """

    def extra(name):
        return manager.find(name).path / EXTRA

    def models(request):
        return JSONResponse([_described(manager, n) for n in manager.names()])

    def card(request):
        version = request.query_params.get("version")
        number = version is not None and NUMBER.fullmatch(version)
        spec = {"version": int(version)} if number else {"label": version}
        try:
            servable = manager.find(request.path_params["name"], **spec)
        except RequestError as error:
            return JSONResponse({"error": error.message}, error.http)
        found = read_card(servable)
        if found is None:
            return JSONResponse({"error": "It has no model card."}, 404)
        return JSONResponse(found)

    def samples(request):
        try:
            folder = extra(request.path_params["name"]) / "samples"
        except RequestError as error:
            return JSONResponse({"error": error.message}, error.http)
        return JSONResponse(_image_names(folder))

    def sample(request):
        try:
            folder = extra(request.path_params["name"]) / "samples"
        except RequestError as error:
            return JSONResponse({"error": error.message}, error.http)
        file = request.path_params["file"]
        # Only what was listed: no path leads out of the folder.
        if file not in _image_names(folder):
            return PlainTextResponse("Not found.", 404)
        return FileResponse(folder / file)

    def index(request):
        file = PAGE / "index.html"
        if not file.exists():
            return PlainTextResponse("The page is not installed.", 404)
        return FileResponse(file)

    return [
        Route("/", index),
        Route("/page/models", models),
        # Names may have slashes in them.
        Route("/page/models/{name:path}/card", card),
        Route("/page/models/{name}/samples", samples),
        Route("/page/models/{name}/samples/{file}", sample),
        Mount("/page", StaticFiles(directory=PAGE, check_dir=False, html=True)),
    ]


def _described(manager, name):
    versions = [
        {
            "version": str(number),
            "state": state.name,
            "error": error.message if error else "",
        }
        for number, state, error in manager.status(name)
    ]
    try:
        card = read_card(manager.find(name))
    except RequestError:
        card = None
    return {"name": name, "versions": versions, "card": card}


def read_card(servable):
    """The model card of a version, None where there is none that can be sent.

    A model of another origin has none, or something else of that name; it is
    served all the same.
    """
    file = servable.path / EXTRA / "model_card.json"
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        # Python reads more than JSON has: NaN, halves of characters.
        JSONResponse(card)
    except (OSError, ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) else None


def _image_names(folder):
    if not folder.is_dir():
        return []
    files = [p.name for p in folder.iterdir() if p.suffix.lower() in IMAGES]
    return sorted(files, key=lambda name: (len(name), name))
