"""What happens to a user's threads, told to each of their tabs and devices.

log.py    notes it, in the transaction in which it happens
reader.py reads what all processes have noted
hub.py    tells those who listen in this process
forms.py  the forms of such a stream, and schemas.py how the OpenAPI document has them
"""
