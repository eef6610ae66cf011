"""So that `python -m etl` is `etl`."""

from etl.cli import main

main(prog_name="etl")
