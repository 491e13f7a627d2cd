"""Service partners: greenlets of gevent instead of threads."""

import os
import pwd
import time

from flask import Flask, Response, request, stream_with_context
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=1)


@app.after_request
def signed(response):
    response.headers["X-Answered-By"] = "gunicorn"
    return response


@app.get("/health")
def health():
    return {"ok": True}


@app.get("/whoami")
def whoami():
    user = pwd.getpwuid(os.getuid()).pw_name
    return {"service": "partners", "user": user, "prefix": request.script_root, "folder": os.getcwd()}


@app.get("/stream")
def stream():
    def lines():
        for number in range(int(request.args["seconds"]) * 4):
            yield f"{number}\n"
            time.sleep(0.25)
        yield "done\n"

    return Response(stream_with_context(lines()), headers={"X-Accel-Buffering": "no"})


@app.get("/workers")
def workers():
    from gevent import monkey

    return {"gevent": monkey.is_module_patched("socket")}
