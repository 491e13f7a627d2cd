"""What is set side by side: each makes a disk of one app, with a cache of its own that is empty at first."""

import os
import pathlib
import shutil
import subprocess

from images_world import Failed, install, quietly

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
ROOT = PEERS.parents[2]
UV = "0.13.9"
# mkosi 25.3 and what it calls: systemd-repart, ukify and e2fsprogs of Debian 13, whatever this machine has.
TREE = ["mkosi", "systemd-repart", "systemd-ukify", "systemd-boot-efi", "libstdc++6", "ca-certificates"]
SMALLER = ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--aptopt=APT::Install-Recommends \"false\"",
           *(f"--dpkgopt=path-{rule}" for rule in ("exclude=/usr/share/man/*", "exclude=/usr/share/locale/*",
             "exclude=/usr/share/doc/*", "include=/usr/share/doc/*/copyright", "exclude=/usr/share/info/*",
             "exclude=/lib/udev/hwdb.d/*"))]


class Subject:
    """`folder` is its own: cache, app, and what is made."""

    changes = True

    def __init__(self, folder, kit):
        self.folder, self.kit, self.log = folder, kit, folder.with_suffix(".log")
        self.cache, self.app, self.out = (folder / name for name in ("cache", "app", "out"))

    def prepare(self):
        """Gets what the machine has to have: not counted."""

    def fresh(self):
        """An empty cache, and the app as it came."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for place in (self.cache, self.out):
            place.mkdir(parents=True)
        self.lay()

    def lay(self):
        self.kit.lay(self.app)

    def disk(self):
        return self.out / "disk.raw"


class Mmdebstrap(Subject):
    """The Debian packages alone, into an archive."""

    name, changes = "mmdebstrap alone", False

    def build(self):
        quietly(self.log, ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
                           f"--include={','.join(self.kit.packages)}", *SMALLER, "bookworm", self.out / "root.tar"],
                TMPDIR=str(self.cache), SOURCE_DATE_EPOCH="1735689600")

    def disk(self):
        return None


class Kiln(Subject):
    name = "kiln bake"

    def lay(self):
        shutil.copytree(self.kit.starter, self.app)

    def build(self):
        quietly(self.log, [self.kit.kiln, "-C", self.app, "bake"], KILN_CACHE=str(self.cache), KILN_AGENT=str(self.kit.agent))

    def image(self):
        """The latest image's folder."""
        return max((self.app / ".kiln/images").glob("*/receipt.json"), key=lambda file: file.stat().st_mtime_ns).parent

    def disk(self):
        return self.image() / "disk.raw"


class Shell(Subject):
    name = "mmdebstrap and a shell script"
    script = PEERS / "shell/build"

    def prepare(self):
        self.kit.need_uv()
        install(self.log, "dosfstools", "fdisk", "grub-common", "grub-efi-amd64-bin", "grub-pc-bin", "mtools")

    def build(self):
        quietly(self.log, [self.script, self.app, self.cache, self.out], PATH=f"{self.kit.uv.parent}:{os.environ['PATH']}")


class Packer(Shell):
    """The same script, called by Packer's shell-local."""

    name = "Packer 1.6.6 and that script"

    def prepare(self):
        super().prepare()
        install(self.log, "packer")

    def build(self):
        words = [f"-var={name}={value}" for name, value in
                 (("build", self.script), ("app", self.app), ("cache", self.cache), ("out", self.out))]
        quietly(self.log, ["packer", "build", "-color=false", *words, PEERS / "packer/image.json"], CHECKPOINT_DISABLE="1",
                HOME=str(self.folder), PATH=f"{self.kit.uv.parent}:{os.environ['PATH']}")


