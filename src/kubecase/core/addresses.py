"""What an address of a database may look like, so that its password is found wherever it stands."""

import re

_AUTHORITY = re.compile(r"[a-z]+://([^/?#]*)(.*)", re.DOTALL)
_ELSEWHERE = re.compile(r"[?&](ssl)?password=", re.IGNORECASE)


def password_problem(address: str) -> str | None:
    """Why a password in `address` could be taken for something that is shown; None if none can.

    A password with a bare `/`, `#` or `@` ends the part that is hidden before its own end.
    """
    found = _AUTHORITY.fullmatch(address)
    if found is None:
        return "is not an address"
    authority, rest = found.groups()
    if "#" in rest or "@" in rest or authority.count("@") > 1:
        return "holds a bare / ? # or @ in its password; write them as %2F %3F %23 %40"
    if _ELSEWHERE.search(rest):
        return "has its password after the ?; write it as postgresql://user:password@host/database"
    return None
