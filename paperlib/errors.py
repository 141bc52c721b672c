"""Errors that a user caused or can mend: the message is one sentence that says what is wrong and what to do."""

from __future__ import annotations


class PaperlibError(Exception):
    """Base of all of them; the command line prints the message alone and exits with 2."""
