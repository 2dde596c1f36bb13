"""The routes of the labelling page: its own files, the layers of an image, and what changes the project.

Names of images come from the project alone: one that the project does not have is refused, so no path is made of them.
"""

import base64
import shlex
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fsbench.errors import DataError, FsbenchError, describe
from fsbench.files.opening import parse_json
from fsbench.labelling.clicks import parse_clicks
from fsbench.labelling.project import MOST_IMAGES
from fsbench.labelling.regions import RunLengths
from fsbench.labelling.serve.guard import Guard
from fsbench.labelling.serve.headers import SafeHeaders
from fsbench.labelling.serve.layers import click_mask_png, image_jpeg, labels_png, prediction_png, thumbnail_jpeg
from fsbench.labelling.session import LabellingSession
from fsbench.predict.query_images import read_upright

PAGE = Path(__file__).with_name("page")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LONGEST_STEP = 2_000_000
"""Bytes of a request that is no image."""
KEPT_IMAGES = 8
"""Images whose decoded preview stays in memory."""


def make_app(session: LabellingSession, hosts: frozenset[str], port: int, token: str, max_upload: int) -> Starlette:
    """Build the page's program.

    Args:
        session: What is worked on.
        hosts: Values of Host that name this server, see `Guard`.
        port: Where it listens.
        token: What a request must know.
        max_upload: Largest accepted image file in bytes.
    """
    middleware = [
        Middleware(SafeHeaders),
        Middleware(Guard, hosts=hosts, port=port, token=token, max_upload=max_upload),
    ]
    refused = dict.fromkeys((FsbenchError, HTTPException, OSError), _report_error)
    handlers: dict[Any, Any] = {**refused, ClientDisconnect: _ignore_disconnect}
    routes = [*_page_routes(), *_Routes(session, max_upload).routes()]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


async def _report_error(_: Request, error: Exception) -> Response:
    """Answer in one line that the page shows."""
    if isinstance(error, OSError):  # such as a full disk
        return JSONResponse({"error": describe(error)}, 500)
    status = error.status_code if isinstance(error, HTTPException) else 400
    text = error.detail if isinstance(error, HTTPException) else str(error)
    return JSONResponse({"error": text}, status)


async def _ignore_disconnect(_: Request, __: Exception) -> Response:
    """Answer nobody: the browser went away in the middle of a request."""
    return Response(status_code=400)


def _page_routes() -> list[BaseRoute]:
    """Return a route for each of the page's own files; index.html is also the page itself."""
    files = [path for path in sorted(PAGE.iterdir()) if path.suffix in TYPES]
    routes: list[BaseRoute] = [Route("/", partial(_file, PAGE / "index.html"))]
    return routes + [Route(f"/{path.name}", partial(_file, path)) for path in files if path.name != "index.html"]


async def _file(path: Path, _: Request) -> Response:
    return FileResponse(path, media_type=TYPES[path.suffix])


