"""An AWS endpoint on loopback for Kiln's tests: moto, made strict where AWS is strict.

Started by `./start`, which prepares its Python. Prints the endpoint's URL as its only line on stdout, serves until
its stdin ends (so that nothing outlives a killed test), and answers questions about what it was asked under /kiln/
(see front.py). README.md lists each patch with the AWS rule that it restores.
"""

import argparse
import logging
import os
import sys
import threading

import cloudwatch_cbor
import ebs_strict
import ec2_builders
import ec2_copies
import ec2_images
import lifecycle
import ssm_images
from front import Front
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


class Quiet(MotoRequestHandler):
    """One block more or less in the log helps nobody."""

    # Keep-alive, as AWS has it; a connection for every block would test the kernel.
    protocol_version = "HTTP/1.1"

    def log_request(self, *_args):
        pass


def die_with_stdin():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-H", "--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, default=0, help="0, the default, picks a free one")
    parser.add_argument("--keep-alive", action="store_true", help="go on serving after stdin has ended")
    args = parser.parse_args()

    ebs_strict.patch()
    ec2_images.patch()
    ec2_copies.patch()
    ec2_builders.patch()
    ssm_images.patch()
    lifecycle.patch()
    moto = DomainDispatcherApplication(create_backend_app)
    app = Front(cloudwatch_cbor.Transcoder(moto))

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(args.host, args.port, app, threaded=True, request_handler=Quiet)
    print(f"http://{args.host}:{server.server_port}", flush=True)
    if not args.keep_alive:
        threading.Thread(target=die_with_stdin, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
