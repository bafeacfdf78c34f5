"""OpenAI's protocol over the chats: the paths under /v1/, for OpenAI's own clients and their like.

What is not offered (tools, audio, images) is refused, never left out in silence.
"""
