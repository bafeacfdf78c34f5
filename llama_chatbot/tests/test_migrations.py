"""The release before still works on the new schema: it runs there while a deployment goes on."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from math import inf
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations import (
    AddConstraint,
    AddField,
    AlterField,
    AlterUniqueTogether,
    CreateModel,
    DeleteModel,
    Migration,
    RemoveField,
    RenameField,
    RenameModel,
    RunPython,
    RunSQL,
    SeparateDatabaseAndState,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import (
    NOT_PROVIDED,
    CharField,
    Field,
    IntegerField,
    TextField,
    UniqueConstraint,
)

from core import sql
from testing.fixtures.databases import default_database

OURS = {"accounts", "chat"}


def later_migrations() -> list[Migration]:
    """Return all of our migrations but the first of each app."""
    migrations = MigrationLoader(None).disk_migrations
    return [
        migration
        for (app, name), migration in sorted(migrations.items())
        if app in OURS and not name.startswith("0001")
    ]


def added_fields(operations: Sequence[Operation]) -> Iterator[tuple[str, Field]]:  # type: ignore[type-arg]
    for operation in operations:
        if isinstance(operation, AddField):
            yield f"{operation.model_name}.{operation.name}", operation.field


def is_filled_by_the_database(field: Field) -> bool:  # type: ignore[type-arg]
    """Return whether a row may be stored by code that does not know the field."""
    return field.null or field.db_default is not NOT_PROVIDED or field.many_to_many or False


every_migration = pytest.mark.parametrize("migration", later_migrations(), ids=str)


def test_there_are_migrations_to_try() -> None:
    assert {migration.app_label for migration in later_migrations()} == OURS


@every_migration
def test_new_columns_have_a_default_in_the_database_or_may_be_null(migration: Migration) -> None:
    fields = added_fields(migration.operations)

    assert [name for name, field in fields if not is_filled_by_the_database(field)] == []


@every_migration
def test_no_column_that_the_release_before_knows_is_removed_or_renamed(
    migration: Migration,
) -> None:
    kinds = (DeleteModel, RemoveField, RenameField, RenameModel)

    assert [each for each in migration.operations if isinstance(each, kinds)] == []


# What of each migration the release before it could trip over, and why it does not.
KNOWN = {
    # Fills a new column, which that release leaves empty: a session then has the id of its key.
    "accounts.0002_deletion_and_session_ids": {"RunPython"},
    # Fills a column that may be empty, which stands for the newest message, as ever.
    "chat.0006_current_messages": {"RunSQL"},
    # Of a new column that may be null, and then is bound by nothing.
    "chat.0007_search_pins_and_feedback": {"thread has the constraint imported_once"},
    # It was there before, and that release obeys it. The rows that break it are those it ends.
    "chat.0011_one_running_reply_again": {
        "RunSQL",
        "message has the constraint one_running_reply_a_thread",
    },
}


def risks(migration: Migration, before: ProjectState) -> set[str]:
    """Return what may refuse or change rows as the release before stores them.

    A table that the migration itself makes is not known to that release.
    """
    state, new, found = before.clone(), set(), set()
    for operation in operations_of(migration.operations):
        match operation:
            case CreateModel():
                new.add(operation.name_lower)
            case AlterField(model_name_lower=model) if model not in new:
                field = state.models[migration.app_label, model].fields[operation.name]
                if is_narrowed(field, operation.field):
                    found.add(f"{model}.{operation.name} takes less")
            case AddConstraint(model_name_lower=model) if model not in new:
                found.add(f"{model} has the constraint {operation.constraint.name}")
            case AlterUniqueTogether(name_lower=model) if model not in new:
                found.add(f"{model} has unique_together")
            case AddField(model_name_lower=model) if model not in new:
                if operation.field.unique:
                    found.add(f"{model}.{operation.name} is unique")
            case RunSQL() | RunPython():
                found.add(type(operation).__name__)
        operation.state_forwards(migration.app_label, state)
    return found


def operations_of(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Yield operations, those inside of others in their place."""
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from operations_of(operation.database_operations)
        else:
            yield operation


