"""A report by requests; report.py is the same by wherry."""
import sys

import wherry.sync as requests

with requests.Session() as session:
    session.headers["X-Client"] = "report"
    found = session.get(f"{sys.argv[1]}/get", params={"page": 1}, timeout=10)
    found.raise_for_status()
    print(found.status_code, found.headers["Content-Type"], found.json()["args"])
    made = session.post(f"{sys.argv[1]}/post", json={"name": "wherry"}, timeout=10)
    print(made.ok, made.json()["json"], made.json()["headers"]["x-client"])
    missing = session.get(f"{sys.argv[1]}/status/404", timeout=10)
    print(missing.status_code, missing.ok)
