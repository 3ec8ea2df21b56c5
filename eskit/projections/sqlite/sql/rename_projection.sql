UPDATE eskit_objects SET projection = :new WHERE projection = :old;
UPDATE OR REPLACE eskit_records SET projection = :new WHERE projection = :old
