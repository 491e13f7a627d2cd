"""Service partners."""

import os
import pwd

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=1)


@app.get("/health")
def health():
    return {"ok": True}


@app.get("/whoami")
def whoami():
    user = pwd.getpwuid(os.getuid()).pw_name
    return {"service": "partners", "user": user, "prefix": request.script_root, "folder": os.getcwd()}
