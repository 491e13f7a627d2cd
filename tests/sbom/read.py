"""What two readers of other people's make of an SPDX document, as JSON: its validity, and its packages."""

import json
import sys

from lib4sbom.parser import SBOMParser
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

path = sys.argv[1]
document = parse_file(path)
complaints = validate_full_spdx_document(document)
# The scanner knows no references of a document's own.
licenses = {package.name: str(package.license_declared) for package in document.packages}
sources = {package.name: package.source_info for package in document.packages}
scanner = SBOMParser()
scanner.parse_file(path)
packages = {
    package["name"]: {
        "version": package["version"],
        "license": licenses[package["name"]],
        "source": sources[package["name"]],
        "purl": next((ref[2] for ref in package.get("externalreference", []) if ref[1] == "purl"), None),
    }
    for package in scanner.get_packages()
}
purls = [package["purl"] for package in packages.values() if package["purl"]]
complaints += [f"not as it is written: {purl}" for purl in purls if PackageURL.from_string(purl).to_string() != purl]
json.dump({"complaints": [str(complaint) for complaint in complaints], "packages": packages}, sys.stdout)
