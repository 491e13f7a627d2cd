"""Runs cloud-init's own user-data code over the cases and compares what it would do with what Kiln would.

Needs a machine with cloud-init, best a chroot without a network: `unshare -n chroot ROOT python3 compare.py CASES`.
A case agrees when both would run the same scripts, byte for byte, and find the same values in #cloud-config; or when
Kiln refuses it and cloud-init does nothing but warn. Any other case must be in differences.toml, with its reason; one
that is there and agrees is an error too. Cases with #kiln documents are Kiln's own and left out.
"""

import json
import logging
import os
import sys
import tempfile
import tomllib
import warnings

from cloudinit import handlers, helpers, user_data, util
from cloudinit.config import cc_write_files
from cloudinit.handlers import cloud_config, shell_script
from cloudinit.settings import PER_INSTANCE


def cloud_init(raw):
    """The scripts that cloud-init would write, and the configuration that it would go by."""
    with tempfile.TemporaryDirectory() as folder:
        paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
        scripts = []

        class Scripts(shell_script.ShellScriptPartHandler):
            def __init__(self):
                handlers.Handler.__init__(self, "always")
                self.script_dir = os.path.join(folder, "scripts")

            def handle_part(self, data, ctype, filename, payload, frequency, *rest):
                super().handle_part(data, ctype, filename, payload, frequency)
                if ctype not in handlers.CONTENT_SIGNALS:
                    with open(os.path.join(self.script_dir, util.clean_filename(filename)), "rb") as file:
                        scripts.append(file.read())

        config = cloud_config.CloudConfigPartHandler(paths)
        config.cloud_fn = os.path.join(folder, "config")
        both = [config, Scripts()]
        known = helpers.ContentHandlers()
        for handler in both:
            known.register(handler)
        message = user_data.UserDataProcessor(paths).process(raw)
        for handler in both:
            handlers.call_begin(handler, None, PER_INSTANCE)
        state = {"handlerdir": folder, "data": None, "frequency": PER_INSTANCE, "handlers": known,
                 "handlercount": 0, "excluded": []}
        handlers.walk(message, handlers.walker_callback, data=state)
        for handler in both:
            handlers.call_end(handler, None, PER_INSTANCE)
        text = open(config.cloud_fn).read() if os.path.exists(config.cloud_fn) else ""
        return scripts, values(util.load_yaml(text) or {})


def values(config):
    """The configuration with its files as the write_files module would write them."""
    files = []
    for file in config.get("write_files", []):
        coded = cc_write_files.canonicalize_extraction(file.get("encoding"))
        content = util.encode_text(cc_write_files.extract_contents(file.get("content", ""), coded))
        mode = cc_write_files.decode_perms(file.get("permissions"), 0o644)
        files.append([file["path"], content, f"{mode:04o}", bool(file.get("append"))])
    # What no key of Kiln's stands for shows in a comparison by its name.
    other = sorted(set(config) - {"write_files", "runcmd", "bootcmd", "hostname", "ssh_authorized_keys"})
    return {"hostname": config.get("hostname"), "ssh": config.get("ssh_authorized_keys", []),
            "bootcmd": config.get("bootcmd", []), "runcmd": config.get("runcmd", []), "files": files, "other": other}


def leaves(tree):
    if tree["kind"] == "multipart":
        return [leaf for part in tree["parts"] for leaf in leaves(part["content"])]
    return [tree]


def octets(value):
    return value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])


def kiln(tree):
    """The same of an expectation."""
    scripts, config = [], {"hostname": None, "ssh": [], "bootcmd": [], "runcmd": [], "files": [], "other": []}
    for leaf in leaves(tree):
        if leaf["kind"] == "script":
            scripts.append(octets(leaf["body"]))
        if leaf["kind"] == "cloud-config":
            config["hostname"] = leaf["hostname"] or config["hostname"]
            config["ssh"] += leaf["ssh_authorized_keys"]
            config["bootcmd"] += leaf["bootcmd"]
            config["runcmd"] += leaf["runcmd"]
            config["files"] += [[file["path"], octets(file["content"]), file["mode"], file["append"]]
                                for file in leaf["write_files"]]
    return scripts, config


def verdict(case):
    """Empty when both agree, or how cloud-init differs; None for a case of Kiln's own."""
    with open(os.path.join(case, "expected.json")) as file:
        tree = json.load(file)
    name = os.path.basename(case)
    if name.startswith("kiln") or ("kind" in tree and any(leaf["kind"] == "kiln" for leaf in leaves(tree))):
        return None
    with open(os.path.join(case, "input"), "rb") as file:
        raw = file.read()
    try:
        theirs = cloud_init(raw)
    except Exception as error:
        theirs = f"fails with {type(error).__name__}"
    ours = kiln(tree) if "kind" in tree else kiln({"kind": "empty"})
    if theirs == ours:
        return ""
    if "error" in tree and isinstance(theirs, str):
        return ""
    return f"{'refused' if 'error' in tree else ours!s:.300} | {theirs!s:.300}"


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "differences.toml"), "rb") as file:
        listed = tomllib.load(file)
    root, wrong, agreed = sys.argv[1], 0, 0
    for name in sorted(os.listdir(root)):
        found = verdict(os.path.join(root, name))
        if found is None:
            continue
        agreed += not found
        if bool(found) != (name in listed):
            wrong += 1
            print(f"{name}: {'not listed: ' + found if found else 'is listed, and agrees'}")
    print(f"{agreed} agree, {len(listed)} differ for a reason, {wrong} to be looked at")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