def is_narrowed(before: Field, after: Field) -> bool:  # type: ignore[type-arg]
    """Return whether a column takes less than before."""
    is_shorter = (after.max_length or inf) < (before.max_length or inf)
    is_newly_unique = after.unique and not before.unique
    is_newly_full = before.null and not after.null
    is_newly_bound = getattr(after, "db_constraint", False) and not getattr(
        before, "db_constraint", False
    )
    is_other = before.get_internal_type() != after.get_internal_type()
    return is_shorter or is_newly_unique or is_newly_full or is_newly_bound or is_other


@every_migration
def test_what_the_release_before_could_trip_over_is_known(migration: Migration) -> None:
    key = (migration.app_label, migration.name)
    before = MigrationLoader(None).project_state(key, at_end=False)

    assert risks(migration, before) == KNOWN.get(str(migration), set())


def test_what_is_known_is_of_migrations_that_there_are() -> None:
    assert set(KNOWN) <= {str(migration) for migration in later_migrations()}


def migration_of(*operations: Operation) -> Migration:
    """Return a migration of our own that makes these changes."""
    made = type("Migration", (Migration,), {"operations": list(operations)})
    migration: Migration = made("0002_more", "chat")
    return migration


@pytest.mark.parametrize(
    ("operation", "risk"),
    [
        (AlterField("Note", "text", TextField()), "note.text takes less"),
        (AlterField("Note", "name", CharField(max_length=5)), "note.name takes less"),
        (AlterField("Note", "name", CharField(max_length=9, unique=True)), "note.name takes less"),
        (AlterField("Note", "name", IntegerField()), "note.name takes less"),
        (AlterField("Note", "name", CharField(max_length=99)), None),
        (AlterField("Note", "name", CharField(max_length=9, null=True)), None),
        (
            AddField("Note", "key", CharField(max_length=9, null=True, unique=True)),
            "note.key is unique",
        ),
        (AddField("Note", "size", IntegerField(null=True)), None),
        (
            AddConstraint("Note", UniqueConstraint(fields=["name"], name="once")),
            "note has the constraint once",
        ),
        (AlterUniqueTogether("Note", {("name", "text")}), "note has unique_together"),
        (RunSQL("DELETE FROM note"), "RunSQL"),
        (RunPython(RunPython.noop), "RunPython"),
        (
            SeparateDatabaseAndState([AlterField("Note", "text", TextField())]),
            "note.text takes less",
        ),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Operation) else None,
)
def test_the_rule_sees_what_could_refuse_a_row(operation: Operation, risk: str | None) -> None:
    state = ProjectState()
    fields: list[tuple[str, Field]] = [  # type: ignore[type-arg]
        ("id", IntegerField(primary_key=True)),
        ("text", TextField(null=True)),
        ("name", CharField(max_length=9)),
    ]
    CreateModel("Note", fields).state_forwards("chat", state)

    assert risks(migration_of(operation), state) == ({risk} if risk else set())


def test_a_table_of_the_migrations_own_may_have_any_rules() -> None:
    fields: list[tuple[str, Field]] = [  # type: ignore[type-arg]
        ("id", IntegerField(primary_key=True)),
        ("name", CharField(max_length=9)),
    ]
    once = UniqueConstraint(fields=["name"], name="once")
    migration = migration_of(CreateModel("Note", fields), AddConstraint("Note", once))

    assert risks(migration, ProjectState()) == set()


@pytest.fixture
def sqlite(prepared_database: None, tmp_path: Path) -> Iterator[None]:
    """A SQLite database with all tables."""
    if connection.vendor == "sqlite":
        yield
        return
    with default_database(f"sqlite:///{tmp_path}/db.sqlite3"):
        call_command("migrate", verbosity=0)
        yield


def indexes_of(table: str) -> dict[str, list[str]]:
    """Return the columns of each index, without partial ones and those of expressions."""
    indexes: dict[str, list[str]] = {}
    for name in sql.column("SELECT name FROM pragma_index_list(%s) WHERE NOT partial", table):
        columns = sql.column("SELECT name FROM pragma_index_info(%s) ORDER BY seqno", name)
        if None not in columns:
            indexes[name] = columns
    return indexes


def test_no_index_is_the_beginning_of_another(sqlite: None) -> None:
    for app in OURS:
        for model in apps.get_app_config(app).get_models():
            indexes = indexes_of(model._meta.db_table)
            for (name, columns), (longer, others) in permutations(indexes.items(), 2):
                assert others[: len(columns)] != columns, f"{longer} has all of {name}"
