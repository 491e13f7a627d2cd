"""Fetches uv's wheel from a Python index, checks its hash, and unpacks the one program in it.

Runs with the base root's own python3 and nothing else: the host needs neither Python nor pip.
Usage: fetch_uv.py INDEX WHEEL SHA256 TARGET
"""

import hashlib
import io
import re
import sys
import urllib.parse
import urllib.request
import zipfile

index, wheel, expected, target = sys.argv[1:]
page_url = index.rstrip("/") + "/uv/"


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            return reply.read()
    except OSError as error:
        sys.exit(f"the index {index} does not answer: {error}")


page = fetch(page_url).decode()
link = re.search(r'href="([^"#]*/%s)[#"]' % re.escape(wheel), page)
if link is None:
    sys.exit(f"the index {index} has no {wheel}")
data = fetch(urllib.parse.urljoin(page_url, link[1]))
found = hashlib.sha256(data).hexdigest()
if found != expected:
    sys.exit(f"{wheel} from {index} has sha256 {found}, expected {expected}")
with zipfile.ZipFile(io.BytesIO(data)) as archive:
    name = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
    with open(target, "wb") as program:
        program.write(archive.read(name))
