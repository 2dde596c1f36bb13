"""The page of `fsbench demo`: what its server writes."""

import logging

import pytest


def logged(error: BaseException | None) -> logging.LogRecord:
    """A record as uvicorn writes it for an error in a request."""
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, "Exception in ASGI application", None, info)


def test_a_browser_that_leaves_during_an_upload_is_not_logged():
    pytest.importorskip("gradio")
    from starlette.requests import ClientDisconnect

    from fsbench.predict.app import is_worth_a_line

    assert not is_worth_a_line(logged(ClientDisconnect()))
    assert is_worth_a_line(logged(ValueError("a fault of ours"))) and is_worth_a_line(logged(None))
