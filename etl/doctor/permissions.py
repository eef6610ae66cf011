"""What we may do in a membership, by a real smallest call of each kind that a sync makes."""

from collections.abc import Sequence
from dataclasses import dataclass

from etl import clients, codes
from etl.config import Aws, Membership
from etl.doctor import asking, policies
from etl.doctor.credentials import Caller
from etl.doctor.findings import Finding, Verdict
from etl.doctor.patience import SilenceError, answer
from etl.source import Listing, SourceError

_THROTTLED = "ThrottlingException"  # it passes
_REMEDIES = {
    "ResourceNotFoundException": "look at the membership's id and Region",
    _THROTTLED: "run `etl doctor` again later, or lower aws.requests_per_second",
    "ValidationException": "look at the membership's id and at its filters",
}
_OTHERWISE = "README.md, When it breaks, tells what to do about each error class"


@dataclass(frozen=True)
class Place:
    """A membership, and as whom it is asked."""

    aws: Aws
    membership: Membership
    caller: Caller | None
    queue: float
    """How many seconds a request may have to wait for its turn, before it is sent."""

    @property
    def account(self) -> str | None:
        """The membership's account, which is the role's, or ours."""
        return self.membership.account_id or (self.caller.account if self.caller else None)

    @property
    def parts(self) -> policies.Parts:
        """What the membership's ARNs are made of."""
        partition = clients.client(self.aws, self.membership).meta.partition
        account = self.account or "ACCOUNT_ID"
        return policies.Parts(partition, self.membership.region, account, self.membership.id)

    def policy_of_ours(self, statements: Sequence[policies.Statement]) -> str:
        """Word what is to be allowed, and to whom."""
        ours = policies.principal(self.caller.arn) if self.caller else "our credentials"
        return f"allow it to {self.membership.role_arn or ours}:\n{policies.document(statements)}"


def may_list(place: Place) -> Finding:
    """Ask for one job of the listing, with the membership's filters."""
    listing = Listing(place.aws, place.membership)
    name = place.membership.id
    try:
        answer(lambda: next(listing.pages()), place.queue)
    except SilenceError as error:
        calls = listing.calls
        said = f"{error}: {calls.requests} requests had one, of which {calls.throttles} were throttled"
        return Finding("list", "fail", name, said, _REMEDIES[_THROTTLED] if calls.throttles else asking.NETWORK)
    except SourceError as error:
        verdict: Verdict = "warn" if error.code == _THROTTLED else "fail"
        return Finding("list", verdict, name, f"{error.code}: {error}", _remedy(place, error))
    return Finding("list", "ok", name, "may list its jobs")


def _remedy(place: Place, error: SourceError) -> str:
    if error.code in codes.DENIALS:
        return place.policy_of_ours(policies.to_list(place.parts))
    return _REMEDIES.get(error.code, _OTHERWISE)


def may_get(place: Place) -> Finding:
    """Ask for a job that cannot exist: that AWS does not find it proves that we may ask."""
    name = place.membership.id
    if place.account is None:
        said = "not looked at: its account, which is a part of what is asked for, is not known"
        return Finding("get", "warn", name, said, "see what STS said")
    listing = Listing(place.aws, place.membership)
    try:
        known = answer(lambda: listing.exists(policies.no_job(place.parts)), place.queue)
    except SourceError as error:
        if error.code == "ValidationException":  # who may not ask is told so before what is asked is looked at
            return _may_ask(name)
        return _not_told("get", name, error)
    except SilenceError as error:
        return _not_told("get", name, error)
    if known is None:
        said = (
            "may not ask for one job: a sweep is then a full listing while an old job is open, and that a job is"
            " gone is believed after four of them, not two"
        )
        return Finding("get", "warn", name, said, place.policy_of_ours(policies.to_get(place.parts)))
    return _may_ask(name)


def _may_ask(name: str) -> Finding:
    return Finding("get", "ok", name, "may ask for one job")


def _not_told(check: str, name: str, error: SourceError | SilenceError) -> Finding:
    """Say what came in the place of an answer, where a sync can do without one."""
    if isinstance(error, SilenceError):
        return Finding(check, "warn", name, str(error), asking.NETWORK)
    return Finding(check, "warn", name, f"{error.code}: {error}", _REMEDIES.get(error.code, _OTHERWISE))


def may_list_models(place: Place) -> Finding:
    """Ask for one trained model: by them a full listing is split where that is faster."""
    name = place.membership.id
    listing = Listing(place.aws, place.membership)
    try:
        answer(lambda: listing.models(most=1), place.queue)
    except SilenceError as error:
        return _not_told("models", name, error)
    except SourceError as error:
        if error.code not in codes.DENIALS:
            return _not_told("models", name, error)
        said = "may not list its trained models: a full listing is read page after page"
        return Finding("models", "warn", name, said, place.policy_of_ours(policies.to_list_models()))
    return Finding("models", "ok", name, "may list its trained models")
