"""The stages as a table (`topology`, read first) and the runners that execute it."""
