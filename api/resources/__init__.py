"""The routes of /v1, one module per group of resources."""
