"""What there is to see in the screenshots: conversations as somebody may have had them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from chat.models import Thread
from testing.people import Caller
from testing.scripted_ollama.script import Script, tokens_of

QUESTION = "How do I read a large CSV file in Python without running out of memory?"
THINKING = """\
The file does not fit into memory, so it must be read lazily. The csv module iterates over rows, \
pandas reads in chunks, and polars plans the whole query before it reads anything.

A table compares the three best; then the simplest one in code."""
ANSWER = """\
Read it **row by row** instead of all at once. Three ways, from the smallest to the most convenient:

| Way | Memory | Choose it when |
|---|--:|---|
| `csv.reader` | 1 MB | each row is looked at once |
| `pandas`, with `chunksize` | 50 MB | you want columns and types |
| `polars.scan_csv` | 80 MB | you filter, group or add up |

The first needs only the standard library:

```python
import csv

total = 0.0
with open("sales.csv", newline="") as file:
    for row in csv.DictReader(file):
        total += float(row["price"])

print(f"{total:,.2f}")
```

1. The file is read a line at a time, so its size does not matter.
2. `DictReader` names the columns, so that you need not count them.

> If you do this every day, convert it to Parquet once. See the [documentation](https://docs.python.org/3/library/csv.html).
"""
SECOND = "And if I only need the rows of one customer?"
SECOND_ANSWER = """\
Then let *polars* do it: it reads only the columns and rows that you ask for.

```python
import polars as pl

orders = pl.scan_csv("sales.csv").filter(pl.col("customer") == 4711).collect()
```
"""
OTHERS = [  # question, answer, how many days ago, fields of the thread
    ("Outline of my thesis", "Begin with the question that it answers.", 3, {"pinned": True}),
    ("Three days in Lisbon with children", "Take the tram to **Belém** first.", 0, {}),
    ("Why does my sourdough not rise?", "Most often it is *too cold*: 24 °C is right.", 0, {}),
    ("وصفة خبز سهلة للمبتدئين", "اخلط الدقيق مع الماء والملح ثم اتركه ليلة كاملة.", 1, {}),
    ("Regular expression for a date", "Try `\\d{4}-\\d{2}-\\d{2}`, and then parse it.", 4, {}),
    ("A polite letter to my landlord about the heating", "Dear Ms Field, …", 5, {}),
    ("Explain monads to a gardener", "A monad is a *pot*: you may repot, never unpot.", 16, {}),
    ("Names for a grey cat", "Ash, Pebble, Earl …", 45, {}),
    ("Old tax questions", "Ask a professional.", 60, {"archived": True}),
]
ANSWERS = {QUESTION: ANSWER, SECOND: SECOND_ANSWER, **{said: text for said, text, *_ in OTHERS}}


def script(body: Mapping[str, Any], hold_after: int | None = None) -> Script:
    """Return the answer to the question of a call."""
    said = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
    tokens = tokens_of(ANSWERS.get(said, "Of course."))
    if said != QUESTION:
        return Script(tokens)
    return Script(tokens, thinking=tokens_of(THINKING), hold_after=hold_after)


def converse(url: str, user: User) -> None:
    """Have a user talk about this and that during the last weeks, and about CSV files just now."""
    with Caller(url, user, user_agent="curl/8.5.0") as caller:
        for said, _, days, fields in OTHERS:
            answer = caller.post("/chat/response/new/", json={"message": said, "title": said})
            assert answer.status_code == 200, answer.text
            thread = Thread.objects.filter(user=user).latest("pk")
            at = timezone.now() - timedelta(days=days)
            Thread.objects.filter(pk=thread.pk).update(updated_at=at, **fields)
