"""Opaque cursors: where a page of incidents ended."""

import base64
import binascii
import json
from datetime import UTC, datetime

from kubecase.app.web.problems import FieldError, Problem
from kubecase.core.errors import InvalidIncidentId
from kubecase.core.model import parse_incident_id
from kubecase.store.searching import Found, Position

_LONGEST = 200


def cursor_after(last: Found) -> str:
    """The cursor of the page after the one that ends with `last`."""
    text = json.dumps([last.opened_at.isoformat(), last.id]).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def position_of(cursor: str) -> Position:
    """Where the page that `cursor` was given with has ended. Raises Problem (422)."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, last = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        return utc(datetime.fromisoformat(moment)), parse_incident_id(last)
    except (ValueError, TypeError, binascii.Error, OverflowError, InvalidIncidentId):
        raise unusable("cursor", "is not one that was given with a page") from None


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; one without a zone counts as that. Raises OverflowError or ValueError."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def unusable(name: str, detail: str) -> Problem:
    """422 for a parameter of the query."""
    error = FieldError(pointer=f"query.{name}", detail=detail)
    return Problem(422, f"the parameter {name} {detail}", errors=[error])
