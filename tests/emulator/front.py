"""In front of moto: keeps a log of calls and plays faults (faults.py).

    GET  /kiln/calls            [{service, region, key, operation, params, status}, ...] in the order of their arrival
    POST /kiln/faults           [{...}, ...]: see faults.py
    GET  /kiln/held             the call that a fault holds, once there is one
    POST /kiln/release          what is held is cut off
    POST /kiln/state            {snapshot_looks, image_looks, image_end, encrypted, parameter_looks, give_up}: see the
                                SETTINGS of each module; give_up ends uploads as their timeout does
    GET  /kiln/snapshots        {id: {status, blocks, bytes}}
    GET  /kiln/holdings         {images, snapshots, parameters} of all regions, with tags, and what builders have made:
                                {instances, groups, volumes, objects}
    POST /kiln/furnish          an account to bake on instances in: {base, subnet, bucket}
    POST /kiln/stopped          {instance} has powered itself off
    POST /kiln/reset            forgets calls and faults
    POST /kiln/wipe             forgets everything

Nothing but tests knows of /kiln/.
"""

import json
import re
import threading
from urllib.parse import parse_qsl

import ebs_strict
import ec2_builders
import ec2_copies
import ec2_images
import ssm_images
from faults import Faults, failure
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")

# EBS direct is REST: the operation is in the method and the path.
EBS = [
    ("POST", re.compile(r"^/snapshots$"), "StartSnapshot"),
    ("POST", re.compile(r"^/snapshots/completion/(?P<SnapshotId>[^/]+)$"), "CompleteSnapshot"),
    ("PUT", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>\d+)$"), "PutSnapshotBlock"),
    ("GET", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>\d+)$"), "GetSnapshotBlock"),
    ("GET", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/blocks$"), "ListSnapshotBlocks"),
    ("GET", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/changedblocks$"), "ListChangedBlocks"),
]

SETTINGS = [ebs_strict.SETTINGS, ec2_builders.SETTINGS, ec2_images.SETTINGS, ssm_images.SETTINGS]

OBJECTS = {"PUT": "PutObject", "GET": "GetObject", "DELETE": "DeleteObject"}


class Front:
    """A WSGI application around another."""

    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()
        self.calls = []
        self.faults = Faults()

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.path.startswith("/kiln/"):
            return self.ask(request)(environ, start_response)
        call = describe(request)
        with self.lock:
            self.calls.append(call)
            number = len(self.calls)
        fault = self.faults.take(call, number)
        answer = None
        if fault and not fault.get("after"):
            answer = self.faults.play(fault, call, environ)
        if answer is None:
            # The body was read by describe(); werkzeug caches it, and moto reads it from here.
            environ["wsgi.input"] = Rewound(request.get_data(cache=True))
            try:
                body, status, headers = run_wsgi_app(self.app, environ)
                answer = Response(b"".join(body), status=status, headers=headers)
            except NotImplementedError as missing:
                # moto would answer 500 and HTML, which clients take for a fault that passes.
                unknown = {"code": "InvalidAction", "status": 400, "message": str(missing)}
                answer = failure(call["service"], unknown)
            if fault and fault.get("after"):
                answer = self.faults.play(fault, call, environ) or answer
        call["status"] = answer.status_code
        return answer(environ, start_response)

    def ask(self, request):
        path = request.path
        if path == "/kiln/held":
            return answer_json(self.faults.held())
        if path == "/kiln/release" and request.method == "POST":
            self.faults.release()
            return answer_json({})
        with self.lock:
            if path == "/kiln/calls":
                return answer_json(self.calls)
            if path == "/kiln/snapshots":
                return answer_json(ebs_strict.contents())
            if path == "/kiln/holdings":
                ssm_images.settle_all()
                return answer_json(ec2_copies.holdings() | ec2_builders.holdings())
            if path == "/kiln/furnish" and request.method == "POST":
                return answer_json(ec2_builders.furnish())
            if path == "/kiln/stopped" and request.method == "POST":
                ec2_builders.stopped(request.get_json(force=True)["instance"])
                return answer_json({})
            if path == "/kiln/faults" and request.method == "POST":
                self.faults.add(request.get_json(force=True))
                return answer_json({})
            if path == "/kiln/state" and request.method == "POST":
                state = request.get_json(force=True)
                if state.pop("give_up", False):
                    ebs_strict.give_up_pending()
                for settings in SETTINGS:
                    settings.update({k: v for k, v in state.items() if k in settings})
                return answer_json({})
            if path in ("/kiln/reset", "/kiln/wipe") and request.method == "POST":
                self.calls, self.faults = [], Faults()
                if path == "/kiln/wipe":
                    wipe()
                return answer_json({})
        return Response("no such question", status=404)


def wipe():
    """An account that nobody has used."""
    from moto.moto_api._internal import moto_api_backend

    moto_api_backend.reset()
    for memory in (ebs_strict.TOKENS, ec2_builders.TOKENS, ec2_copies.COPIES, ssm_images.WAITING):
        memory.clear()


class Rewound:
    """A request body for those that read it after us."""

    def __init__(self, data):
        import io

        self.read = io.BytesIO(data).read

    def readline(self, *_args):
        raise NotImplementedError


def describe(request):
    """What a request asks for, as AWS names it."""
    presigned = f"Credential={request.args.get('X-Amz-Credential', '')}"
    scope = SCOPE.search(request.headers.get("Authorization", presigned))
    key, region, service = scope.groups() if scope else ("unknown", "unknown", "unknown")
    if service == "s3" and request.method in OBJECTS:
        return {
            "service": service,
            "region": region,
            "key": key,
            "operation": OBJECTS[request.method],
            "params": {"path": request.path},
        }
    return {"service": service, "region": region, "key": key} | operation_of(service, request)


def operation_of(service, request):
    if service == "ebs":
        for method, path, operation in EBS:
            found = path.match(request.path)
            if method == request.method and found:
                params = dict(request.args) | found.groupdict()
                params |= {k: v for k, v in request.headers.items() if k.lower().startswith("x-amz-")}
                if request.mimetype == "application/json":
                    params |= json.loads(request.get_data(cache=True) or b"{}")
                return {"operation": operation, "params": params}
    if "/operation/" in request.path:
        return {"operation": request.path.rsplit("/", 1)[1], "params": {}}
    body = request.get_data(cache=True)
    params = dict(parse_qsl(body.decode("utf-8", "replace"))) if request.mimetype.endswith("form-urlencoded") else {}
    if request.mimetype.startswith("application/x-amz-json"):
        params = json.loads(body or b"{}")
    operation = params.pop("Action", None) or request.headers.get("X-Amz-Target", "unknown").rsplit(".", 1)[-1]
    return {"operation": operation, "params": params}


def answer_json(value):
    return Response(json.dumps(value), content_type="application/json")
