SELECT name FROM main.sqlite_master
WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE 'eskit\_%' ESCAPE '\'
