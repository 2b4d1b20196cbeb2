"""What users may put round their requests: authentication, retries, limits, a cache; each is a
client middleware.
"""
