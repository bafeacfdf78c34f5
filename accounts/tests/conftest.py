"""The fixtures of the tests of accounts."""

from collections.abc import Iterator

import pytest

from testing.accounts import Mailbox
from testing.people import Caller, long_ago


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server."""
    mailbox = Mailbox()
    mailbox.controller.start()
    yield mailbox
    mailbox.controller.stop()


@pytest.fixture
def old(ann: Caller) -> Caller:
    """Ann, whose login is an hour old."""
    return Caller(str(ann.base_url), ann.user, password_at=long_ago())
