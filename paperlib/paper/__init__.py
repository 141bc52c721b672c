"""What the paper says and what its numbers come to: every other package may read it."""

from paperlib.paper.facts import *  # noqa: F403
