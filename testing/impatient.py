"""The application with short time-outs for connections, for tests that wait for them."""

from llama_chatbot import connections, request_body

connections.HEADER_SECONDS = 1.0
connections.STALLED_SECONDS = 1.0
request_body.BODY_SECONDS = 2.0

from llama_chatbot.asgi import application  # noqa: E402, F401
