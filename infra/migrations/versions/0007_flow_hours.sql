CREATE TABLE loss_hour (
    exporter TEXT NOT NULL,
    numbering TEXT NOT NULL,
    hour BIGINT NOT NULL,
    datagrams BIGINT NOT NULL,
    units BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    clock_skew_ms BIGINT NOT NULL,
    CONSTRAINT pk_loss_hour PRIMARY KEY (exporter, numbering, hour)
);
CREATE INDEX ix_loss_hour_hour ON loss_hour (hour);
CREATE TABLE flow_hour (
    subscriber_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    exporter TEXT NOT NULL,
    octets BIGINT NOT NULL,
    octets_exported BIGINT NOT NULL,
    octets_rate_unknown BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    CONSTRAINT pk_flow_hour PRIMARY KEY (subscriber_id, hour, exporter)
);
CREATE INDEX ix_flow_hour_hour ON flow_hour (hour);
CREATE INDEX ix_flow_hour_changed_at ON flow_hour (changed_at);
