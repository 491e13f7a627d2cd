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
with urllib.request.urlopen(page_url, timeout=60) as reply:
    page = reply.read().decode()
link = re.search(r'href="([^"#]*/%s)[#"]' % re.escape(wheel), page)
if link is None:
    sys.exit(f"the index {index} has no {wheel}")
with urllib.request.urlopen(urllib.parse.urljoin(page_url, link[1]), timeout=60) as reply:
    data = reply.read()
found = hashlib.sha256(data).hexdigest()
if found != expected:
    sys.exit(f"{wheel} from {index} has sha256 {found}, expected {expected}")
with zipfile.ZipFile(io.BytesIO(data)) as archive:
    name = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
    with open(target, "wb") as program:
        program.write(archive.read(name))
