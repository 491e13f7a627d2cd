"""What the agent's bench plays: a metadata service and AWS on loopback, with the time of everything that was asked.

One instance in one group with one terminate hook and one target group. Times are time.monotonic() of this process.
"""

import re
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTANCE = "i-0123456789abcdef0"
GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"


class World:
    """State and log, shared by all servers."""

    def __init__(self):
        self.lock = threading.Lock()
        self.log, self.tokens = [], set()
        self.reset()

    def reset(self):
        with self.lock:
            self.log.clear()
            self.leaving, self.told = False, False

    def flip(self):
        """The group wants the instance gone; its hook waits at once. Returns the time."""
        with self.lock:
            self.leaving = True
            return time.monotonic()

    def note(self, who, what):
        with self.lock:
            self.log.append((time.monotonic(), who, what))

    def first(self, who, what, since):
        with self.lock:
            return next((at for at, by, said in self.log if by == who and at >= since and re.search(what, said)), None)

    def count(self, who, since):
        with self.lock:
            return sum(1 for at, by, _ in self.log if by == who and at >= since)

    def item(self, path):
        return {
            "/latest/meta-data/instance-id": INSTANCE,
            "/latest/meta-data/placement/region": "us-east-1",
            "/latest/meta-data/autoscaling/target-lifecycle-state": "Terminated" if self.leaving else "InService",
        }.get(path)

    def answer(self, action):
        """The reply of Auto Scaling or Elastic Load Balancing, in the query protocol."""
        state = "Terminating:Wait" if self.leaving else "InService"
        inner = {
            "DescribeAutoScalingInstances": members(
                "AutoScalingInstances", InstanceId=INSTANCE, AutoScalingGroupName="web", LifecycleState=state
            ),
            "DescribeLifecycleHooks": members(
                "LifecycleHooks",
                LifecycleHookName="drain",
                AutoScalingGroupName="web",
                LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
                HeartbeatTimeout=300,
                GlobalTimeout=30000,
                DefaultResult="CONTINUE",
            ),
            "DescribeAutoScalingGroups": "<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName>"
            f"<TargetGroupARNs><member>{GROUP}</member></TargetGroupARNs></member></AutoScalingGroups>",
            "DescribeTargetHealth": "<TargetHealthDescriptions><member>"
            f"<Target><Id>{INSTANCE}</Id><Port>8080</Port></Target>"
            f"<TargetHealth><State>{'draining' if self.told else 'healthy'}</State></TargetHealth>"
            "</member></TargetHealthDescriptions>",
        }.get(action, "")
        if action == "DeregisterTargets":
            self.told = True
        return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


def members(name, **fields):
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return f"<{name}><member>{inner}</member></{name}>"


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def say(self, status, body, kind="text/plain", headers=()):
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        if self.server.closes:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class Metadata(Server):
    def do_PUT(self):
        self.body()
        world = self.server.world
        token = secrets.token_urlsafe(32)
        world.tokens.add(token)
        world.note(self.server.name, "token")
        self.say(200, token.encode(), headers=[("X-aws-ec2-metadata-token-ttl-seconds", "21600")])

    def do_GET(self):
        world = self.server.world
        if self.headers.get("X-aws-ec2-metadata-token") not in world.tokens:
            return self.say(401, b"")
        value = world.item(self.path)
        world.note(self.server.name, f"{self.path} {value}")
        return self.say(404, b"<html>404 - Not Found</html>") if value is None else self.say(200, value.encode())


class Aws(Server):
    def do_POST(self):
        body, world = self.body(), self.server.world
        action = re.search(rb"(?:^|&)Action=(\w+)", body)
        if action:
            action = action[1].decode()
            world.note(self.server.name, action)
            return self.say(200, world.answer(action).encode(), "text/xml")
        world.note(self.server.name, self.headers.get("X-Amz-Target") or self.path)
        if self.headers.get("smithy-protocol"):
            return self.say(200, b"\xa0", "application/cbor", [("smithy-protocol", "rpc-v2-cbor")])
        return self.say(200, b"{}", "application/x-amz-json-1.1")


def serve(kind, world, name, address=("127.0.0.1", 0), closes=False):
    """Starts a server; returns its URL. It ends with the process."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_):
            """A client that hangs up is no news."""

    server = Listener(address, kind)
    server.world, server.name, server.closes = world, name, closes
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{server.server_address[0]}:{server.server_address[1]}"
