#!/usr/bin/env bash
# A round of two partners with the commands of an installed fluid, away from the source tree.
# usage: installed_round.sh FOLDER_OF_THE_INSTALLED_COMMANDS
set -euo pipefail

bin=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset PYTHONPATH
export XDG_STATE_HOME="$work/state"

"$bin/fluid" --help > /dev/null
"$bin/python" - <<'PYTHON'
import importlib.util
for name in ("cli", "data", "tests"):
    assert importlib.util.find_spec(name) is None, f"the wheel installs a package called {name}"
PYTHON
data=$("$bin/python" -c 'import fluid.data; print(next(iter(fluid.data.__path__)))')
head -n 600 "$data/public.csv" > public.csv

"$bin/fluid" init-federation --name trial --task bbb:binary:BBB-,BBB+ -o federation.toml
for partner in aurora borealis; do
    "$bin/fluid" keygen "$partner" -o keys/ --federation federation.toml > /dev/null
done
"$bin/fluid" prepare-public public.csv --federation federation.toml -o public.parquet
for partner in aurora borealis; do
    "$bin/fluid" train-teacher "$data/partners/$partner.csv" --federation federation.toml \
        --partner "$partner" -o "$partner/teacher" > /dev/null
    "$bin/fluid" annotate "$partner/teacher" public.parquet --key "keys/$partner.key" \
        -o "$partner/annotation.parquet"
done
"$bin/fluid" inspect aurora/annotation.parquet --federation federation.toml | grep 'valid, of the'
"$bin/fluid" distill ./*/annotation.parquet --public public.parquet --federation federation.toml \
    -o round1
"$bin/fluid" train-hybrid "$data/partners/aurora.csv" --federated round1/federated.parquet \
    --student round1/student --federation federation.toml -o aurora/hybrid > /dev/null
"$bin/fluid" predict round1/student "$data/external.csv" -o predictions.csv
"$bin/fluid" evaluate round1/student aurora/teacher aurora/hybrid --data "$data/external.csv" \
    --draws 200
echo "the installed wheel ran a round of two partners"
