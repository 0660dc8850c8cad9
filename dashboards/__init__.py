"""Grafana dashboards as code over `warehouse.queries`.

`queries` puts Grafana's time range and variables into a query's parameters, `panels` draws, `live`
is the dashboard, `publish` and `export` bring it out.
"""
