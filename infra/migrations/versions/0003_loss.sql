CREATE TABLE loss_minute (
    exporter TEXT NOT NULL,
    minute BIGINT NOT NULL,
    datagrams BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    CONSTRAINT pk_loss_minute PRIMARY KEY (exporter, minute)
);
CREATE INDEX ix_loss_minute_minute ON loss_minute (minute);