class _Routes:
    """Routes under /api: each calls one method of the session in a thread."""

    def __init__(self, session: LabellingSession, max_upload: int):
        self.session = session
        self.max_upload = max_upload
        self.image_jpeg = lru_cache(maxsize=KEPT_IMAGES)(lambda path: image_jpeg(read_upright(path)[0]))
        self.thumbnail_jpeg = lru_cache(maxsize=MOST_IMAGES)(lambda path: thumbnail_jpeg(read_upright(path)[0]))
        self._thumbnails = threading.Lock()  # a browser asks for many at once, and each is decoded whole

    def routes(self) -> list[BaseRoute]:
        session = self.session
        posts: dict[str, Callable[[dict[str, Any]], Any]] = {
            "draw": lambda body: session.draw(_text(body, "image"), body.get("step")),
            "click": lambda body: _mask_clicks(session, body),
            "accept": lambda body: session.accept(_text(body, "image"), _text(body, "forecast")),
            "finish": lambda body: session.finish(_text(body, "image")),
            "view": lambda body: session.view(_text(body, "image")),
            "remove": lambda body: session.remove(_text(body, "image")),
            "add-class": lambda body: session.add_class(body.get("name")),
            "rename-class": lambda body: session.rename_class(body.get("number"), body.get("name")),
            "examples": lambda _: session.add_examples(),
            "method": lambda body: session.choose_method(_text(body, "method")),
            "compare": lambda _: session.worker.compare(),
            "export": lambda body: _export(session, _text(body, "format")),
        }
        return [
            Route("/api/state", self.state),
            Route("/api/image", self.image),
            Route("/api/thumbnail", self.thumbnail),
            Route("/api/labels", self.labels),
            Route("/api/prediction", self.prediction),
            Route("/api/archive", self.archive),
            Route("/api/upload", self.upload, methods=["POST"]),
            *(Route(f"/api/{name}", partial(_post, act), methods=["POST"]) for name, act in posts.items()),
        ]

    async def state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.session.describe))

    async def image(self, request: Request) -> Response:
        with self.session.lock:
            path = self.session.project.annotation(request.query_params.get("name", "")).path
        return Response(await run_in_threadpool(self.image_jpeg, path), media_type="image/jpeg")

    async def thumbnail(self, request: Request) -> Response:
        with self.session.lock:
            path = self.session.project.annotation(request.query_params.get("name", "")).path
        content = await run_in_threadpool(self._thumbnail, path)
        return Response(content, media_type="image/jpeg")

    def _thumbnail(self, path: Path) -> bytes:
        with self._thumbnails:
            return self.thumbnail_jpeg(path)

    async def labels(self, request: Request) -> Response:
        with self.session.lock:
            labels = self.session.project.annotation(request.query_params.get("name", "")).labels.copy()
        return Response(await run_in_threadpool(labels_png, labels), media_type="image/png")

    async def prediction(self, request: Request) -> Response:
        with self.session.lock:
            forecast = self.session.forecast(self.session.project.annotation(request.query_params.get("name", "")))
        if forecast is None:
            raise HTTPException(404, "there is no prediction of this image yet")
        return Response(await run_in_threadpool(lambda: prediction_png(forecast.label_map())), media_type="image/png")

    async def archive(self, request: Request) -> Response:
        archive = self.session.archive(request.query_params.get("format", ""))
        return FileResponse(archive, media_type="application/zip", filename=archive.name)

    async def upload(self, request: Request) -> Response:
        content = await _body(request, self.max_upload, "an image")
        name = request.query_params.get("name", "")
        return JSONResponse(await run_in_threadpool(self.session.add_image, name, content))


async def _post(act: Callable[[dict[str, Any]], Any], request: Request) -> Response:
    """Call `act` with the request's JSON object, in a thread; answer what it returns."""
    try:
        body = parse_json(await _body(request, LONGEST_STEP, "a step"))
    except ValueError:
        raise DataError("the request is no JSON; reload the page") from None
    if not isinstance(body, dict):
        raise DataError("the request is no JSON object; reload the page")
    return JSONResponse(await run_in_threadpool(act, body))


async def _body(request: Request, most: int, kind: str) -> bytes:
    """Return a request's body of at most `most` bytes; HTTPException for a larger one."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413, f"the file is too large: {kind} may have {most / 1e6:g} MB at most")
        parts.append(part)
    return b"".join(parts)


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise DataError(f"{key} is {value!a}, expected text; reload the page")
    return value


def _mask_clicks(session: LabellingSession, body: dict[str, Any]) -> dict[str, Any]:
    """Return the step that takes the mask of some clicks, and the mask as a layer; nothing is changed.

    `step` is None where the network finds nothing.
    """
    clicks = parse_clicks(body)
    mask = session.segment(clicks)
    counts = RunLengths.encode(mask.astype(np.uint8)).counts
    step = {"kind": "mask", "number": clicks.number, "size": mask.shape, "counts": counts[1]} if counts else None
    layer = base64.b64encode(click_mask_png(mask, clicks.number)).decode("ascii")
    return {"step": step, "layer": f"data:image/png;base64,{layer}"}


def _export(session: LabellingSession, kind: str) -> dict[str, Any]:
    """Export, and tell the command that tests methods on what was exported, if it is a data set for fsbench."""
    exported = session.export(kind)
    root = shlex.quote(str(exported.folder))
    command = f"fsbench bench --dataset folder --data-root {root} --method prototype --drop-small"
    if exported.classes == 1:  # queries that show no class of their support need a second one
        command += " --data.empty_masks false"
    return {
        "folder": str(exported.folder),
        "images": exported.images,
        "format": kind,
        "command": command if kind == "folder" else None,
    }
