"""`flowrate dashboards publish`: folder, data source and dashboards into a Grafana, over its API.

Publishing again is safe: everything has a fixed uid and is replaced. A data source is only made or
changed where its address is given; otherwise one with the uid must exist. Without Prometheus the
dashboard of operations is empty, which is said and no error.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaClientError, GrafanaException, GrafanaUnauthorizedError
from grafana_api.grafana_face import GrafanaFace

from dashboards.config import DashboardsConfig
from dashboards.operations import PLUGIN as PROMETHEUS
from dashboards.published import dashboards
from dashboards.queries import PLUGIN

_DEFAULTS = DashboardsConfig()

TOKEN_VARIABLE = "GRAFANA_TOKEN"


class PublishError(Exception):
    """Grafana could not be told; str() is the message for the operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Datasource:
    """Where Grafana's server reaches the warehouse."""

    host: str
    port: int
    user: str
    password: str = dataclasses.field(repr=False)

    def document(self, config: DashboardsConfig) -> dict[str, Any]:
        """Return the data source as Grafana's API takes it."""
        return {
            "uid": config.datasource_uid,
            "name": config.datasource_name,
            "type": PLUGIN,
            "access": "proxy",
            "jsonData": {
                "host": self.host,
                "port": self.port,
                "protocol": "http",
                "username": self.user,
                "defaultDatabase": "default",
                "secure": False,
            },
            "secureJsonData": {"password": self.password},
        }


def connect(url: str, token: str, timeout_seconds: float) -> GrafanaFace:
    """Return a client of the Grafana at url. PublishError where url is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PublishError(f"{url!r} is not the address of a Grafana, such as https://host:3000")
    path = parts.path.strip("/")
    return GrafanaFace(
        auth=token,
        host=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
        port=parts.port,
        url_path_prefix=f"{path}/" if path else "",
        protocol=parts.scheme,
        timeout=timeout_seconds,
    )


def publish(
    grafana: GrafanaFace,
    config: DashboardsConfig,
    datasource: Datasource | None,
    prometheus_url: str = "",
) -> list[str]:
    """Bring folder, data sources and dashboards into Grafana; return a line per thing done.

    PublishError where the data source is missing and none was given; grafana-api's and requests'
    errors pass through.
    """
    done = []
    if _absent(lambda: grafana.folder.get_folder(config.folder_uid)):
        grafana.folder.create_folder(config.folder_title, config.folder_uid)
        done.append(f"folder {config.folder_title}: created")
    done.append(_datasource(grafana, config, datasource))
    done.append(_prometheus(grafana, config, prometheus_url))
    for uid, dashboard in dashboards(config).items():
        answer = grafana.dashboard.update_dashboard(
            {
                "dashboard": dashboard,
                "folderUid": config.folder_uid,
                "overwrite": True,
                "message": "flowrate dashboards publish",
            }
        )
        done.append(f"dashboard {uid}: version {_of(answer, 'version')} at {_of(answer, 'url')}")
    return done


def _datasource(
    grafana: GrafanaFace, config: DashboardsConfig, datasource: Datasource | None
) -> str:
    path = f"/datasources/uid/{config.datasource_uid}"
    absent = _absent(lambda: grafana.api.GET(path))
    if datasource is None:
        if absent:
            raise PublishError(
                f"Grafana has no data source with the uid {config.datasource_uid}: give"
                " --store-host, --store-port and --store-password-file and it is created"
            )
        return f"data source {config.datasource_uid}: left as it is"
    return _put(grafana, datasource.document(config), absent)


def _prometheus(grafana: GrafanaFace, config: DashboardsConfig, url: str) -> str:
    uid = config.prometheus_uid
    absent = _absent(lambda: grafana.api.GET(f"/datasources/uid/{uid}"))
    if url:
        document = {
            "uid": uid,
            "name": config.prometheus_name,
            "type": PROMETHEUS,
            "access": "proxy",
            "url": url,
        }
        return _put(grafana, document, absent)
    if absent:
        return (
            f"data source {uid}: missing, so the dashboard of operations is empty;"
            " --prometheus-url creates it"
        )
    return f"data source {uid}: left as it is"


def _put(grafana: GrafanaFace, document: dict[str, Any], absent: bool) -> str:
    uid = document["uid"]
    if absent:
        grafana.datasource.create_datasource(document)
        return f"data source {uid}: created"
    # grafana-api updates by numeric id, which Grafana 13 no longer serves by default.
    grafana.api.PUT(f"/datasources/uid/{uid}", json=document)
    return f"data source {uid}: updated"


def _absent(ask: Any) -> bool:
    try:
        ask()
    except GrafanaClientError as error:
        if error.status_code == 404:
            return True
        raise
    return False


def _of(answer: object, key: str) -> object:
    return answer.get(key, "?") if isinstance(answer, Mapping) else "?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish; return 0, 1 where Grafana refused or did not answer, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    token = options.token or os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        print(f"flowrate dashboards publish: give --token or {TOKEN_VARIABLE}", file=sys.stderr)
        return 2
    config = dataclasses.replace(
        _DEFAULTS, datasource_uid=options.datasource_uid, time_zone=options.time_zone
    )
    try:
        grafana = connect(options.url, token, config.timeout_seconds)
        given = _given_datasource(options)
        for line in publish(grafana, config, given, options.prometheus_url):
            print(line)
    except (PublishError, GrafanaException, requests.RequestException, OSError) as error:
        print(f"flowrate dashboards publish: {_told(error, options.url)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flowrate dashboards publish", description=__doc__)
    parser.add_argument("--url", required=True, help="address of the Grafana")
    parser.add_argument("--token", default="", help=f"service account token, or {TOKEN_VARIABLE}")
    parser.add_argument("--datasource-uid", default=_DEFAULTS.datasource_uid)
    parser.add_argument("--time-zone", default=_DEFAULTS.time_zone)
    parser.add_argument("--prometheus-url", default="", help="where Grafana reaches Prometheus")
    parser.add_argument("--store-host", help="where Grafana reaches the store's endpoint")
    parser.add_argument("--store-port", type=int, default=8123)
    parser.add_argument("--store-user", default="reader")
    parser.add_argument("--store-password-file", type=Path, help="file with that user's password")
    return parser


def _given_datasource(options: argparse.Namespace) -> Datasource | None:
    if options.store_host is None:
        return None
    if options.store_password_file is None:
        raise PublishError("--store-host needs --store-password-file")
    password = options.store_password_file.read_text(encoding="utf-8").strip()
    return Datasource(options.store_host, options.store_port, options.store_user, password)


def _told(error: Exception, url: str) -> str:
    if isinstance(error, GrafanaUnauthorizedError):
        return f"{url} does not accept the token (401): is it a service account's, not expired?"
    if isinstance(error, GrafanaException) and error.status_code == 403:
        return (
            f"{url} forbids this to the token (403): Editor, or Admin for data sources, may do it"
        )
    if isinstance(error, GrafanaException):
        return f"{url} answered with an error: {error.message}"
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return f"{url} answered with something that is no JSON: is it a Grafana?"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{url}: its certificate is not trusted: {error}"
    if isinstance(error, requests.Timeout):
        return f"{url} did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return f"{url} cannot be reached: {error}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
