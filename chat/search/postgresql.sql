-- The search index of PostgreSQL, and what keeps it true: see database.py. Every statement may be run again.

-- The terms with the number of their user in front of each. Without fast updates, whose list of what
-- is still to be sorted in every search would read through.
CREATE INDEX IF NOT EXISTS chat_messageterms_index ON chat_messageterms USING gin ((
    array_to_tsvector(string_to_array(
        user_id::text || ':' || replace(terms, ' ', ' ' || user_id::text || ':'), ' '))
)) WITH (fastupdate = off);

CREATE INDEX IF NOT EXISTS chat_titleterms_index ON chat_titleterms USING gin ((
    array_to_tsvector(string_to_array(
        user_id::text || ':' || replace(terms, ' ', ' ' || user_id::text || ':'), ' '))
)) WITH (fastupdate = off);

-- What is deleted is no longer found, whoever has deleted it.
ALTER TABLE chat_messageterms DROP CONSTRAINT IF EXISTS chat_messageterms_of;
ALTER TABLE chat_messageterms ADD CONSTRAINT chat_messageterms_of
FOREIGN KEY (message_id) REFERENCES chat_message (id) ON DELETE CASCADE;

ALTER TABLE chat_titleterms DROP CONSTRAINT IF EXISTS chat_titleterms_of;
ALTER TABLE chat_titleterms ADD CONSTRAINT chat_titleterms_of
FOREIGN KEY (thread_id) REFERENCES chat_thread (id) ON DELETE CASCADE;

-- What is written or has changed is queued, but not while it is being written.
CREATE OR REPLACE FUNCTION chat_queue_message() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chat_unindexedtext (thread_id, message_id) VALUES (new.thread_id, new.id);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION chat_queue_title() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chat_unindexedtext (thread_id) VALUES (new.id);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER chat_message_written AFTER INSERT ON chat_message
FOR EACH ROW WHEN (new.status <> 'generating') EXECUTE FUNCTION chat_queue_message();

CREATE OR REPLACE TRIGGER chat_message_ended AFTER UPDATE OF status, content ON chat_message
FOR EACH ROW WHEN (new.status <> 'generating') EXECUTE FUNCTION chat_queue_message();

CREATE OR REPLACE TRIGGER chat_thread_titled AFTER INSERT ON chat_thread
FOR EACH ROW WHEN (new.title <> '') EXECUTE FUNCTION chat_queue_title();

CREATE OR REPLACE TRIGGER chat_thread_retitled AFTER UPDATE OF title ON chat_thread
FOR EACH ROW WHEN (new.title <> old.title) EXECUTE FUNCTION chat_queue_title();
