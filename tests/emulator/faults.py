"""Faults that the stand-in plays, by operation and by count.

A fault is {operation, at, skip, times, kind, after, ...}:

    operation   of this call alone; of any without it
    key         of calls that this access key signs
    at          the call of this number alone, counted over all operations from 1
    skip        the first so many are spared; times: so many are hit, one by default
    kind        error (default: code, status, message, reason), reset (the connection), delay (seconds, then the
                answer), hold (until /kiln/release, which cuts it off: time to kill the caller)
    after       the call is carried out first: a lost reply
"""

import json
import socket
import struct
import threading
import time

from werkzeug.wrappers import Response

# Long enough for a process to start, short enough for a test to fail in.
HOLD = 60


class Faults:
    def __init__(self):
        self.faults = []
        self.lock = threading.Lock()
        self.holds, self.releases = threading.Event(), threading.Event()
        self.call = None

    def add(self, faults):
        with self.lock:
            self.faults += faults

    def take(self, call, number):
        """The fault that hits this call, if any."""
        with self.lock:
            for fault in self.faults:
                if fault.get("operation", call["operation"]) != call["operation"]:
                    continue
                if fault.get("key", call["key"]) != call["key"]:
                    continue
                if fault.get("region", call["region"]) != call["region"] or fault.get("at", number) != number:
                    continue
                if fault.get("skip", 0) > 0:
                    fault["skip"] -= 1
                elif fault.setdefault("times", 1) > 0:
                    fault["times"] -= 1
                    return fault
        return None

    def play(self, fault, call, environ):
        """The answer of a call that fails; None lets it go on."""
        kind = fault.get("kind", "error")
        if kind == "delay":
            time.sleep(fault["seconds"])
            return None
        if kind == "hold":
            with self.lock:
                self.call = {name: call[name] for name in ("service", "region", "operation")}
                self.call["after"] = bool(fault.get("after"))
                released = self.releases
            self.holds.set()
            released.wait(HOLD)
            cut(environ)
        if kind == "reset":
            cut(environ)
        return failure(call["service"], fault)

    def held(self):
        return self.call if self.holds.wait(HOLD) else None

    def release(self):
        with self.lock:
            held, self.holds, self.releases = self.releases, threading.Event(), threading.Event()
        held.set()


def cut(environ):
    """Resets the connection: no FIN, no answer."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    raise ConnectionResetError("cut off by a fault")


def failure(service, fault):
    """An error in the service's own protocol."""
    code, status = fault["code"], fault.get("status", 400)
    message = fault.get("message", f"{code}, injected")
    if service in ("ebs", "monitoring", "ssm", "kms"):
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
