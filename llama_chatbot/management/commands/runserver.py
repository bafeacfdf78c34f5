"""`manage.py runserver`: Django's command, with its reloader and checks, on top of uvicorn.

Django's own serves WSGI, which would send a streamed reply in one piece at its end.
"""

import os
from typing import Any

import uvicorn
from django.core.management.commands.runserver import Command as DjangoCommand


class Command(DjangoCommand):
    """Serves the ASGI application as production does."""

    addr: str
    port: str

    help = "Starts a development server that streams."

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check the project, then serve until Ctrl-C."""
        self.check()
        self.check_migrations()
        config = uvicorn.Config(
            "llama_chatbot.asgi:application",
            host=self.addr,
            port=int(self.port),
            lifespan="on",
            log_config=None,  # the settings' is in use already
        )
        server = uvicorn.Server(config)
        try:
            server.run()
        except SystemExit:
            os._exit(1)  # under the reloader this runs in a thread, which sys.exit would not leave
        if options["shutdown_message"]:
            self.stdout.write(options["shutdown_message"])
