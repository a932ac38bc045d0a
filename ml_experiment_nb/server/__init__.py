"""The routes of Jupyter's server for what shows runs in a browser.

A handler knows only HTTP: who may ask, which project is meant, how large a body is. Its question goes to the project's
backend, a process of its own, and the answer is handed on as it comes.
"""

from __future__ import annotations

from typing import Any


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the routes to a server: what Jupyter calls."""
    from ml_experiment_nb.server.routes import add_routes

    add_routes(server.web_app)
