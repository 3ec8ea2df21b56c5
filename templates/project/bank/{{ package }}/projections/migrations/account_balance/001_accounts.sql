-- Every account as it is now; money is text, so that no digit is lost.
CREATE TABLE account_balance (
    tenant TEXT NOT NULL,
    account_id TEXT NOT NULL,
    owner_name TEXT NOT NULL,
    balance TEXT NOT NULL,
    status TEXT NOT NULL,
    currency TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, account_id)
) WITHOUT ROWID;
