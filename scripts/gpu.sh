#!/usr/bin/env bash
# Everything that a GPU is asked, in at most eight minutes, into benchmarks/results/gpu.json. On a CPU, --dry tries the
# same with few tasks. PYTHON names another Python; --help lists the options.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" benchmarks/gpu.py "$@"
