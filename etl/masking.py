"""What must not be shown of a text, wherever it comes from: passwords, tokens, signatures."""

import re

_MASK = "***"

# Greedy, up to the last @: a password may hold one, and a URL that shows too little does no harm.
_URL_PASSWORD = re.compile(r"(://[^\s/?#:@]*:)\S*@")

_SENSITIVE = r"(?:(?:security|session|next)[-_]?token|signature|secret[-_]?access[-_]?key|password)"
_IS_SECRET = re.compile(_SENSITIVE, re.IGNORECASE)
# name=value, "name": "value", 'name': b'value', <name>value</name>
_NAMED_SECRET = re.compile(
    rf"""({_SENSITIVE}\\*["']?\s*[=:>]\s*\\*b?)("[^"]*"|'[^']*'|[^\s"'\\&<>,;]+)""", re.IGNORECASE
)


def masked(text: str, name: str = "") -> str:
    """Return a text without what looks like a secret in it, or without all of it where its name is a secret's."""
    if _IS_SECRET.search(name):
        return _MASK
    return _NAMED_SECRET.sub(rf"\1{_MASK}", _URL_PASSWORD.sub(rf"\1{_MASK}@", text))
