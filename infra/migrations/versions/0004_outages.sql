CREATE TABLE collector_outage (
    producer TEXT NOT NULL,
    partition BIGINT NOT NULL,
    expired_at BIGINT NOT NULL,
    returned_at BIGINT,
    CONSTRAINT pk_collector_outage PRIMARY KEY (producer, partition, expired_at)
);
