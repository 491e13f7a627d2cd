"""The shop's backend: a Flask application factory.

browser ── ALB ── nginx ── unix socket ── gunicorn ── create_app()
"""

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from . import api


def create_app(test_config=None):
    """Build the WSGI application.

    Configuration comes from ``SHOP_*`` environment variables (``SHOP_GREETING="Hi"``);
    ``test_config`` wins over them.
    """
    app = Flask(__name__)
    app.config.from_mapping(GREETING="Hello from Flask")
    app.config.from_prefixed_env(prefix="SHOP")
    if test_config is not None:
        app.config.from_mapping(test_config)

    app.register_blueprint(api.bp)
    app.register_error_handler(HTTPException, api.error_as_json)

    # nginx resolves the load balancer's headers and passes on one value of each, so there is
    # exactly one hop to trust, however many proxies stand in front of the instance.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=1)
    return app
