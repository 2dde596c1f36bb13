"""Run the page's server in a thread until it is told to end."""

import logging
import threading
import time
from typing import Any

import uvicorn

from fsbench.errors import SettingsError
from fsbench.labelling.serve.app import make_app
from fsbench.labelling.serve.guard import host_names
from fsbench.labelling.session import LabellingSession

STARTS_WITHIN = 120.0
"""Seconds."""
_POLL = 0.02


class PageServer:
    """Serves a labelling session at http://host:port from a thread.

    Args:
        session: What is worked on.
        host: Address to listen at.
        port: Port to listen at.
        token: What a request must know.
        max_upload: Largest accepted image file in bytes.

    Raises:
        SettingsError: the server does not come up.
    """

    def __init__(self, session: LabellingSession, host: str, port: int, token: str, max_upload: int):
        app: Any = make_app(session, host_names(host, port), port, token, max_upload)
        config = uvicorn.Config(
            app, host, port, log_level=logging.ERROR, access_log=False, lifespan="off", server_header=False,
            proxy_headers=False, ws="none", timeout_graceful_shutdown=5,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="page", daemon=True)
        self._thread.start()
        ends = time.monotonic() + STARTS_WITHIN
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > ends:
                raise SettingsError(f"the page cannot be served at {host}:{port}; choose another --port or --host")
            time.sleep(_POLL)

    def close(self) -> None:
        """End the server; requests that are under way are answered."""
        self._server.should_exit = True
        self._thread.join(20)
