#!/usr/bin/env bash
# Installs the package with all that its tests and linters need into the environment of the given Python.
# Where a wheel of an optional dependency is missing for this Python, the rest is installed and that is said.
set -u
python=$1
# One call for all, so that pip chooses versions that go together.
pip() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

if pip --editable '.[all,test,lint,docs]'; then
    exit 0
fi
echo "Not everything could be installed for $("$python" --version); one after the other then."
pip --editable '.[cli,testing,test,lint,docs]' || exit 1
for extra in compression http2 dns trust psl speedups opentelemetry rest; do
    pip --editable ".[$extra]" || echo "The extra $extra is left out: it cannot be installed on this Python."
done
exit 0
