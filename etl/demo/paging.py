"""Pages, and the tokens between them: opaque, worth something only in the listing that gave them out."""

import base64
import hashlib
import re

Scope = tuple[str | None, ...]

_DIGEST_BYTES = 9


def issue(secret: bytes, scope: Scope, offset: int) -> str:
    """Give out the token that goes on at `offset` of the listing `scope`."""
    told = str(offset).encode()
    digest = hashlib.blake2b(repr((scope, offset)).encode(), key=secret, digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(digest + told).decode()


def redeem(secret: bytes, scope: Scope, token: str) -> int:
    """Where to go on; a token that was not given out for this very listing is a ValueError."""
    told = base64.urlsafe_b64decode(token)[_DIGEST_BYTES:]
    offset = int(told) if re.fullmatch(rb"\d{1,18}", told) else -1
    if issue(secret, scope, offset) != token:
        raise ValueError("not a token of this listing")
    return offset


def page(name: bytes, items: list[bytes], token: str | None) -> bytes:
    """Put a page together from items that are rendered already."""
    tail = b"]}" if token is None else b'],"nextToken":"' + token.encode() + b'"}'
    return b'{"' + name + b'":[' + b",".join(items) + tail
