SELECT count(*) FROM snapshots
