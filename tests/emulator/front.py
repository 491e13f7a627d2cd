"""In front of moto: keeps a log of calls and plays faults.

    GET  /kiln/calls            [{service, operation, params, status}, ...] in the order of their arrival
    POST /kiln/faults           [{operation, code, status, times, skip, after, message, reason}, ...]: the next
                                `times` calls of `operation`, after the first `skip`, fail with `code`; with
                                `after` the call is carried out first (a lost reply)
    POST /kiln/state            {snapshot_looks, image_looks, image_end, encrypted}: see ec2_images.py, ebs_strict.py
    GET  /kiln/snapshots        {id: {status, blocks, bytes}}
    POST /kiln/reset            forgets calls and faults

Nothing but tests knows of /kiln/.
"""

import json
import re
import threading
from urllib.parse import parse_qsl

import ebs_strict
import ec2_images
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")

# EBS direct is REST: the operation is in the method and the path.
EBS = [
    ("POST", re.compile(r"^/snapshots$"), "StartSnapshot"),
    ("POST", re.compile(r"^/snapshots/completion/(?P<SnapshotId>[^/]+)$"), "CompleteSnapshot"),
    ("PUT", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>\d+)$"), "PutSnapshotBlock"),
    ("GET", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>\d+)$"), "GetSnapshotBlock"),
    ("GET", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/blocks$"), "ListSnapshotBlocks"),
    ("GET", re.compile(r"^/snapshots/(?P<SnapshotId>[^/]+)/changedblocks$"), "ListChangedBlocks"),
]


class Front:
    """A WSGI application around another."""

    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()
        self.calls = []
        self.faults = []

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.path.startswith("/kiln/"):
            return self.ask(request)(environ, start_response)
        call = describe(request)
        with self.lock:
            self.calls.append(call)
            fault = self.take_fault(call["operation"])
        if fault and not fault.get("after"):
            answer = failure(call["service"], fault)
        else:
            # The body was read by describe(); werkzeug caches it, and moto reads it from here.
            environ["wsgi.input"] = Rewound(request.get_data(cache=True))
            body, status, headers = run_wsgi_app(self.app, environ)
            answer = Response(b"".join(body), status=status, headers=headers)
            if fault:
                answer = failure(call["service"], fault)
        call["status"] = answer.status_code
        return answer(environ, start_response)

    def take_fault(self, operation):
        for fault in self.faults:
            if fault["operation"] != operation:
                continue
            if fault.get("skip", 0) > 0:
                fault["skip"] -= 1
            elif fault.setdefault("times", 1) > 0:
                fault["times"] -= 1
                return fault
        return None

    def ask(self, request):
        path = request.path
        with self.lock:
            if path == "/kiln/calls":
                return answer_json(self.calls)
            if path == "/kiln/snapshots":
                return answer_json(ebs_strict.contents())
            if path == "/kiln/faults" and request.method == "POST":
                self.faults += request.get_json(force=True)
                return answer_json({})
            if path == "/kiln/state" and request.method == "POST":
                state = request.get_json(force=True)
                ebs_strict.SETTINGS.update({k: v for k, v in state.items() if k in ebs_strict.SETTINGS})
                ec2_images.SETTINGS.update({k: v for k, v in state.items() if k in ec2_images.SETTINGS})
                return answer_json({})
            if path == "/kiln/reset" and request.method == "POST":
                self.calls, self.faults = [], []
                return answer_json({})
        return Response("no such question", status=404)


class Rewound:
    """A request body for those that read it after us."""

    def __init__(self, data):
        import io

        self.read = io.BytesIO(data).read

    def readline(self, *_args):
        raise NotImplementedError


def describe(request):
    """What a request asks for, as AWS names it."""
    scope = SCOPE.search(request.headers.get("Authorization", ""))
    service = scope.group(1) if scope else "unknown"
    if service == "ebs":
        for method, path, operation in EBS:
            found = path.match(request.path)
            if method == request.method and found:
                params = dict(request.args) | found.groupdict()
                params |= {k: v for k, v in request.headers.items() if k.lower().startswith("x-amz-")}
                if request.mimetype == "application/json":
                    params |= json.loads(request.get_data(cache=True) or b"{}")
                return {"service": service, "operation": operation, "params": params}
    if "/operation/" in request.path:
        return {"service": service, "operation": request.path.rsplit("/", 1)[1], "params": {}}
    body = request.get_data(cache=True)
    params = dict(parse_qsl(body.decode("utf-8", "replace"))) if request.mimetype.endswith("form-urlencoded") else {}
    operation = params.pop("Action", None) or request.headers.get("X-Amz-Target", "unknown").rsplit(".", 1)[-1]
    return {"service": service, "operation": operation, "params": params}


def failure(service, fault):
    """An error in the service's own protocol."""
    code, status = fault["code"], fault.get("status", 400)
    message = fault.get("message", f"{code}, injected")
    if service in ("ebs", "monitoring", "ssm"):
        body = {"__type": code, "Message": message, "message": message}
        if "reason" in fault:
            body["Reason"] = fault["reason"]
        return Response(json.dumps(body), status, {"x-amzn-ErrorType": code}, content_type="application/json")
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if service == "ec2":
        body = f"<Response><Errors>{error}</Errors><RequestID>injected</RequestID></Response>"
    else:
        body = f"<ErrorResponse>{error}<RequestId>injected</RequestId></ErrorResponse>"
    return Response(body, status, content_type="text/xml")


def answer_json(value):
    return Response(json.dumps(value), content_type="application/json")
