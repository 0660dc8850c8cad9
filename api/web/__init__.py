"""Server-rendered pages; no build step."""
