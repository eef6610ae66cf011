"""Merge with ingestr, which reads a CSV file."""

import subprocess
import sys
from pathlib import Path

from benchmarks.peers.listing import write


def main(endpoint: str, membership: str, database: str, folder: str) -> None:
    """List, then merge."""
    file = Path(folder) / "jobs.csv"
    write(endpoint, membership, file)
    options = {
        "source-uri": f"csv://{file}",
        "source-table": "jobs",
        "dest-uri": database,
        "dest-table": "ingestr.job",
        "incremental-strategy": "merge",
        "primary-key": "trainedModelInferenceJobArn",
        "pipelines-dir": folder,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    subprocess.run([Path(sys.executable).with_name("ingestr"), "ingest", "--yes", *words], check=True)  # noqa: S603


if __name__ == "__main__":
    main(*sys.argv[1:5])
