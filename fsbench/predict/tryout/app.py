"""The server of the page: its own files, the layers of an image, and what changes the session.

Names of images come from the session alone: one that it does not have is refused, so no path is made of them.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from fsbench.base.errors import DataError, FsbenchError, describe
from fsbench.base.files.opening import parse_json
from fsbench.predict.tryout.addresses import host_names
from fsbench.predict.tryout.guard import Guard
from fsbench.predict.tryout.images import SessionImage
from fsbench.predict.tryout.layers import labels_png
from fsbench.predict.tryout.session import TryoutSession
from fsbench.predict.tryout.strokes import parse_stroke

PAGE = Path(__file__).with_name("page")
"""Folder of the page's own files, all of which are served."""
LONGEST_STEP = 2_000_000
"""Bytes of a request that is no image."""


def make_server(session: TryoutSession, host: str, port: int, token: str, max_upload: int) -> uvicorn.Server:
    """Build the server of the page.

    Args:
        session: What the page shows and changes.
        host: Address at which it listens.
        port: Port at which it listens.
        token: What a request must know.
        max_upload: Largest accepted image file in bytes.
    """
    guard = Middleware(Guard, hosts=host_names(host, port), port=port, token=token)
    handlers: dict[Any, Any] = dict.fromkeys((FsbenchError, HTTPException, OSError, ClientDisconnect), _report_error)
    routes = [*_api(session, max_upload), Mount("/", StaticFiles(directory=PAGE, html=True))]
    app: Any = Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)
    return uvicorn.Server(
        uvicorn.Config(
            app, host, port, log_level="error", access_log=False, lifespan="off", server_header=False,
            proxy_headers=False, ws="none", timeout_graceful_shutdown=5,
        )
    )  # fmt: skip


async def _report_error(_: Request, error: Exception) -> Response:
    """Answer in one line that the page shows; nobody, where the browser went away in the middle of a request."""
    if isinstance(error, OSError):  # such as a full disk
        return JSONResponse({"error": describe(error)}, 500)
    status = error.status_code if isinstance(error, HTTPException) else 400
    text = error.detail if isinstance(error, HTTPException) else str(error)
    return JSONResponse({"error": text}, status)


def _api(session: TryoutSession, max_upload: int) -> list[BaseRoute]:
    """Return the routes under /api; each calls one method of the session in a thread."""

    async def state(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(session.describe))

    def shown(request: Request) -> SessionImage:
        return session.image(request.query_params.get("name", ""))

    async def image(request: Request) -> Response:
        return Response(shown(request).preview, media_type="image/jpeg")

    async def labels(request: Request) -> Response:
        content = await run_in_threadpool(labels_png, shown(request).labels)
        return Response(content, media_type="image/png")

    async def prediction(request: Request) -> Response:
        found = shown(request).prediction
        if found is None or not found.layer:
            raise HTTPException(404, "there is no prediction of this photo yet")
        return Response(found.layer, media_type="image/png")

    async def upload(request: Request) -> Response:
        content = await _body(request, max_upload, "a photo")
        return JSONResponse(await run_in_threadpool(session.add_image, request.query_params.get("name", ""), content))

    async def packed(name: str, write: Callable[[Path], None]) -> Response:
        """Answer the ZIP file that `write` makes."""
        archive = Path(tempfile.mkdtemp(dir=session.folder)) / name
        await run_in_threadpool(write, archive)
        end = BackgroundTask(archive.unlink)
        return FileResponse(archive, media_type="application/zip", filename=name, background=end)

    async def save(_: Request) -> Response:
        return await packed("tryout.zip", session.save)

    async def export(_: Request) -> Response:
        return await packed("thing.zip", session.export)

    posts: dict[str, Callable[[Any], Any]] = {
        "draw": lambda body: session.draw(parse_stroke(body)),
        "undo": lambda body: session.undo(str(body.get("image"))),
        "add-class": lambda body: session.add_class(body.get("name")),
        "examples": lambda _: session.add_examples(),
    }
    gets = [state, image, labels, prediction, save, export]
    return [
        *(Route(f"/api/{function.__name__}", function) for function in gets),
        Route("/api/upload", upload, methods=["POST"]),
        *(Route(f"/api/{name}", partial(_post, act), methods=["POST"]) for name, act in posts.items()),
    ]


async def _post(act: Callable[[Any], Any], request: Request) -> Response:
    """Call `act` with the request's JSON object, in a thread; answer what it returns."""
    try:
        body = parse_json(await _body(request, LONGEST_STEP, "a stroke"))
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
