"""Tests of a cluster: many processes over a real Kafka and a real PostgreSQL."""
