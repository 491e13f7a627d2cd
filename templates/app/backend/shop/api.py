"""The API that the page calls, under ``/api``."""

import json
import time
from datetime import UTC, datetime
from http import HTTPStatus

from flask import Blueprint, Response, abort, current_app, request, url_for

bp = Blueprint("api", __name__, url_prefix="/api")

# Longest request in seconds that a caller may ask for: below gunicorn's graceful timeout, so
# that a stop never cuts one.
MAX_SECONDS = 30.0
LINES_PER_SECOND = 4

PRODUCTS = [
    {"id": 1, "name": "Stoneware mug", "price": "18.00"},
    {"id": 2, "name": "Serving bowl", "price": "42.00"},
    {"id": 3, "name": "Bud vase", "price": "26.50"},
]


@bp.get("/health")
def health():
    """Say that the process answers; depends on nothing else."""
    return {"status": "ok"}


@bp.get("/hello")
def hello():
    """What the page shows."""
    return {
        "greeting": current_app.config["GREETING"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "products": PRODUCTS,
        "client": request.remote_addr,
        "url": url_for(".hello", _external=True),
    }


@bp.get("/slow")
def slow():
    """Answer after ``?seconds=`` (2 by default)."""
    seconds = seconds_asked(default=2.0)
    time.sleep(seconds)
    return {"slept": seconds}


@bp.get("/stream")
def stream():
    """Send a line a few times a second for ``?seconds=`` (8 by default), then ``done``."""
    seconds = seconds_asked(default=8.0)
    return Response(
        lines(seconds),
        mimetype="text/plain",
        # Without this nginx would collect the lines and send them at the end.
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


def lines(seconds):
    """Yield numbered lines for so many seconds, then ``done``."""
    for number in range(1, round(seconds * LINES_PER_SECOND) + 1):
        yield f"line {number}\n"
        time.sleep(1 / LINES_PER_SECOND)
    yield "done\n"


def error_as_json(error):
    """Turn an HTTP error into JSON, its headers (``Allow``, ``Retry-After``) kept."""
    response = error.get_response()
    response.data = json.dumps({"error": error.description})
    response.content_type = "application/json"
    return response


def seconds_asked(default):
    """``?seconds=`` as a number from 0 to ``MAX_SECONDS``."""
    seconds = request.args.get("seconds", default, type=float)
    # A NaN fails this comparison too.
    if not 0 <= seconds <= MAX_SECONDS:
        abort(HTTPStatus.BAD_REQUEST, f"seconds must be a number from 0 to {MAX_SECONDS:g}")
    return seconds
