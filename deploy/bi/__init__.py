"""Shows the demo's jobs in Superset, in Grafana's SQL and in dbt, and compares what they say with SQL of our own.

`make check-bi` runs it with the product's environment; Superset and dbt have theirs (.venv/superset, .venv/dbt).
It needs nothing that is running: the Postgres, the world in it and Superset are its own, and end with it.
`python -m deploy.bi describe` writes the database's comments into the descriptions of datasets and sources.
"""
