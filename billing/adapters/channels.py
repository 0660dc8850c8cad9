"""Where notifications go: a log file, a mail server, a webhook. The outbox decides when."""

from __future__ import annotations

import email.message
import json
import smtplib
import ssl
from pathlib import Path
from typing import Protocol

import httpx

from billing.adapters.notifications import LOG, SMTP, WEBHOOK, Delivery
from billing.config import NotificationConfig


class NotDeliveredError(Exception):
    """The other side did certainly not take it: a retry cannot tell anybody twice."""


class UnknownDeliveryError(Exception):
    """It may have been taken: without an idempotency key it must not be repeated."""


class Channel(Protocol):
    """One way to tell somebody something.

    is_idempotent says that a repeated delivery of one notification_id is told once.
    """

    name: str
    is_idempotent: bool

    def deliver(self, delivery: Delivery) -> None:
        """Deliver, or raise NotDeliveredError or UnknownDeliveryError; nothing else."""
        ...


class LogChannel:
    """Appends one JSON line per notification to a file; without a file it only keeps the row.

    A file above octets_max makes room for a new one and is kept once, as ``<name>.1``.
    """

    name = LOG
    is_idempotent = False

    def __init__(self, path: Path | None, *, octets_max: int = 67_108_864) -> None:
        """Remember the path; the file appears with the first line."""
        self._path = path
        self._octets_max = octets_max

    def deliver(self, delivery: Delivery) -> None:
        """See `Channel.deliver`."""
        if self._path is None:
            return
        line = json.dumps(
            {
                "notification_id": delivery.notification_id,
                "kind": delivery.kind,
                "recipient": delivery.recipient,
                "subject": delivery.subject,
                "body": delivery.body,
            },
            ensure_ascii=False,
        )
        try:
            if self._path.exists() and self._path.stat().st_size > self._octets_max:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise NotDeliveredError(str(error)) from error


class SmtpChannel:
    """Sends a plain text mail. Message-ID is the notification's, but no server must obey it."""

    name = SMTP
    is_idempotent = False

    def __init__(self, config: NotificationConfig) -> None:
        """Connect for each mail anew: an ISP of 20,000 sends few at a time."""
        self._config = config

    def deliver(self, delivery: Delivery) -> None:
        """See `Channel.deliver`. What fails before the text is sent is certainly not delivered."""
        config = self._config
        try:
            server = smtplib.SMTP(
                config.smtp_host, config.smtp_port, timeout=config.timeout_seconds
            )
        except (OSError, smtplib.SMTPException) as error:
            raise NotDeliveredError(str(error)) from error
        try:
            if config.smtp_user:
                server.starttls(context=ssl.create_default_context())
                server.login(config.smtp_user, config.smtp_password)
        except (OSError, smtplib.SMTPException) as error:
            server.close()
            raise NotDeliveredError(str(error)) from error
        try:
            server.send_message(self._message(delivery))
        except smtplib.SMTPServerDisconnected as error:
            raise UnknownDeliveryError(str(error)) from error
        except smtplib.SMTPException as error:
            raise NotDeliveredError(str(error)) from error
        except OSError as error:
            raise UnknownDeliveryError(str(error)) from error
        finally:
            server.close()

    def _message(self, delivery: Delivery) -> email.message.EmailMessage:
        """Return the mail; a line break in a subject cannot add a header (policy)."""
        message = email.message.EmailMessage()
        message["From"] = self._config.smtp_sender
        message["To"] = delivery.recipient
        message["Subject"] = " ".join(delivery.subject.splitlines())
        message.set_content(delivery.body)
        return message


class WebhookChannel:
    """Posts JSON with the notification's id as `Idempotency-Key`, so it may be repeated."""

    name = WEBHOOK
    is_idempotent = True

    def __init__(self, config: NotificationConfig) -> None:
        """Remember where to; each delivery is one request."""
        self._config = config

    def deliver(self, delivery: Delivery) -> None:
        """See `Channel.deliver`. Any answer but 2xx counts as not delivered."""
        try:
            answer = httpx.post(
                self._config.webhook_url,
                json={
                    "notification_id": delivery.notification_id,
                    "kind": delivery.kind,
                    "recipient": delivery.recipient,
                    "subject": delivery.subject,
                    "body": delivery.body,
                },
                headers={"Idempotency-Key": delivery.notification_id},
                timeout=self._config.timeout_seconds,
                follow_redirects=False,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise NotDeliveredError(str(error)) from error
        except httpx.HTTPError as error:
            raise UnknownDeliveryError(str(error)) from error
        if not answer.is_success:
            raise NotDeliveredError(f"the webhook answered {answer.status_code}")


def channels_of(config: NotificationConfig, data_directory: Path) -> list[Channel]:
    """Return the channels that the settings ask for; the log, which takes all, comes first."""
    path = data_directory / config.log_file if config.log_file else None
    channels: list[Channel] = [LogChannel(path, octets_max=config.log_file_octets_max)]
    if config.smtp_host:
        channels.append(SmtpChannel(config))
    if config.webhook_url:
        channels.append(WebhookChannel(config))
    return channels
