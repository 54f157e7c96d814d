"""The content of a k0s backup archive, proven in one streaming pass.

k0s restores without a look at gzip's trailer, takes an archive without a datastore for a backup, and both k0s
and k0sctl end with 0 in cases where nothing usable was written. So an archive is called a backup only after
`inspect` has read it to its last byte.
"""

from handler.manifest import Datastore
from handler.proof.content import Content, inspect

__all__ = ["Content", "Datastore", "inspect"]
