"""Each thread's current branch ends in its newest message, where it was not known before."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0005_conversation_trees"),
    ]

    operations = [
        migrations.RunSQL(
            """
            UPDATE chat_thread SET current_message_id = (
                SELECT MAX(id) FROM chat_message WHERE thread_id = chat_thread.id)
            WHERE current_message_id IS NULL""",
            migrations.RunSQL.noop,
        )
    ]
