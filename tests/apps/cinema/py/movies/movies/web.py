"""Service movies: draws with a native wheel, and answers JSON with another."""

import io
import os
import pwd

import orjson
from flask import Flask, Response, request
from PIL import Image, ImageDraw
from werkzeug.middleware.proxy_fix import ProxyFix


def create_app():
    app = Flask(__name__)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=1)

    @app.get("/api/health")
    def health():
        return {"ok": True}

    @app.get("/api/whoami")
    def whoami():
        user = pwd.getpwuid(os.getuid()).pw_name
        told = {"service": "movies", "user": user, "prefix": request.script_root, "folder": os.getcwd()}
        return Response(orjson.dumps(told), mimetype="application/json")

    @app.get("/api/poster")
    def poster():
        image = Image.new("RGB", (64, 96), "black")
        ImageDraw.Draw(image).ellipse((8, 24, 56, 72), fill="white")
        drawn = io.BytesIO()
        image.save(drawn, "PNG")
        return Response(drawn.getvalue(), mimetype="image/png")

    return app
