"""Upsert with sling, which reads a CSV file."""

import os
import subprocess
import sys
from pathlib import Path

from sling_linux_amd64 import SLING_BIN  # type: ignore[import-not-found] # it has an environment of its own

from benchmarks.peers.listing import write


def main(endpoint: str, membership: str, database: str, folder: str) -> None:
    """List, then upsert."""
    file = Path(folder) / "jobs.csv"
    write(endpoint, membership, file)
    options = {
        "src-stream": f"file://{file}",
        "tgt-conn": "TARGET",
        "tgt-object": "sling.job",
        "mode": "incremental",
        "primary-key": "trainedmodelinferencejobarn",  # it makes all names small
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    environ = os.environ | {"TARGET": database, "SLING_HOME_DIR": folder}
    subprocess.run([SLING_BIN, "run", *words], env=environ, check=True)  # noqa: S603


if __name__ == "__main__":
    main(*sys.argv[1:5])
