-- name: list_destructive_keys
-- Foreign keys of others that change or delete their rows when one of ours is deleted.
SELECT quote_ident(conname) || ' of ' || conrelid::regclass::text
FROM pg_constraint
WHERE contype = 'f' AND confrelid = ANY (%(tables)s) AND conrelid <> ALL (%(tables)s)
    AND confdeltype IN ('c', 'n', 'd')
ORDER BY 1

-- name: list_grants
-- Rights on relations of the live schema, which those of the shadow schema are to have as well; those
-- that the live schema gives to new ones, where it has none of the name.
SELECT
    CASE WHEN s.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, s.relname, x.col,
    CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
    x.privilege_type, x.is_grantable
FROM pg_class s
LEFT JOIN pg_class l ON l.relname = s.relname AND l.relnamespace = %(live)s::regnamespace
CROSS JOIN LATERAL (
    SELECT '' AS col, a.* FROM aclexplode(l.relacl) a
    UNION ALL
    SELECT c.attname, a.*
    FROM pg_attribute c CROSS JOIN aclexplode(c.attacl) a
    WHERE c.attrelid = l.oid AND NOT c.attisdropped
        AND EXISTS (SELECT FROM pg_attribute WHERE (attrelid, attname) = (s.oid, c.attname))
    UNION ALL
    SELECT '', a.*
    FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) a
    WHERE l.oid IS NULL AND d.defaclnamespace = %(live)s::regnamespace
        AND d.defaclrole = current_user::regrole
        AND d.defaclobjtype = CASE WHEN s.relkind = 'S' THEN 'S' ELSE 'r' END
) x
WHERE s.relnamespace = %(shadow)s::regnamespace AND s.relkind IN ('r', 'p', 'v', 'm', 'S')
    AND s.relname NOT LIKE 'eskit\_%%' AND x.grantee <> s.relowner

-- name: list_policies
-- Policies of live tables that their shadows lack, and whether rows are secured by them.
SELECT
    s.relname, l.relforcerowsecurity, p.polname, p.polpermissive,
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
        WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    (SELECT string_agg(
        CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
        FROM unnest(p.polroles) r),
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_class s
JOIN pg_class l ON l.relname = s.relname AND l.relnamespace = %(live)s::regnamespace
LEFT JOIN pg_policy p ON p.polrelid = l.oid
    AND p.polname NOT IN (SELECT polname FROM pg_policy WHERE polrelid = s.oid)
WHERE s.relnamespace = %(shadow)s::regnamespace AND l.relrowsecurity

-- name: list_blockers
SELECT DISTINCT pid FROM pg_locks
WHERE relation = ANY (%(tables)s) AND granted AND pid <> pg_backend_pid()
ORDER BY 1
