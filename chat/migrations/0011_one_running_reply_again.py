"""Restores a constraint that PostgreSQL had lost.

When 0004 took the index of its own from `thread`, Django dropped this one with it: it is an index
of the same column.
"""

from django.db import migrations, models

# Of several running replies of a thread the newest stays.
END_OTHERS = """
    UPDATE chat_message SET status = 'interrupted', heartbeat_at = NULL
    WHERE status = 'generating' AND EXISTS (
        SELECT 1 FROM chat_message newer
        WHERE newer.thread_id = chat_message.thread_id AND newer.status = 'generating'
        AND newer.id > chat_message.id)"""


class Migration(migrations.Migration):
    dependencies = [("chat", "0010_turns")]

    operations = [
        migrations.RunSQL(END_OTHERS, migrations.RunSQL.noop),
        migrations.RemoveConstraint("message", "one_running_reply_a_thread"),
        migrations.AddConstraint(
            "message",
            models.UniqueConstraint(
                fields=["thread"],
                condition=models.Q(status="generating"),
                name="one_running_reply_a_thread",
            ),
        ),
    ]
