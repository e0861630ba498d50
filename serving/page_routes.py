"""What the page in the browser needs beside TensorFlow Serving's protocol.

GET /                             the page
GET /page/...                     its files
GET /page/models                  [{name, versions, card}]
GET /page/models/NAME/samples     [file names]
GET /page/models/NAME/samples/X   an image
"""

import json
import pathlib

from starlette.responses import FileResponse
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from serving.errors import RequestError

PAGE = pathlib.Path(__file__).with_name("page")
EXTRA = "assets.extra"
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
        file = manager.find(name).path / EXTRA / "model_card.json"
        card = json.loads(file.read_text(encoding="utf-8"))
    except (RequestError, OSError, ValueError):
        # A model of another origin has none; it is served all the same.
        card = None
    return {"name": name, "versions": versions, "card": card}


def _image_names(folder):
    if not folder.is_dir():
        return []
    files = [p.name for p in folder.iterdir() if p.suffix.lower() in IMAGES]
    return sorted(files, key=lambda name: (len(name), name))
