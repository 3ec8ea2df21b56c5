-- Every subscription as it is now; the status is the number of entity.v1.Status.
CREATE TABLE plans (
    tenant TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    plan TEXT NOT NULL,
    status INTEGER NOT NULL,
    PRIMARY KEY (tenant, subscription_id)
) WITHOUT ROWID;
