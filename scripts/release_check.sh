#!/usr/bin/env bash
# Builds what would be uploaded and checks it as its users will meet it: release_check.sh PYTHON.
# TESTS=tests/cookies limits what is run from the source archive; the release needs all.
set -euo pipefail
python=$(realpath -s "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== build, into dist/"
rm -rf dist
"$python" -m build --outdir dist . >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
ls -l dist

echo "== twine check --strict"
"$python" -m twine check --strict dist/*

echo "== the wheel in an empty environment, and a first request"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check dist/*.whl
(cd "$work" && "$work/venv/bin/python" -W error - <"$OLDPWD/scripts/first_request.py")
"$work/venv/bin/wherry" --version 2>/dev/null || echo "the command line asks for the extra cli, as it should"

echo "== the tests, from the source archive"
mkdir "$work/source"
tar -xzf dist/*.tar.gz -C "$work/source" --strip-components 1
(cd "$work/source" && PYTHONPATH=src "$python" -m pytest -q -p no:cacheprovider ${TESTS:-tests})

"$python" - <<'END'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
if "urls" not in project:
    print("TO DECIDE BEFORE THE UPLOAD: [project.urls] names no Source, Documentation and Issues yet.")
if "not released yet" in open("CHANGELOG.md", encoding="utf-8").read():
    print("TO DO BEFORE THE UPLOAD: the date of this version in CHANGELOG.md.")
print("release-check passed")
END
