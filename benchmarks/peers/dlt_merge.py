"""Merge with dlt, which reads the paginator itself."""

import sys

import dlt  # type: ignore[import-not-found] # it has an environment of its own

from benchmarks.peers.listing import pages


def main(endpoint: str, membership: str, database: str, folder: str) -> None:
    """Merge."""
    jobs = dlt.resource(
        pages(endpoint, membership),
        name="job",
        primary_key="trainedModelInferenceJobArn",
        write_disposition="merge",
        max_table_nesting=0,  # lists stay JSON: one table, as with the others
    )
    pipeline = dlt.pipeline(
        "jobs", pipelines_dir=folder, destination=dlt.destinations.postgres(database), dataset_name="dlt"
    )
    pipeline.run(jobs)


if __name__ == "__main__":
    main(*sys.argv[1:5])
