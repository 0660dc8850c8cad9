"""Real servers for the tests of backups."""

from tests.cluster.conftest import database_url, kafka, postgres  # noqa: F401
