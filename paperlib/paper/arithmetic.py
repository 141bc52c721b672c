"""What pencil and paper settle: sides, parameters, operations, and whether the paper's numbers follow.

One function for each claim that needs no training computes a number, compares it with the one that
``paperlib.paper.facts`` quotes, and returns an :class:`Outcome`. Nothing is typed that can be computed.
"""

from paperlib.paper.counted import *  # noqa: F403
from paperlib.paper.geometry import *  # noqa: F403
from paperlib.paper.outcome import *  # noqa: F403
from paperlib.paper.published import *  # noqa: F403
