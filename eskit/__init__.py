"""Schema-first, CLI-first event sourcing.

The names that an application is written with are here, and each loads its module on first use.
Beside them are `eskit.errors`, `eskit.testing`, `eskit.middleware`, `eskit.clients`,
`eskit.messaging`, `eskit.store` and `eskit.schema`: nothing documented lies deeper.
"""

from eskit.exports import lazy

__version__ = "0.1.0"

__getattr__, __dir__ = lazy(__name__, __file__)
