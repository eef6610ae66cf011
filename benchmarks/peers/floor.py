"""The least that can be done: fetch, decode, COPY into one empty table.

Nothing is signed, checked, compared or kept of before; a page that fails is not asked for again.
"""

import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import psycopg

HEADERS = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAX/20260101/us-east-1/cleanrooms-ml/aws4_request"}
TEXTS = (
    "trainedModelInferenceJobArn", "membershipIdentifier", "collaborationIdentifier", "trainedModelArn",
    "trainedModelVersionIdentifier", "configuredModelAlgorithmAssociationArn", "name", "description", "status",
    "createTime", "updateTime", "metricsStatus", "logsStatus", "mlModelInferencePayerAccountId",
)  # fmt: skip
CREATE = """
CREATE TABLE IF NOT EXISTS job (
    job_arn text, membership_id text, collaboration_id text, trained_model_arn text, model_version text,
    algorithm_association_arn text, name text, description text, status text, create_time timestamptz,
    update_time timestamptz, metrics_status text, logs_status text, payer_account_id text
);
TRUNCATE job"""


def main(endpoint: str, membership: str, database: str) -> None:
    """Fetch and copy."""
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(CREATE)
        with cursor.copy("COPY job FROM STDIN") as copy:
            for jobs in pages(endpoint, membership):
                for job in jobs:
                    copy.write_row([job.get(name) for name in TEXTS])


def pages(endpoint: str, membership: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the jobs of each page."""
    connection = HTTPConnection(urlsplit(endpoint).netloc)
    query = {"maxResults": "100"}
    decode = msgspec.json.Decoder().decode
    while True:
        path = f"/memberships/{membership}/trained-model-inference-jobs?{urlencode(query)}"
        connection.request("GET", path, headers=HEADERS)
        page = decode(connection.getresponse().read())
        yield page["trainedModelInferenceJobs"]
        if "nextToken" not in page:
            return
        query["nextToken"] = page["nextToken"]


if __name__ == "__main__":
    main(*sys.argv[1:4])
