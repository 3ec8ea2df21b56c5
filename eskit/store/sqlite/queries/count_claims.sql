SELECT count(*) FROM claims
