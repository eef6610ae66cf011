"""Which jobs a listing shows."""

from typing import NamedTuple


class Scope(NamedTuple):
    """All jobs of a membership, one trained model's, or one version's: the filters of the listing."""

    model_arn: str | None = None
    model_version: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a job that the listing does not show is not listed at all."""
        return self == (None, None)
