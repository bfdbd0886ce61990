"""Write the SPDX document of a root file system as the in-toto statement that BuildKit wants."""

import json
import os
import subprocess
from pathlib import Path

source, destination = os.environ["BUILDKIT_SCAN_SOURCE"], os.environ["BUILDKIT_SCAN_DESTINATION"]
syft = ["syft", "scan", f"dir:{source}", "--quiet", "--output=spdx-json"]
document = json.loads(subprocess.run(syft, check=True, stdout=subprocess.PIPE).stdout)
statement = {
    "_type": "https://in-toto.io/Statement/v0.1",
    "predicateType": "https://spdx.dev/Document",
    "predicate": document,
}
(Path(destination) / "sbom.spdx.json").write_text(json.dumps(statement))
