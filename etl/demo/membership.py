"""A membership of the simulated service and the trained models in it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from etl.demo.resources import Listed, wire_time


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trained model (one version of it) that jobs run."""

    arn: str
    membership_id: str
    collaboration_id: str
    name: str
    create_time: datetime
    configured_model_algorithm_association_arn: str
    version_identifier: str | None = None
    description: str | None = None

    def wire(self) -> dict[str, object]:
        """Tell the model as `ListTrainedModels` does."""
        item = {
            "trainedModelArn": self.arn,
            "versionIdentifier": self.version_identifier,
            "name": self.name,
            "description": self.description,
            "membershipIdentifier": self.membership_id,
            "collaborationIdentifier": self.collaboration_id,
            "configuredModelAlgorithmAssociationArn": self.configured_model_algorithm_association_arn,
            "status": "ACTIVE",
            "createTime": wire_time(self.create_time),
            "updateTime": wire_time(self.create_time),
        }
        return {key: value for key, value in item.items() if value is not None}


@dataclass(eq=False, kw_only=True)
class Membership:
    """A membership, its models and its jobs (oldest first)."""

    id: str
    region: str
    account: str
    collaboration_id: str
    partition: str = "aws"
    models: list[TrainedModel] = field(default_factory=list, repr=False)
    items: list[Listed] = field(default_factory=list, repr=False)
    by_arn: dict[str, Listed] = field(default_factory=dict, repr=False)

    def arn_of(self, kind: str, name: str) -> str:
        """Name a thing of this membership by its kind, such as `trained-model`."""
        owner = f"arn:{self.partition}:cleanrooms-ml:{self.region}:{self.account}"
        return f"{owner}:membership/{self.id}/{kind}/{name}"

    def job_defaults(self, model: TrainedModel) -> dict[str, Any]:
        """Fill in what a plain job of this membership says of itself, beside its name and its times."""
        return {
            "membership_id": self.id,
            "collaboration_id": self.collaboration_id,
            "trained_model_arn": model.arn,
            "trained_model_version_identifier": model.version_identifier,
            "configured_model_algorithm_association_arn": model.configured_model_algorithm_association_arn,
            "name": "scoring",
            "output_accept": "text/csv",
            "output_account_ids": (self.account,),
        }
