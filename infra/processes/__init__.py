"""One module per process; each is the glue between settings, wiring and one package's entry."""

import os

from infra.allocator import share_arenas

# Here, because every process comes through here before it imports the libraries meant.
share_arenas(os.environ)
