-- What happened to every account; version is the event's place in the account's stream.
CREATE TABLE account_activity_log (
    tenant TEXT NOT NULL,
    account_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    activity TEXT NOT NULL,
    amount TEXT NOT NULL,
    balance TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (tenant, account_id, version)
) WITHOUT ROWID;
