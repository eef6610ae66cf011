"""A membership's jobs as boto3's paginator yields them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

COLUMNS = (
    "trainedModelInferenceJobArn", "membershipIdentifier", "collaborationIdentifier", "trainedModelArn",
    "trainedModelVersionIdentifier", "configuredModelAlgorithmAssociationArn", "name", "description", "status",
    "createTime", "updateTime", "metricsStatus", "logsStatus", "mlModelInferencePayerAccountId",
    "outputConfiguration",
)  # fmt: skip


def pages(endpoint: str, membership: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the jobs of each page."""
    client = boto3.client("cleanroomsml", region_name="us-east-1", endpoint_url=endpoint)
    paginator = client.get_paginator("list_trained_model_inference_jobs")
    for page in paginator.paginate(membershipIdentifier=membership, PaginationConfig={"PageSize": 100}):
        yield page["trainedModelInferenceJobs"]


def write(endpoint: str, membership: str, file: Path) -> None:
    """Write all jobs to a CSV file, for programs that read no iterator."""
    with file.open("w", newline="") as target:
        rows = csv.DictWriter(target, COLUMNS)
        rows.writeheader()
        for page in pages(endpoint, membership):
            rows.writerows(job | {"outputConfiguration": json.dumps(job["outputConfiguration"])} for job in page)
