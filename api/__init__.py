"""The HTTP interface /v1 and the pages: parse, call, map errors."""
