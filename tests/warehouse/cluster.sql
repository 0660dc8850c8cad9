CREATE TABLE IF NOT EXISTS usage_rated_1_local ON CLUSTER `isp` (
  `rating_key` String CODEC(ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `source` LowCardinality(String),
  `session_id` String CODEC(ZSTD(1)),
  `traffic_class` LowCardinality(String),
  `minute` UInt32 CODEC(Delta, ZSTD(1)),
  `octets_up` Int64 CODEC(T64, ZSTD(1)),
  `octets_down` Int64 CODEC(T64, ZSTD(1)),
  `packets_up` Int64 CODEC(T64, ZSTD(1)),
  `packets_down` Int64 CODEC(T64, ZSTD(1)),
  `seconds` Int64 CODEC(T64, ZSTD(1)),
  `meter_id` LowCardinality(String),
  `quantity` Int64 CODEC(T64, ZSTD(1)),
  `charge` Decimal(38, 18) CODEC(ZSTD(1)),
  `currency` LowCardinality(String),
  `balance_effect` Decimal(38, 18) CODEC(ZSTD(1)),
  `plan_id` LowCardinality(String),
  `plan_version` Int64 CODEC(T64, ZSTD(1)),
  `period_start_at` Int64 CODEC(Delta, ZSTD(1)),
  `is_late` Bool CODEC(ZSTD(1)),
  `received_at` Int64 CODEC(Delta, ZSTD(1)),
  `log_partition` UInt16 CODEC(ZSTD(1)),
  `log_position` UInt64 CODEC(Delta, ZSTD(1)),
  `log_generation` UInt16 DEFAULT 1 CODEC(ZSTD(1)),
  `insert_before` UInt32 DEFAULT 0 CODEC(ZSTD(1)),
  INDEX by_rating_key rating_key TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_log_position log_position TYPE minmax GRANULARITY 1,
  INDEX by_received received_at TYPE minmax GRANULARITY 1,
  CONSTRAINT in_time CHECK insert_before = 0 OR insert_before > toUnixTimestamp(now())
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(minute * 60, 'UTC'))
ORDER BY (subscriber_id, minute, meter_id, traffic_class)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS usage_rated_1 ON CLUSTER `isp` AS usage_rated_1_local
ENGINE = Distributed(`isp`, currentDatabase(), usage_rated_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW usage_rated ON CLUSTER `isp` AS
SELECT `rating_key`, `subscriber_id`, `source`, `session_id`, `traffic_class`, `minute`, `octets_up`, `octets_down`, `packets_up`, `packets_down`, `seconds`, `meter_id`, `quantity`, `charge`, `currency`, `balance_effect`, `plan_id`, `plan_version`, `period_start_at`, `is_late`, `received_at`, `log_partition`, `log_position`, `log_generation` FROM usage_rated_1;

CREATE TABLE IF NOT EXISTS usage_minute_1_local ON CLUSTER `isp` (
  `minute` UInt32 CODEC(Delta, ZSTD(1)),
  `traffic_class` LowCardinality(String),
  `source` LowCardinality(String),
  `is_unattributed` Bool,
  `octets_up` Int64 CODEC(T64, ZSTD(1)),
  `octets_down` Int64 CODEC(T64, ZSTD(1)),
  `packets_up` Int64 CODEC(T64, ZSTD(1)),
  `packets_down` Int64 CODEC(T64, ZSTD(1)),
  `octets_late` Int64 CODEC(T64, ZSTD(1)),
  `rows` Int64 CODEC(T64, ZSTD(1)),
  `lag_rows` Int64 CODEC(T64, ZSTD(1)),
  `lag_ms_sum` Int64 CODEC(ZSTD(1)),
  `lag_ms_max` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
  `received_at_max` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1))
)
ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(minute * 60, 'UTC'))
ORDER BY (minute, traffic_class, source, is_unattributed)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_minute_1_fill ON CLUSTER `isp`
TO usage_minute_1_local AS
SELECT minute, traffic_class, source, startsWith(rating_key, 'unattributed:') AS is_unattributed,
  sum(rated.octets_up) AS octets_up,
  sum(rated.octets_down) AS octets_down,
  sum(rated.packets_up) AS packets_up,
  sum(rated.packets_down) AS packets_down,
  sumIf(rated.octets_up + rated.octets_down, is_late) AS octets_late,
  toInt64(count()) AS rows,
  toInt64(countIf((rated.seconds != 0 OR rated.packets_up != 0 OR rated.packets_down != 0))) AS lag_rows,
  sumIf(rated.received_at - (toInt64(minute) + 1) * 60000, (rated.seconds != 0 OR rated.packets_up != 0 OR rated.packets_down != 0)) AS lag_ms_sum,
  maxIf(rated.received_at - (toInt64(minute) + 1) * 60000, (rated.seconds != 0 OR rated.packets_up != 0 OR rated.packets_down != 0)) AS lag_ms_max,
  max(rated.received_at) AS received_at_max
