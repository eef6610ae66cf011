"""List all jobs with boto3's paginator and throw them away: `loop.py ENDPOINT MEMBERSHIP`."""

import sys

import boto3


def main(endpoint: str, membership: str) -> None:
    """List."""
    client = boto3.client("cleanroomsml", region_name="us-east-1", endpoint_url=endpoint)
    paginator = client.get_paginator("list_trained_model_inference_jobs")
    for page in paginator.paginate(membershipIdentifier=membership, PaginationConfig={"PageSize": 100}):
        for _ in page["trainedModelInferenceJobs"]:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:3])
