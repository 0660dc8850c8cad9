"""A whole cluster in real processes, hurt at random moments, and audited to the octet and the cent.

__main__     the command
run          one seed from the first process to the last verdict
cluster      settings, servers, roles and the paths between them
supervision  processes that are started again when they end, as systemd would
paths        TCP paths on loopback that can be cut and frozen
disk         a small disk under the spools that can be filled
outside      the simulated network, and a clerk who tops balances up
faults       what can go wrong, and what does as a seed says
probes       when watermark, API, RADIUS and warehouse moved again after a fault
audit        what must hold in the end
"""
