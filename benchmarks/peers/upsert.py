"""Upsert a page at a time, as the usual script does."""

import sys

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.peers.listing import pages

CREATE = """
CREATE TABLE IF NOT EXISTS job (
    job_arn text PRIMARY KEY, membership_id text, collaboration_id text, trained_model_arn text,
    model_version text, algorithm_association_arn text, name text, description text, status text,
    create_time timestamptz, update_time timestamptz, metrics_status text, logs_status text, payer_account_id text,
    output jsonb
)"""
UPSERT = """
INSERT INTO job VALUES (
    %(trainedModelInferenceJobArn)s, %(membershipIdentifier)s, %(collaborationIdentifier)s, %(trainedModelArn)s,
    %(trainedModelVersionIdentifier)s, %(configuredModelAlgorithmAssociationArn)s, %(name)s, %(description)s,
    %(status)s, %(createTime)s, %(updateTime)s, %(metricsStatus)s, %(logsStatus)s,
    %(mlModelInferencePayerAccountId)s, %(outputConfiguration)s
) ON CONFLICT (job_arn) DO UPDATE SET
    name = excluded.name, description = excluded.description, status = excluded.status,
    update_time = excluded.update_time, metrics_status = excluded.metrics_status,
    logs_status = excluded.logs_status, payer_account_id = excluded.payer_account_id, output = excluded.output"""
OPTIONAL = (
    "trainedModelVersionIdentifier",
    "configuredModelAlgorithmAssociationArn",
    "description",
    "metricsStatus",
    "logsStatus",
    "mlModelInferencePayerAccountId",
)


def main(endpoint: str, membership: str, database: str) -> None:
    """List, and commit each page."""
    with psycopg.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(CREATE)
        for page in pages(endpoint, membership):
            rows = [
                dict.fromkeys(OPTIONAL) | job | {"outputConfiguration": Jsonb(job["outputConfiguration"])}
                for job in page
            ]
            with connection.transaction():
                cursor.executemany(UPSERT, rows)


if __name__ == "__main__":
    main(*sys.argv[1:4])
