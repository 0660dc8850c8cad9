"""sFlow v5: sampled packets and interface counters, decoded side by side into columns."""
