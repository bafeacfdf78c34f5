-- The search index of SQLite, and what keeps it true: see database.py. Every statement may be run again.

-- Contentless but for a view: the terms with the number of their user in front of each.
CREATE VIEW IF NOT EXISTS chat_messageterms_source AS
SELECT message_id, user_id || ':' || replace(terms, ' ', ' ' || user_id || ':') AS terms
FROM chat_messageterms;

CREATE VIRTUAL TABLE IF NOT EXISTS chat_messageterms_index USING fts5(
    terms, content='chat_messageterms_source', content_rowid='message_id',
    detail=none, columnsize=0, tokenize="ascii tokenchars ':'"
);

CREATE TRIGGER IF NOT EXISTS chat_messageterms_added AFTER INSERT ON chat_messageterms BEGIN
    INSERT INTO chat_messageterms_index (rowid, terms) VALUES
    (new.message_id, new.user_id || ':' || replace(new.terms, ' ', ' ' || new.user_id || ':'));
END;

CREATE TRIGGER IF NOT EXISTS chat_messageterms_removed AFTER DELETE ON chat_messageterms BEGIN
    INSERT INTO chat_messageterms_index (chat_messageterms_index, rowid, terms) VALUES
    ('delete', old.message_id, old.user_id || ':' || replace(old.terms, ' ', ' ' || old.user_id || ':'));
END;

CREATE TRIGGER IF NOT EXISTS chat_messageterms_changed AFTER UPDATE ON chat_messageterms BEGIN
    INSERT INTO chat_messageterms_index (chat_messageterms_index, rowid, terms) VALUES
    ('delete', old.message_id, old.user_id || ':' || replace(old.terms, ' ', ' ' || old.user_id || ':'));
    INSERT INTO chat_messageterms_index (rowid, terms) VALUES
    (new.message_id, new.user_id || ':' || replace(new.terms, ' ', ' ' || new.user_id || ':'));
END;

-- The same for titles.
CREATE VIEW IF NOT EXISTS chat_titleterms_source AS
SELECT thread_id, user_id || ':' || replace(terms, ' ', ' ' || user_id || ':') AS terms
FROM chat_titleterms;

CREATE VIRTUAL TABLE IF NOT EXISTS chat_titleterms_index USING fts5(
    terms, content='chat_titleterms_source', content_rowid='thread_id',
    detail=none, columnsize=0, tokenize="ascii tokenchars ':'"
);

CREATE TRIGGER IF NOT EXISTS chat_titleterms_added AFTER INSERT ON chat_titleterms BEGIN
    INSERT INTO chat_titleterms_index (rowid, terms) VALUES
    (new.thread_id, new.user_id || ':' || replace(new.terms, ' ', ' ' || new.user_id || ':'));
END;

CREATE TRIGGER IF NOT EXISTS chat_titleterms_removed AFTER DELETE ON chat_titleterms BEGIN
    INSERT INTO chat_titleterms_index (chat_titleterms_index, rowid, terms) VALUES
    ('delete', old.thread_id, old.user_id || ':' || replace(old.terms, ' ', ' ' || old.user_id || ':'));
END;

CREATE TRIGGER IF NOT EXISTS chat_titleterms_changed AFTER UPDATE ON chat_titleterms BEGIN
    INSERT INTO chat_titleterms_index (chat_titleterms_index, rowid, terms) VALUES
    ('delete', old.thread_id, old.user_id || ':' || replace(old.terms, ' ', ' ' || old.user_id || ':'));
    INSERT INTO chat_titleterms_index (rowid, terms) VALUES
    (new.thread_id, new.user_id || ':' || replace(new.terms, ' ', ' ' || new.user_id || ':'));
END;

-- What is deleted is no longer found, whoever has deleted it.
CREATE TRIGGER IF NOT EXISTS chat_message_deleted AFTER DELETE ON chat_message BEGIN
    DELETE FROM chat_messageterms WHERE message_id = old.id;
END;

CREATE TRIGGER IF NOT EXISTS chat_thread_deleted AFTER DELETE ON chat_thread BEGIN
    DELETE FROM chat_titleterms WHERE thread_id = old.id;
END;

-- What is written or has changed is queued, but not while it is being written.
CREATE TRIGGER IF NOT EXISTS chat_message_written AFTER INSERT ON chat_message
WHEN new.status <> 'generating' BEGIN
    INSERT INTO chat_unindexedtext (thread_id, message_id) VALUES (new.thread_id, new.id);
END;

CREATE TRIGGER IF NOT EXISTS chat_message_ended AFTER UPDATE OF status, content ON chat_message
WHEN new.status <> 'generating' BEGIN
    INSERT INTO chat_unindexedtext (thread_id, message_id) VALUES (new.thread_id, new.id);
END;

CREATE TRIGGER IF NOT EXISTS chat_thread_titled AFTER INSERT ON chat_thread
WHEN new.title <> '' BEGIN
    INSERT INTO chat_unindexedtext (thread_id) VALUES (new.id);
END;

CREATE TRIGGER IF NOT EXISTS chat_thread_retitled AFTER UPDATE OF title ON chat_thread
WHEN new.title <> old.title BEGIN
    INSERT INTO chat_unindexedtext (thread_id) VALUES (new.id);
END;