class Mkosi(Subject):
    name = "mkosi 25.3"

    def __init__(self, folder, kit):
        super().__init__(folder, kit)
        self.tree, self.app = kit.folder / "debian-13", folder / "project/app"

    def prepare(self):
        self.kit.need_uv()
        quietly(self.log, ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", f"--include={','.join(TREE)}", *SMALLER,
                           "trixie", self.tree], TMPDIR=str(self.kit.folder))

    def lay(self):
        """A project as mkosi's documentation has it; what it may not contain lies beside it."""
        project = self.app.parent
        shutil.copytree(PEERS / "mkosi", project)
        self.kit.lay(self.app)
        (self.app / "files").rename(project / "mkosi.extra")
        settings = project / "mkosi.conf.d/packages.conf"
        settings.parent.mkdir()
        # UEFI alone, by a unified kernel image: systemd-boot is the one package that the others do not have.
        settings.write_text(f"[Content]\nPackages={','.join([*self.kit.packages, 'systemd-boot-efi'])}\n")
        tools = project / "tools"
        (tools / "bin").mkdir(parents=True)
        shutil.copy(self.kit.uv, tools / "uv")
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", tools / "ca.crt")
        shutil.copy(PEERS / "shell/compress.cjs", tools)
        # What is on the PATH may be a script of a Python environment.
        node = pathlib.Path(subprocess.check_output(["node", "-p", "process.execPath"], text=True).strip())
        shutil.copy(node, tools / "bin/node")
        shutil.copytree(node.parents[1] / "lib/node_modules/npm", tools / "lib/node_modules/npm", symlinks=True)
        (tools / "bin/npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
        for name in ("image", "packages", "build", "work"):
            (self.cache / name).mkdir()

    def build(self):
        quietly(self.log, ["python3", "-m", "mkosi", "--directory", self.app.parent, "--tools-tree", self.tree,
                           "--cache-directory", self.cache / "image", "--package-cache-dir", self.cache / "packages",
                           "--build-directory", self.cache / "build", "--workspace-directory", self.cache / "work",
                           "--output-directory", self.out, "--force", "build"],
                PYTHONPATH=str(self.tree / "usr/lib/python3/dist-packages"))

    def disk(self):
        return self.out / "image.raw"


class Kit:
    """What the subjects are given alike: the app, the packages of its lock, the configuration of Kiln's own image."""

    def __init__(self, folder, kiln, agent):
        self.folder, self.kiln, self.agent = folder, kiln, agent
        # An app is named by its folder, and its service by the app.
        self.starter, self.files = folder / "shop", folder / "files"
        self.packages, self.uv = [], folder / "uv/bin/uv"

    def need_uv(self):
        if not self.uv.exists():
            log = self.folder / "uv.log"
            quietly(log, ["python3", "-m", "venv", self.folder / "uv"])
            quietly(log, [self.folder / "uv/bin/pip", "install", "--quiet", f"uv=={UV}"])

    def take_files(self, image):
        """Takes over the configuration that Kiln's templates came to."""
        wanted = {"usr/bin/kiln-agent", "etc/kiln/image.json"}
        for tree in ("base", "image"):
            top = ROOT / "templates" / tree
            for path in top.rglob("*"):
                if path.is_file():
                    wanted.add(str(path.relative_to(top)).removesuffix(".j2").replace("@service@", "shop"))
        names = self.folder / "names"
        log = self.folder / "files.log"
        quietly(log, ["sh", "-c", 'tar -tf "$1" >"$2"', "sh", image / "root.tar", names])
        has = [line for line in names.read_text().splitlines() if line.removeprefix("./") in wanted]
        names.write_text("\n".join(has) + "\n")
        if "./etc/gunicorn/shop.conf.py" not in has and "etc/gunicorn/shop.conf.py" not in has:
            raise Failed(f"the configuration of {image} is not complete: {has}")
        self.files.mkdir()
        quietly(log, ["tar", "-xf", image / "root.tar", "-C", self.files, "-T", names])

    def lay(self, app):
        """The app and its configuration, for a peer."""
        for name in ("backend", "frontend"):
            shutil.copytree(self.starter / name, app / name)
        shutil.copytree(self.files, app / "files")
        (app / "packages").write_text("\n".join(self.packages) + "\n")


def prepared(subjects):
    """Those that can run here; why the others cannot is said."""
    able = []
    for subject in subjects:
        try:
            subject.prepare()
            able.append(subject)
        except (Failed, OSError) as error:
            print(f"\n{subject.name} is left out, since it cannot run here: {error}\n", flush=True)
    return able
