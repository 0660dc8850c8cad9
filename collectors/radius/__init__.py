"""RADIUS accounting without IO: octets in, records and answers out (RFC 2865, 2866, 2869, 5176)."""
