"""One module per process; each is the glue between settings, wiring and one package's entry."""
