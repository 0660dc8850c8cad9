"""Every counter of the decoder and of the stage decode, with its meaning."""

from __future__ import annotations

from collections.abc import Mapping

REFUSALS: Mapping[str, str] = {
    "unknown_version": "datagrams that are neither NetFlow v1, v5, v7, v9 nor IPFIX",
    "header_truncated": "datagrams shorter than their header",
    "count_mismatch": "v1, v5, v7 datagrams whose header counts no record or more than are there",
    "ipfix_length_mismatch": "IPFIX messages whose length is not the datagram's (still read)",
    "set_length_lt_4": "sets of a length below 4: the rest of the datagram is not read",
    "set_overruns_datagram": "sets longer than their datagram (whole records are still read)",
    "set_id_reserved": "sets of an id that the protocol reserves",
    "sets_per_datagram_limit": "datagrams with more sets than the limit",
    "template_id_reserved": "templates of an id below 256",
    "template_withdrawal_ignored": "template withdrawals, which UDP forbids (RFC 7011 §8.4)",
    "template_truncated": "templates that end before their last field",
    "template_fields_limit": "templates with more fields than the limit",
    "templates_per_session_limit": "new templates of an exporter beyond the limit",
    "samplers_per_session_limit": "announcements of a new sampler beyond an exporter's limit",
    "record_length_zero": "data sets whose template describes no octet",
    "record_truncated": "variable-length records that end before their last field",
    "held_limit": "data sets without template beyond the limits of what waits",
    "duplicate": "byte-identical datagrams of one exporter within the window",
    "implausible_counter": "records whose octets or packets cannot be true",
    "user_name_too_long": "records whose user name is longer than the limit (read without it)",
    "implausible_sampling_rate": "announced sampling rates that cannot be true",
}
"""Reason of refusal -> what is counted. `flowrate inspect flows` shows the same names."""

COUNTERS: Mapping[str, str] = {
    "decode_datagrams": "flow datagrams taken by the stage decode",
    "decode_datagrams_clock_corrected": "of those, sent by a clock that is corrected for its skew",
    "decode_templates": "templates and options templates received",
    "decode_data_records": "data records decoded",
    "decode_option_records": "option records decoded; never traffic",
    "decode_flows": "flow records with counters",
    "decode_flows_rate_unknown": "flow records without a known sampling rate (counted as 1)",
    "decode_flows_retimed": "flow records whose times were not believed",
    "decode_minutes_implausible": "minutes of flows whose sum for an address cannot be true",
    "decode_flows_uncounted": "flow records of an exporter, direction or interface left out",
    "decode_flows_repeated": "flow records whose totals said nothing that was not counted",
    "decode_running_forgotten": "flows with running totals forgotten by the limit of state",
    "decode_octets": "octets of all flow records, scaled by the sampling rate",
    "decode_octets_transit": "scaled octets between addresses of which none is own",
    "decode_held_sets": "data sets that began to wait for their template",
    "decode_held_released": "data sets whose template came",
    "decode_held_expired": "data sets whose template did not come in time",
    "decode_sessions_forgotten": "exporters (observation domains) forgotten by a limit of state",
    "decode_digests_forgotten": "datagrams no longer known as duplicates, by the limit of digests",
    "decode_lost": "flows (v5, v7), datagrams (v9), records (IPFIX) that sequence numbers miss",
    "decode_lost_recovered": "of those, what came late after all",
    "decode_blocks_refused": "blocks of the log that could not be read (dead letters)",
    "decode_rules_refused": "own prefixes and class rules that could not be read (left out)",
    "decode_rows": "rows of flow.minutes produced",
    **{f"decode_refused_{reason}": meaning for reason, meaning in REFUSALS.items()},
}
"""NAME -> meaning; all only rise."""
