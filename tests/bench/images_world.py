"""The machine of the image bench: this one's root under a layer in memory, in which packages are installed for the bench alone.

The layer, and whatever is mounted over it, is in a mount namespace, and what runs there in a process namespace: both end with
the bench, by SIGKILL too. What takes room lies in one folder, which the bench removes; a killed one's, the next.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PREFIX = "kiln-bench-images-"


def scratch():
    """A folder of this process's own; those of killed benches are removed."""
    home = pathlib.Path(tempfile.gettempdir())
    for folder in home.glob(f"{PREFIX}*"):
        if not pathlib.Path("/proc", folder.name.removeprefix(PREFIX)).exists():
            shutil.rmtree(folder, ignore_errors=True)
    folder = home / f"{PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o755)
    return folder


def again(program, arguments):
    """Runs this program in its namespaces; returns its exit code."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
               sys.executable, program, *map(str, arguments)]
    return subprocess.run(command, check=False).returncode


def enter(folder, *kept):
    """Makes the layer the root of this process's mount namespace; `kept` are folders that stay as they are."""
    top = folder / "top"
    top.mkdir()
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", top)
    root, upper, work = (top / name for name in ("root", "upper", "work"))
    for part in (root, upper, work):
        part.mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", "overlay", root)
    for place in ("/proc", "/sys", "/dev", "/run"):
        mount("--rbind", place, f"{root}{place}")
    for place in sorted({pathlib.Path(place).resolve() for place in (folder, *kept)}):
        pathlib.Path(f"{root}{place}").mkdir(parents=True, exist_ok=True)
        mount("--bind", place, f"{root}{place}")
    old = root / "mnt"
    os.chdir(root)
    subprocess.run(["pivot_root", ".", old.relative_to(root)], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def install(log, *packages):
    """Debian packages into the layer; what fails says why."""
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    if not policy.exists():
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        quietly(log, ["apt-get", "-q", "update"])
    quietly(log, ["apt-get", "-q", "install", "--yes", "--no-install-recommends", *packages],
            DEBIAN_FRONTEND="noninteractive")


def quietly(log, command, cwd=None, **environment):
    """Runs a command, its output in `log`; a failure ends the bench with its last lines."""
    with open(log, "ab") as output:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd,
                              env={**os.environ, **environment}, check=False)
    if done.returncode != 0:
        tail = "\n".join(pathlib.Path(log).read_text(errors="replace").splitlines()[-15:])
        raise Failed(f"{' '.join(map(str, command[:3]))} … ended with {done.returncode}:\n{tail}")


class Failed(Exception):
    """A command of a subject did not succeed; the text is for people."""
