"""Given, when, then for rules and read models; contract suites for ports."""

from eskit.testing.given import NOW as NOW
from eskit.testing.given import Accepted as Accepted
from eskit.testing.given import Given as Given
from eskit.testing.given import Outcome as Outcome
from eskit.testing.given import given as given
from eskit.testing.projecting import Projected as Projected
from eskit.testing.projecting import projecting as projecting
