#!/usr/bin/python3
# The user data of a builder instance: fetches what it becomes, becomes it, says so, and powers itself off.
#
# Nobody logs in: what can be said goes into one object in S3, by a URL that is good for that alone. The end comes by
# force: an orderly one would have every service write its last words, a seed for random numbers among them, into what
# is to be an image.
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request

ORDERS = json.loads(r"""@ORDERS@""")
HOME = "/var/tmp/kiln-builder"
OFF = ["systemctl", "poweroff", "--force"]
LINES = 40
PAUSE = 5
TRIES = 8

tail = []


def ask(method, url, body=None):
    for attempt in range(1, TRIES + 1):
        try:
            kind = {"Content-Type": "application/json"} if body else {}
            request = urllib.request.Request(url, data=body, headers=kind, method=method)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except OSError as error:
            # The URL opens what it names: the reason alone is told.
            print(f"{method}: {getattr(error, 'code', error)}, attempt {attempt}", flush=True)
            if attempt == TRIES:
                raise
            time.sleep(min(2**attempt, 15))


def report(state):
    ask("PUT", ORDERS["report"], json.dumps({"state": state, "tail": tail[-LINES:]}).encode())


def say(line):
    print(line, flush=True)
    tail.append(line)


def told():
    """Reports what is new, every few seconds."""
    known = 0
    while True:
        time.sleep(PAUSE)
        if len(tail) != known:
            known = len(tail)
            try:
                report("running")
            except OSError:
                pass


def become():
    say("fetching the bundle")
    report("running")
    bundle = ask("GET", ORDERS["bundle"])
    if hashlib.sha256(bundle).hexdigest() != ORDERS["sha256"]:
        raise ValueError("the bundle is not the one that was packed")
    os.makedirs(HOME, mode=0o700)
    archive = os.path.join(HOME, "bundle.tar.gz")
    with open(archive, "wb") as file:
        file.write(bundle)
    with tarfile.open(archive) as packed:
        # Ours, by its hash: links of a venv point out of it.
        packed.extraction_filter = lambda member, _folder: member
        packed.extractall(HOME)
    os.remove(archive)
    path = f"{HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "KILN_CACHE": f"{HOME}/cache"}
    threading.Thread(target=told, daemon=True).start()
    command = [f"{HOME}/bin/kiln", "provision", "--root", "/", "--bundle", HOME]
    with subprocess.Popen(
        command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as kiln:
        for line in kiln.stdout:
            say(line.decode("utf-8", "replace").rstrip())
    if kiln.returncode != 0:
        raise ValueError(f"kiln provision ended with {kiln.returncode}")


# Before anything else: whatever hangs, it ends.
subprocess.run(
    ["systemd-run", "--quiet", "--unit=kiln-builder-end", f"--on-active={ORDERS['lifetime']}", *OFF], check=True
)
# Logs of this boot belong in memory.
subprocess.run(["journalctl", "--relinquish-var"], check=False)
quiet = ["rsyslog.service", "syslog.socket"]
# Of the base's own updates, which would hold apt's locks; the image has them again.
quiet += [f"apt-daily{which}.{kind}" for which in ("", "-upgrade") for kind in ("timer", "service")]
for unit in quiet:
    subprocess.run(["systemctl", "stop", unit], check=False, stderr=subprocess.DEVNULL)
state = "failed"
try:
    become()
    state = "done"
except Exception as error:  # Nobody is there to see a traceback.
    say(f"{type(error).__name__}: {error}")
try:
    report(state)
finally:
    os.sync()
    subprocess.run(OFF, check=False)
    # The end comes to this script, too.
    time.sleep(600)
    sys.exit(1)
