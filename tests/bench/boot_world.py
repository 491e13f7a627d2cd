"""What the bootstrap's bench plays: EC2's metadata service as a tree, and DHCP, each on the gateway of one instance."""

import json
import secrets
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GATEWAY, INSTANCE, MAC = "10.98.0.1", "10.98.0.10", "02:00:00:98:00:10"
IMDS = "169.254.169.254"
HOST = "ip-10-98-0-10.eu-west-1.compute.internal"
DOCUMENT = {"accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "eu-west-1a",
            "imageId": "ami-0123456789abcdef0", "instanceId": "i-0123456789abcdef0", "instanceType": "t3.small",
            "privateIp": INSTANCE, "region": "eu-west-1", "version": "2017-09-30"}
CREDENTIALS = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "bench", "SecretAccessKey": "bench", "Token": "bench",
               "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}
# As many items as an instance of an Auto Scaling group with a role and one card has.
TREE = {
    "meta-data": {
        "ami-id": "ami-0123456789abcdef0", "ami-launch-index": "0", "ami-manifest-path": "(unknown)",
        "autoscaling": {"target-lifecycle-state": "InService"},
        "block-device-mapping": {"ami": "/dev/xvda", "root": "/dev/xvda"},
        "events": {"maintenance": {"history": "[]", "scheduled": "[]"}},
        "hostname": HOST, "iam": {"info": json.dumps({"Code": "Success"}), "security-credentials": {"web": json.dumps(CREDENTIALS)}},
        "identity-credentials": {"ec2": {"info": "{}", "security-credentials": {"ec2-instance": json.dumps(CREDENTIALS)}}},
        "instance-action": "none", "instance-id": "i-0123456789abcdef0", "instance-life-cycle": "on-demand",
        "instance-type": "t3.small", "local-hostname": HOST, "local-ipv4": INSTANCE, "mac": MAC,
        "metrics": {"vhostmd": '<?xml version="1.0"?>'},
        "network": {"interfaces": {"macs": {MAC: {
            "device-number": "0", "interface-id": "eni-0123456789abcdef0", "local-hostname": HOST, "local-ipv4s": INSTANCE,
            "mac": MAC, "owner-id": "123456789012", "security-group-ids": "sg-0123", "security-groups": "web",
            "subnet-id": "subnet-0123", "subnet-ipv4-cidr-block": "10.98.0.0/24", "vpc-id": "vpc-0123",
            "vpc-ipv4-cidr-block": "10.98.0.0/16", "vpc-ipv4-cidr-blocks": "10.98.0.0/16"}}}},
        "placement": {"availability-zone": "eu-west-1a", "availability-zone-id": "euw1-az1", "region": "eu-west-1"},
        "profile": "default-hvm", "reservation-id": "r-0123", "security-groups": "web",
        "services": {"domain": "amazonaws.com", "partition": "aws"}, "system": "nitro",
    },
    "dynamic": {"instance-identity": {"document": json.dumps(DOCUMENT), "pkcs7": "bench", "signature": "bench"}},
}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def close(self):
        self.shutdown()
        self.server_close()


class Metadata(BaseHTTPRequestHandler):
    """IMDSv2; the server counts what was asked."""

    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked.append((time.monotonic(), self.command, self.path))

    def do_PUT(self):
        if self.path != "/latest/api/token":
            return self.answer(404)
        token = secrets.token_urlsafe(40)
        self.server.tokens.add(token)
        lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "60")
        return self.answer(200, token.encode(), X_aws_ec2_metadata_token_ttl_seconds=lifetime)

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens:
            return self.answer(401)
        found = self.server.user_data if self.path.endswith("/user-data") else item(self.path)
        return self.answer(404) if found is None else self.answer(200, found)

    def log_message(self, *_):
        pass


def item(path):
    node = TREE
    for name in [name for name in path.split("/") if name][1:]:
        node = node.get(name) if isinstance(node, dict) else None
    if isinstance(node, dict):
        return "\n".join(name + ("/" if isinstance(below, dict) else "") for name, below in node.items()).encode()
    return None if node is None else node.encode()


def metadata(user_data):
    """A metadata service with a log of its own."""
    server = Server((IMDS, 80), Metadata)
    server.user_data, server.tokens, server.asked = user_data, set(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def lease(device):
    """Answers DHCP on that device, with one address, until the socket is closed."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    server.bind(("0.0.0.0", 67))
    threading.Thread(target=leases, args=(server,), daemon=True).start()
    return server


def leases(server):
    address = socket.inet_aton
    while True:
        try:
            packet = server.recv(2048)
        except OSError:
            return
        kind, at = None, 240
        while at + 2 < len(packet) and packet[at] != 255:
            if packet[at] == 53:
                kind = packet[at + 2]
            at += 1 if packet[at] == 0 else 2 + packet[at + 1]
        # DISCOVER gets an OFFER, REQUEST an ACK (RFC 2131).
        told = {1: 2, 3: 5}.get(kind)
        if len(packet) < 240 or packet[0] != 1 or told is None:
            continue
        reply = struct.pack("!BBBB4sHH4s4s4s4s16s64s128s", 2, 1, 6, 0, packet[4:8], 0, 0x8000, address("0.0.0.0"),
                            address(INSTANCE), address(GATEWAY), address("0.0.0.0"), packet[28:44], b"", b"") + packet[236:240]
        for code, value in ((53, bytes([told])), (54, address(GATEWAY)), (51, struct.pack("!I", 3600)),
                            (1, address("255.255.255.0")), (3, address(GATEWAY)), (26, struct.pack("!H", 1500))):
            reply += bytes([code, len(value)]) + value
        server.sendto(reply + b"\xff", ("255.255.255.255", 68))
