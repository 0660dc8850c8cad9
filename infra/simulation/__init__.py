"""A simulated access network: subscribers, one NAS, two flow exporters.

`network` is the pure model (seed and time in, packets and truth out), `flow_packets` and
`accounting_packets` put its records on the wire, `process` sends them over UDP loopback for the
demo. Tests drive the same model in virtual time and audit every invoice against its truth.
"""
