"""What the scanner cve-bin-tool finds flawed in an SPDX document, by a database of a few CVEs; needs no network.

    scan.py CVES DOCUMENT      prints [[CVE, vendor, product, version], …] as JSON
"""

import contextlib
import json
import os
import sys
import tempfile
import types

cves, document = sys.argv[1:]
# It tells its story on stdout.
with tempfile.TemporaryDirectory() as home, contextlib.redirect_stdout(sys.stderr):
    os.environ["HOME"] = home
    # Draws the report as a web page, which nobody asks for here: 64 MB.
    for name in ("plotly", "plotly.graph_objects"):
        sys.modules[name] = types.ModuleType(name)
    from cve_bin_tool.cli import main
    from cve_bin_tool.cvedb import CVEDB

    with open(cves) as file:
        listed = json.load(file)
    # What the scanner makes of NVD's own records.
    known = [{**cve, "CVSS_version": 3, "CVSS_vector": "unknown", "last_modified": "2026-01-01"} for cve in listed]
    ends = ("versionStartIncluding", "versionStartExcluding", "versionEndIncluding", "versionEndExcluding")
    ranges = [
        {"cve_id": cve["ID"], "vendor": cve["vendor"], "product": cve["product"], "version": "*"}
        | {end: of.get(end, "") for end in ends}
        for cve in listed
        for of in cve["ranges"]
    ]
    database = CVEDB(sources=[], version_check=False)
    database.cachedir.mkdir(parents=True)
    database.init_database()
    database.data = [((known, ranges), "NVD")]
    database.populate_db()
    database.create_exploit_db()

    report = os.path.join(home, "report.json")
    code = main(["cve-bin-tool", "--offline", "--sbom", "spdx", "--sbom-file", document, "-f", "json", "-o", report])
    with open(report) as file:
        found = json.load(file)
# As a pipeline would ask it.
assert code == (1 if found else 0), code
json.dump([[flaw[key] for key in ("cve_number", "vendor", "product", "version")] for flaw in found], sys.stdout)
