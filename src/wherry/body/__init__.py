"""Bodies: what can be sent (payloads, forms, multiparts), and what comes back (streams, content
codings).
"""
