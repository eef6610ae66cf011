"""AWS's error codes, by what they mean: each operation and proxy may have its own word for the same."""

THROTTLES = frozenset({
    "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown", "ThrottledException",
    "Throttling", "ThrottlingException", "TooManyRequestsException", "429",
})  # fmt: skip
"""We ask too often."""

DENIALS = frozenset({"AccessDenied", "AccessDeniedException"})
"""Our credentials are good, and not allowed this."""

REFUSALS = frozenset({
    "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "IncompleteSignatureException",
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "RequestExpired", "SignatureDoesNotMatch",
    "UnrecognizedClientException",
})  # fmt: skip
"""Our credentials are not good, or not any more: others may be where they were found."""
