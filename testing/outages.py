"""Errors of a database that is there, but cannot serve at present, as its driver raises them."""

import sqlite3

import psycopg
from django.db import DatabaseError, InternalError, OperationalError


def database_is_locked() -> DatabaseError:
    """Return the error of an SQLite that another program has locked."""
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorname = "SQLITE_BUSY"
    return _caused(OperationalError(str(cause)), cause)


def database_is_read_only() -> DatabaseError:
    """Return the error of a PostgreSQL that has become the standby of another."""
    cause = psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE: read-only transaction")
    return _caused(InternalError(str(cause)), cause)


def _caused(error: DatabaseError, cause: Exception) -> DatabaseError:
    error.__cause__ = cause
    return error