FROM usage_rated_1_local AS rated WHERE meter_id = 'volume'
GROUP BY minute, traffic_class, source, is_unattributed;

CREATE TABLE IF NOT EXISTS usage_minute_1 ON CLUSTER `isp` AS usage_minute_1_local
ENGINE = Distributed(`isp`, currentDatabase(), usage_minute_1_local, cityHash64(minute));

CREATE OR REPLACE VIEW usage_minute ON CLUSTER `isp` AS
SELECT `minute`, `traffic_class`, `source`, `is_unattributed`, `octets_up`, `octets_down`, `packets_up`, `packets_down`, `octets_late`, `rows`, `lag_rows`, `lag_ms_sum`, `lag_ms_max`, `received_at_max` FROM usage_minute_1;

CREATE TABLE IF NOT EXISTS usage_cell_1_local ON CLUSTER `isp` (
  `cell` UInt32 CODEC(Delta, ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `traffic_class` LowCardinality(String),
  `source` LowCardinality(String),
  `octets_up` Int64 CODEC(T64, ZSTD(1)),
  `octets_down` Int64 CODEC(T64, ZSTD(1)),
  `packets_up` Int64 CODEC(T64, ZSTD(1)),
  `packets_down` Int64 CODEC(T64, ZSTD(1)),
  `seconds` Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(cell * 900, 'UTC'))
ORDER BY (cell, subscriber_id, rating_key, traffic_class, source)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_cell_1_fill ON CLUSTER `isp`
TO usage_cell_1_local AS
SELECT intDiv(minute, 15) AS cell, subscriber_id, rating_key,
  traffic_class, source,
  sum(rated.octets_up) AS octets_up,
  sum(rated.octets_down) AS octets_down,
  sum(rated.packets_up) AS packets_up,
  sum(rated.packets_down) AS packets_down,
  sum(rated.seconds) AS seconds
FROM usage_rated_1_local AS rated WHERE meter_id = 'volume'
GROUP BY cell, subscriber_id, rating_key, traffic_class, source;

CREATE TABLE IF NOT EXISTS usage_cell_1 ON CLUSTER `isp` AS usage_cell_1_local
ENGINE = Distributed(`isp`, currentDatabase(), usage_cell_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW usage_cell ON CLUSTER `isp` AS
SELECT `cell`, `subscriber_id`, `rating_key`, `traffic_class`, `source`, `octets_up`, `octets_down`, `packets_up`, `packets_down`, `seconds` FROM usage_cell_1;

CREATE TABLE IF NOT EXISTS charge_cell_1_local ON CLUSTER `isp` (
  `cell` UInt32 CODEC(Delta, ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `plan_id` LowCardinality(String),
  `meter_id` LowCardinality(String),
  `currency` LowCardinality(String),
  `quantity` Int64 CODEC(T64, ZSTD(1)),
  `charge` Decimal(38, 18) CODEC(ZSTD(1)),
  `balance_effect` Decimal(38, 18) CODEC(ZSTD(1))
)
ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(cell * 900, 'UTC'))
ORDER BY (cell, rating_key, plan_id, meter_id, currency)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS charge_cell_1_fill ON CLUSTER `isp`
TO charge_cell_1_local AS
SELECT intDiv(minute, 15) AS cell, rating_key, plan_id, meter_id,
  currency, sum(rated.quantity) AS quantity, sum(rated.charge) AS charge,
  sum(rated.balance_effect) AS balance_effect
FROM usage_rated_1_local AS rated WHERE meter_id != 'volume'
GROUP BY cell, rating_key, plan_id, meter_id, currency;

CREATE TABLE IF NOT EXISTS charge_cell_1 ON CLUSTER `isp` AS charge_cell_1_local
ENGINE = Distributed(`isp`, currentDatabase(), charge_cell_1_local, cityHash64(cell));

CREATE OR REPLACE VIEW charge_cell ON CLUSTER `isp` AS
SELECT `cell`, `rating_key`, `plan_id`, `meter_id`, `currency`, `quantity`, `charge`, `balance_effect` FROM charge_cell_1;

CREATE TABLE IF NOT EXISTS subscriber_minute_1_local ON CLUSTER `isp` (
  `minute` UInt32 CODEC(Delta, ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `traffic_class` LowCardinality(String),
  `source` LowCardinality(String),
  `octets_up` Int64 CODEC(T64, ZSTD(1)),
  `octets_down` Int64 CODEC(T64, ZSTD(1)),
  `packets_up` Int64 CODEC(T64, ZSTD(1)),
  `packets_down` Int64 CODEC(T64, ZSTD(1)),
  `seconds` Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(minute * 60, 'UTC'))
ORDER BY (subscriber_id, minute, rating_key, traffic_class, source)
TTL toDateTime(minute * 60, 'UTC') + toIntervalDay(62)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS subscriber_minute_1_fill ON CLUSTER `isp`
TO subscriber_minute_1_local AS
SELECT minute, subscriber_id, rating_key,
  traffic_class, source,
  sum(rated.octets_up) AS octets_up,
  sum(rated.octets_down) AS octets_down,
  sum(rated.packets_up) AS packets_up,
  sum(rated.packets_down) AS packets_down,
  sum(rated.seconds) AS seconds
FROM usage_rated_1_local AS rated WHERE meter_id = 'volume'
GROUP BY minute, subscriber_id, rating_key, traffic_class, source;

CREATE TABLE IF NOT EXISTS subscriber_minute_1 ON CLUSTER `isp` AS subscriber_minute_1_local
ENGINE = Distributed(`isp`, currentDatabase(), subscriber_minute_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW subscriber_minute ON CLUSTER `isp` AS
SELECT `minute`, `subscriber_id`, `rating_key`, `traffic_class`, `source`, `octets_up`, `octets_down`, `packets_up`, `packets_down`, `seconds` FROM subscriber_minute_1;

CREATE TABLE IF NOT EXISTS subscriber_hour_1_local ON CLUSTER `isp` (
  `hour` UInt32 CODEC(Delta, ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `traffic_class` LowCardinality(String),
  `source` LowCardinality(String),
  `octets_up` Int64 CODEC(T64, ZSTD(1)),
  `octets_down` Int64 CODEC(T64, ZSTD(1)),
  `packets_up` Int64 CODEC(T64, ZSTD(1)),
  `packets_down` Int64 CODEC(T64, ZSTD(1)),
  `seconds` Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(hour * 3600, 'UTC'))
ORDER BY (subscriber_id, hour, rating_key, traffic_class, source)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS subscriber_hour_1_fill ON CLUSTER `isp`
TO subscriber_hour_1_local AS
SELECT intDiv(minute, 60) AS hour, subscriber_id, rating_key,
  traffic_class, source,
  sum(rated.octets_up) AS octets_up,
  sum(rated.octets_down) AS octets_down,
  sum(rated.packets_up) AS packets_up,
  sum(rated.packets_down) AS packets_down,
  sum(rated.seconds) AS seconds
FROM usage_rated_1_local AS rated WHERE meter_id = 'volume'
GROUP BY hour, subscriber_id, rating_key, traffic_class, source;

CREATE TABLE IF NOT EXISTS subscriber_hour_1 ON CLUSTER `isp` AS subscriber_hour_1_local
ENGINE = Distributed(`isp`, currentDatabase(), subscriber_hour_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW subscriber_hour ON CLUSTER `isp` AS
SELECT `hour`, `subscriber_id`, `rating_key`, `traffic_class`, `source`, `octets_up`, `octets_down`, `packets_up`, `packets_down`, `seconds` FROM subscriber_hour_1;

CREATE TABLE IF NOT EXISTS subscriber_day_1_local ON CLUSTER `isp` (
  `day` UInt32 CODEC(Delta, ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `traffic_class` LowCardinality(String),
  `source` LowCardinality(String),
  `octets_up` Int64 CODEC(T64, ZSTD(1)),
  `octets_down` Int64 CODEC(T64, ZSTD(1)),
  `packets_up` Int64 CODEC(T64, ZSTD(1)),
  `packets_down` Int64 CODEC(T64, ZSTD(1)),
  `seconds` Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(toDateTime(day * 86400, 'UTC'))
ORDER BY (subscriber_id, day, rating_key, traffic_class, source)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS subscriber_day_1_fill ON CLUSTER `isp`
TO subscriber_day_1_local AS
SELECT intDiv(minute, 1440) AS day, subscriber_id, rating_key,
  traffic_class, source,
  sum(rated.octets_up) AS octets_up,
  sum(rated.octets_down) AS octets_down,
  sum(rated.packets_up) AS packets_up,
  sum(rated.packets_down) AS packets_down,
  sum(rated.seconds) AS seconds
FROM usage_rated_1_local AS rated WHERE meter_id = 'volume'
GROUP BY day, subscriber_id, rating_key, traffic_class, source;

CREATE TABLE IF NOT EXISTS subscriber_day_1 ON CLUSTER `isp` AS subscriber_day_1_local
ENGINE = Distributed(`isp`, currentDatabase(), subscriber_day_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW subscriber_day ON CLUSTER `isp` AS
SELECT `day`, `subscriber_id`, `rating_key`, `traffic_class`, `source`, `octets_up`, `octets_down`, `packets_up`, `packets_down`, `seconds` FROM subscriber_day_1;

CREATE TABLE IF NOT EXISTS live_session_1_local ON CLUSTER `isp` (
  `session_id` String CODEC(ZSTD(1)),
  `nas_id` String CODEC(ZSTD(1)),
  `nas_address` String CODEC(ZSTD(1)),
  `acct_session_id` String CODEC(ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `user_name` String CODEC(ZSTD(1)),
  `framed_address` String CODEC(ZSTD(1)),
  `delegated_prefix` String CODEC(ZSTD(1)),
  `started_at` Int64 CODEC(ZSTD(1)),
  `last_seen_at` Int64 CODEC(ZSTD(1)),
  `ended_at` Nullable(Int64) CODEC(ZSTD(1)),
  `end_cause` String CODEC(ZSTD(1)),
  `octets_up` Int64 CODEC(ZSTD(1)),
  `octets_down` Int64 CODEC(ZSTD(1)),
  `rate_up_bps` Int64 CODEC(ZSTD(1)),
  `rate_down_bps` Int64 CODEC(ZSTD(1)),
  `interval_start_at` Int64 CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (session_id)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS live_session_1 ON CLUSTER `isp` AS live_session_1_local
ENGINE = Distributed(`isp`, currentDatabase(), live_session_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW live_session ON CLUSTER `isp` AS
SELECT `session_id`, `nas_id`, `nas_address`, `acct_session_id`, `subscriber_id`, `user_name`, `framed_address`, `delegated_prefix`, `started_at`, `last_seen_at`, `ended_at`, `end_cause`, `octets_up`, `octets_down`, `rate_up_bps`, `rate_down_bps`, `interval_start_at`, `snapshot_at` FROM live_session_1 FINAL;

CREATE TABLE IF NOT EXISTS alert_1_local ON CLUSTER `isp` (
  `alert_id` String CODEC(ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `period_start_at` Int64 CODEC(ZSTD(1)),
  `meter_id` String CODEC(ZSTD(1)),
  `percent` Int64 CODEC(ZSTD(1)),
  `quantity` Int64 CODEC(ZSTD(1)),
  `threshold` Int64 CODEC(ZSTD(1)),
  `raised_at` Int64 CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (alert_id)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS alert_1 ON CLUSTER `isp` AS alert_1_local
ENGINE = Distributed(`isp`, currentDatabase(), alert_1_local, cityHash64(alert_id));

CREATE OR REPLACE VIEW alert ON CLUSTER `isp` AS
SELECT `alert_id`, `rating_key`, `period_start_at`, `meter_id`, `percent`, `quantity`, `threshold`, `raised_at`, `snapshot_at` FROM alert_1 FINAL;

CREATE TABLE IF NOT EXISTS command_1_local ON CLUSTER `isp` (
  `command_id` String CODEC(ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `session_id` String CODEC(ZSTD(1)),
  `kind` String CODEC(ZSTD(1)),
  `target` String CODEC(ZSTD(1)),
  `attempt` Int64 CODEC(ZSTD(1)),
  `outcome` String CODEC(ZSTD(1)),
  `requested_at` Int64 CODEC(ZSTD(1)),
  `acknowledged_at` Nullable(Int64) CODEC(ZSTD(1)),
  `verified_at` Nullable(Int64) CODEC(ZSTD(1)),
  `reason` String CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (command_id)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS command_1 ON CLUSTER `isp` AS command_1_local
ENGINE = Distributed(`isp`, currentDatabase(), command_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW command ON CLUSTER `isp` AS
SELECT `command_id`, `subscriber_id`, `session_id`, `kind`, `target`, `attempt`, `outcome`, `requested_at`, `acknowledged_at`, `verified_at`, `reason`, `snapshot_at` FROM command_1 FINAL;

CREATE TABLE IF NOT EXISTS loss_minute_1_local ON CLUSTER `isp` (
  `exporter` String CODEC(ZSTD(1)),
  `minute` Int64 CODEC(ZSTD(1)),
  `datagrams` Int64 CODEC(ZSTD(1)),
  `lost` Int64 CODEC(ZSTD(1)),
  `refused` Int64 CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (exporter, minute)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS loss_minute_1 ON CLUSTER `isp` AS loss_minute_1_local
ENGINE = Distributed(`isp`, currentDatabase(), loss_minute_1_local, cityHash64(exporter));

CREATE OR REPLACE VIEW loss_minute ON CLUSTER `isp` AS
SELECT `exporter`, `minute`, `datagrams`, `lost`, `refused`, `snapshot_at` FROM loss_minute_1 FINAL;

CREATE TABLE IF NOT EXISTS loss_hour_1_local ON CLUSTER `isp` (
  `exporter` String CODEC(ZSTD(1)),
  `numbering` String CODEC(ZSTD(1)),
  `hour` Int64 CODEC(ZSTD(1)),
  `datagrams` Int64 CODEC(ZSTD(1)),
  `units` Int64 CODEC(ZSTD(1)),
  `lost` Int64 CODEC(ZSTD(1)),
  `clock_skew_ms` Int64 CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (exporter, numbering, hour)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS loss_hour_1 ON CLUSTER `isp` AS loss_hour_1_local
ENGINE = Distributed(`isp`, currentDatabase(), loss_hour_1_local, cityHash64(exporter));

CREATE OR REPLACE VIEW loss_hour ON CLUSTER `isp` AS
SELECT `exporter`, `numbering`, `hour`, `datagrams`, `units`, `lost`, `clock_skew_ms`, `snapshot_at` FROM loss_hour_1 FINAL;

CREATE TABLE IF NOT EXISTS flow_hour_1_local ON CLUSTER `isp` (
  `subscriber_id` String CODEC(ZSTD(1)),
  `hour` Int64 CODEC(ZSTD(1)),
  `exporter` String CODEC(ZSTD(1)),
  `octets` Int64 CODEC(ZSTD(1)),
  `octets_exported` Int64 CODEC(ZSTD(1)),
  `octets_rate_unknown` Int64 CODEC(ZSTD(1)),
  `changed_at` Int64 CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (subscriber_id, hour, exporter)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS flow_hour_1 ON CLUSTER `isp` AS flow_hour_1_local
ENGINE = Distributed(`isp`, currentDatabase(), flow_hour_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW flow_hour ON CLUSTER `isp` AS
SELECT `subscriber_id`, `hour`, `exporter`, `octets`, `octets_exported`, `octets_rate_unknown`, `changed_at`, `snapshot_at` FROM flow_hour_1 FINAL;

CREATE TABLE IF NOT EXISTS session_1_local ON CLUSTER `isp` (
  `session_id` String CODEC(ZSTD(1)),
  `nas_id` String CODEC(ZSTD(1)),
  `nas_address` String CODEC(ZSTD(1)),
  `acct_session_id` String CODEC(ZSTD(1)),
  `subscriber_id` String CODEC(ZSTD(1)),
  `user_name` String CODEC(ZSTD(1)),
  `framed_address` String CODEC(ZSTD(1)),
  `delegated_prefix` String CODEC(ZSTD(1)),
  `started_at` Int64 CODEC(ZSTD(1)),
  `last_seen_at` Int64 CODEC(ZSTD(1)),
  `ended_at` Nullable(Int64) CODEC(ZSTD(1)),
  `end_cause` String CODEC(ZSTD(1)),
  `octets_up` Int64 CODEC(ZSTD(1)),
  `octets_down` Int64 CODEC(ZSTD(1)),
  `rate_up_bps` Int64 CODEC(ZSTD(1)),
  `rate_down_bps` Int64 CODEC(ZSTD(1)),
  `interval_start_at` Int64 CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1)),
  INDEX by_subscriber subscriber_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_start started_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (session_id)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS session_1 ON CLUSTER `isp` AS session_1_local
ENGINE = Distributed(`isp`, currentDatabase(), session_1_local, cityHash64(subscriber_id));

CREATE OR REPLACE VIEW session ON CLUSTER `isp` AS
SELECT `session_id`, `nas_id`, `nas_address`, `acct_session_id`, `subscriber_id`, `user_name`, `framed_address`, `delegated_prefix`, `started_at`, `last_seen_at`, `ended_at`, `end_cause`, `octets_up`, `octets_down`, `rate_up_bps`, `rate_down_bps`, `interval_start_at`, `snapshot_at` FROM session_1 FINAL;

CREATE TABLE IF NOT EXISTS invoice_1_local ON CLUSTER `isp` (
  `invoice_id` String CODEC(ZSTD(1)),
  `branch_id` String CODEC(ZSTD(1)),
  `account_id` String CODEC(ZSTD(1)),
  `series` String CODEC(ZSTD(1)),
  `number` Nullable(String) CODEC(ZSTD(1)),
  `status` String CODEC(ZSTD(1)),
  `period_start_at` Int64 CODEC(ZSTD(1)),
  `period_end_at` Int64 CODEC(ZSTD(1)),
  `issued_at` Nullable(Int64) CODEC(ZSTD(1)),
  `due_on` Nullable(String) CODEC(ZSTD(1)),
  `currency` String CODEC(ZSTD(1)),
  `subtotal_minor` Int64 CODEC(ZSTD(1)),
  `tax_minor` Int64 CODEC(ZSTD(1)),
  `total_minor` Int64 CODEC(ZSTD(1)),
  `paid_minor` Int64 CODEC(ZSTD(1)),
  `paid_at` Nullable(Int64) CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (invoice_id)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS invoice_1 ON CLUSTER `isp` AS invoice_1_local
ENGINE = Distributed(`isp`, currentDatabase(), invoice_1_local, cityHash64(invoice_id));

CREATE OR REPLACE VIEW invoice ON CLUSTER `isp` AS
SELECT `invoice_id`, `branch_id`, `account_id`, `series`, `number`, `status`, `period_start_at`, `period_end_at`, `issued_at`, `due_on`, `currency`, `subtotal_minor`, `tax_minor`, `total_minor`, `paid_minor`, `paid_at`, `snapshot_at` FROM invoice_1 FINAL;

CREATE TABLE IF NOT EXISTS invoice_line_1_local ON CLUSTER `isp` (
  `invoice_id` String CODEC(ZSTD(1)),
  `line` Int64 CODEC(ZSTD(1)),
  `account_id` String CODEC(ZSTD(1)),
  `period_end_at` Int64 CODEC(ZSTD(1)),
  `kind` String CODEC(ZSTD(1)),
  `description` String CODEC(ZSTD(1)),
  `rating_key` String CODEC(ZSTD(1)),
  `meter_id` String CODEC(ZSTD(1)),
  `quantity` Int64 CODEC(ZSTD(1)),
  `unit` String CODEC(ZSTD(1)),
  `amount_minor` Int64 CODEC(ZSTD(1)),
  `tax_rate` String CODEC(ZSTD(1)),
  `snapshot_at` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', snapshot_at)
ORDER BY (invoice_id, line)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS invoice_line_1 ON CLUSTER `isp` AS invoice_line_1_local
ENGINE = Distributed(`isp`, currentDatabase(), invoice_line_1_local, cityHash64(invoice_id));

CREATE OR REPLACE VIEW invoice_line ON CLUSTER `isp` AS
SELECT `invoice_id`, `line`, `account_id`, `period_end_at`, `kind`, `description`, `rating_key`, `meter_id`, `quantity`, `unit`, `amount_minor`, `tax_rate`, `snapshot_at` FROM invoice_line_1 FINAL;

CREATE TABLE IF NOT EXISTS schema_migration ON CLUSTER `isp` (
  generation UInt16, number UInt32, name String, applied_at Int64
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{replica}')
ORDER BY (generation, number);

INSERT INTO schema_migration SELECT 1, 1, 'first tables', toUnixTimestamp64Milli(now64(3))
WHERE NOT EXISTS (SELECT 1 FROM schema_migration WHERE generation = 1 AND number = 1);

INSERT INTO schema_migration SELECT 1, 2, 'usage per subscriber, sessions, invoices', toUnixTimestamp64Milli(now64(3))
WHERE NOT EXISTS (SELECT 1 FROM schema_migration WHERE generation = 1 AND number = 2);

INSERT INTO schema_migration SELECT 1, 3, 'loss and flow usage per hour', toUnixTimestamp64Milli(now64(3))
WHERE NOT EXISTS (SELECT 1 FROM schema_migration WHERE generation = 1 AND number = 3);

CREATE SETTINGS PROFILE IF NOT EXISTS flowrate_reader ON CLUSTER `isp` SETTINGS
  max_execution_time = 30 CONST,
  max_result_rows = 1000000 CONST,
  max_result_bytes = 268435456 CONST,
  result_overflow_mode = 'throw' CONST,
  max_memory_usage = 2147483648 CONST,
  max_threads = 2 CONST,
  readonly = 2;

CREATE ROLE IF NOT EXISTS flowrate_reader ON CLUSTER `isp` SETTINGS PROFILE 'flowrate_reader';

GRANT ON CLUSTER `isp` SELECT ON `default`.* TO flowrate_reader;

CREATE ROLE IF NOT EXISTS flowrate_sink ON CLUSTER `isp`;

GRANT ON CLUSTER `isp` SELECT, INSERT, TRUNCATE, ALTER TABLE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON `default`.* TO flowrate_sink;

GRANT ON CLUSTER `isp` SELECT ON system.tables TO flowrate_sink;

CREATE USER IF NOT EXISTS `reader` ON CLUSTER `isp` IDENTIFIED WITH sha256_password BY 'CHANGE ME' DEFAULT ROLE flowrate_reader;

GRANT ON CLUSTER `isp` flowrate_reader TO `reader`;

CREATE USER IF NOT EXISTS `sink` ON CLUSTER `isp` IDENTIFIED WITH sha256_password BY 'CHANGE ME' DEFAULT ROLE flowrate_sink;

GRANT ON CLUSTER `isp` flowrate_sink TO `sink`;

