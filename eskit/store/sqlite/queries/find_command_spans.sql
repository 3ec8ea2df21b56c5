-- When commands were recorded, up to a time: the last and the first of each stretch, latest first.
SELECT max(recorded_at), min(recorded_at)
FROM commands
WHERE typeof(recorded_at) = 'integer' AND recorded_at <= ?1
GROUP BY recorded_at / ?2
ORDER BY 1 DESC
