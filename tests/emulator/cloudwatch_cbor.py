"""CloudWatch's Smithy RPC v2 CBOR, which is all that the Rust SDK speaks, on top of moto's JSON.

A WSGI application around moto's: a request for an RPC path goes in as awsJson 1.0 and comes out as CBOR again.
"""

import gzip
import io
import json
from datetime import datetime, timezone

import cbor2
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

PATH = "/service/GraniteServiceVersion20100801/operation/"
TIMES = {"Timestamp", "Timestamps", "StartTime", "EndTime", "AlarmConfigurationUpdatedTimestamp", "StateUpdatedTimestamp"}


class Transcoder:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        if not environ.get("PATH_INFO", "").startswith(PATH):
            return self.app(environ, start_response)
        request = Request(environ)
        body = request.get_data()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        asked = json.dumps(plain(cbor2.loads(body) if body else {})).encode()
        inner = dict(environ)
        inner.pop("HTTP_CONTENT_ENCODING", None)
        inner.update(
            {
                "PATH_INFO": "/",
                "RAW_URI": "/",
                "REQUEST_URI": "/",
                "CONTENT_TYPE": "application/x-amz-json-1.0",
                "CONTENT_LENGTH": str(len(asked)),
                "HTTP_X_AMZ_TARGET": "GraniteServiceVersion20100801." + request.path[len(PATH) :],
                "wsgi.input": io.BytesIO(asked),
            }
        )
        inner.pop("werkzeug.request", None)
        chunks, status, _headers = run_wsgi_app(self.app, inner)
        told = b"".join(chunks)
        answer = Response(cbor2.dumps(timed(json.loads(told) if told else {})), status=status)
        answer.headers["Content-Type"] = "application/cbor"
        answer.headers["smithy-protocol"] = "rpc-v2-cbor"
        return answer(environ, start_response)


def plain(value):
    """CBOR's times as the epoch seconds that JSON has."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def timed(value, key=None):
    """Epoch seconds under a key that holds times as CBOR tag 1, which the SDK insists on."""
    if isinstance(value, dict):
        return {name: timed(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [timed(item, key) for item in value]
    if key in TIMES and isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()
    return cbor2.CBORTag(1, value) if key in TIMES and isinstance(value, (int, float)) else value
