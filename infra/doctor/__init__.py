"""`flowrate doctor`: facts of machine, settings and data, each judged by a small check."""
