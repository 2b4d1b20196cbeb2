"""What ``wherry help TOPIC`` says."""

from __future__ import annotations

from typing import Final

TOPICS: Final = {
    "items": """\
Items behind the URL say what is sent; a method may stand before it.

  wherry PUT :8000/items/1 name=Ann age:=36 q==x X-Key:1

  name=value        a member of a JSON object; a form's field with --as-form
  name:=1           a member that is JSON itself: a number, a list, true, null
  a[b]=v, l[]=v     a member of a member, the next of a list
  name=@FILE        the text of a file; name:=@FILE its JSON
  name==value       a part of the query
  Name:value        a header field; "Name;" an empty one, "Name:" leaves one out
  name@FILE         a file to upload, as multipart; ;type=text/css says its type
  @FILE             the file is the body; @- is standard input

A backslash before a separator makes it a letter: 'a\\=b=c'.
:8000/path is this machine's.  A method that sends something reads standard
input if that is a file or a pipe and nothing else was given; --ignore-stdin
leaves it alone.""",
    "curl-words": """\
Most of curl's words do what they do there; others say what to use instead.

  wherry curl 'curl https://example.org/ -H "X-Key: 1"'   what a browser copied
  wherry curl --python 'curl https://example.org/'        as a Python program
  wherry --curl --json '{"a": 1}' URL                     the other way

Redirects are followed without -L, and -C needs no value; `wherry curl`
follows them where curl would.  ~/.netrc is read without being asked.""",
    "downloads": """\
  wherry -o FILE --continue URL         one file; again, to go on
  wherry fetch -i urls.txt -o pages/    many

A list is a URL on each line, JSON lines, CSV with a heading, or metalink; the
last three may name the file and its checksum:
{"url": "...", "file": "...", "checksum": "sha256=..."}
--output-template '{host}/{path}/{name}' names the files; --accept and --reject
choose them.  --wait, --robots, --per-host and --limit-rate spare the servers.
A file appears under its name when it is whole, and --checksum sha256=... says
what whole is.""",
    "into": """\
Pages of a long list go into a sink, by wherry.bulk, and not each into a file:

  wherry fetch -i urls.txt --into jsonl:pages/ --checkpoint run.sqlite
  wherry fetch -i urls.txt --into warc:pages/ --wait 1 --robots

  jsonl:PLACE      JSON Lines, a page on each line
  parquet:PLACE    tables; pip install 'wherry[parquet]'
  warc:PLACE       a web archive; pip install 'wherry[warc]'
  files:PLACE      a file for each page

PLACE is a folder, or a URL that fsspec knows, as s3://bucket/pages.
With --checkpoint the same command goes on where it was killed.  By default
there is no rate and robots.txt is not read: --wait SECONDS and --robots.
--ray and --dask do it on a cluster.  `wherry help fetch` has all options.""",
    "sessions": """\
  wherry --session work https://api.test/login name=Ann
  wherry --session work https://api.test/items

A named session keeps header fields, the name and password of -u, and cookies,
for one host.  Its files, readable by you alone, are in the folder of your
settings; a name with a slash is a folder.
-b FILE and -c FILE read and write cookies.txt, as curl does.""",
    "output": """\
On a terminal the status comes first; JSON, XML and forms are indented and
coloured; events are shown as they come; binary bodies are named.  In a pipe
there are the body's plain bytes.

  --pretty all|colors|format|none     how bodies look; NO_COLOR=1: no colours
  --print HBhbm                       request head and body, response head and
                                      body, times
  --headers, --body, -i, -I, -v       short for some of it
  -w '%{http_code}\\n'                curl's variables, at the end
  -o, -O, -D, --har, --report         files""",
    "environment": """\
Every option can be set by its name: WHERRY_TIMEOUT=5, WHERRY_NO_REDIRECTS=1.
One that may be repeated takes a value on each line.  What stands on the command
line wins.

http_proxy, https_proxy, all_proxy, no_proxy    proxies
SSL_CERT_FILE, SSL_CERT_DIR, SSLKEYLOGFILE      TLS
NO_COLOR                                        no colours""",
    "exit": """\
0    all went well
1    an error, told in one line; of many downloads, none went well
2    of many downloads, some went well
130  interrupted""",
}
# Other words for them.
ALIASES: Final = {"bulk": "into"}
