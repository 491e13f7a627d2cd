"""A disk as an upload sees it: blocks of 512 KiB by what is in them."""

import hashlib
import os
import struct
import subprocess

BLOCK = 512 * 1024
ZEROS = bytes(BLOCK)


class Disk:
    """What is kept of one after it has gone."""

    def __init__(self, path):
        self.path = path
        found = os.stat(path)
        self.size, self.allocated = found.st_size, found.st_blocks * 512
        self.blocks = []
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                known = ZEROS if len(block) == BLOCK else bytes(len(block))
                self.blocks.append(None if block == known else hashlib.blake2b(block, digest_size=16).digest())

    def nonzero(self):
        return sum(block is not None for block in self.blocks)

    def differing(self, other):
        """How many blocks differ; what only the longer disk has counts where it is not empty."""
        long, short = sorted((self.blocks, other.blocks), key=len, reverse=True)
        short = short + [None] * (len(long) - len(short))
        return sum(one != two for one, two in zip(long, short))

    def packages(self, folder):
        """What dpkg knows of, by version, in the file system of the last partition."""
        place = f"{self.path}?offset={self.last_partition()}"
        status = folder / "status"
        subprocess.run(["debugfs", "-R", f"dump /var/lib/dpkg/status {status}", place], check=True, capture_output=True)
        stanzas = status.read_text(encoding="utf-8").split("\n\n")
        fields = [dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
                  for stanza in stanzas]
        return {of["Package"]: of["Version"] for of in fields if of.get("Status") == "install ok installed"}

    def last_partition(self):
        """Where it begins, by the GPT."""
        with open(self.path, "rb") as file:
            file.seek(512)
            header = file.read(92)
            place, count, size = struct.unpack_from("<QII", header, 72)
            file.seek(place * 512)
            table = file.read(count * size)
        starts = [struct.unpack_from("<Q", table, index * size + 32)[0] for index in range(count)]
        return max(starts) * 512
