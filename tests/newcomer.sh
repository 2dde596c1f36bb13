#!/usr/bin/env bash
# The first hour of a newcomer, with a wheel alone, in a folder that is empty:
#   tests/newcomer.sh WHEEL FOLDER [PACKAGES]
# PACKAGES: folder that has the packages which the wheel asks for; without it pip fetches them.
set -euo pipefail
wheel=$(realpath "$1")
mkdir -p "$2"
cd "$2"
[ -z "$(ls -A)" ] || { echo "$2 is not empty; expected an empty folder" >&2; exit 2; }
exec 3>&1
said() { printf '\n== %s\n' "$*" >&3; }
unset PYTHONPATH FSBENCH_WEIGHTS FSBENCH_TEST_DATA
export HOME=$PWD/home FSBENCH_CACHE=$PWD/home/cache
mkdir -p "$HOME" work

said "the wheel, in an environment of its own"
python3 -m venv ${3:+--without-pip} environment
if [ -n "${3:-}" ]; then
  python3 -m pip --python environment/bin/python install --quiet --no-deps --no-index "$wheel"
  echo "$3" > "$(echo environment/lib/python*/site-packages)/others.pth"
else
  environment/bin/python -m pip install --quiet "$wheel[run,plots]"
fi
PATH=$PWD/environment/bin:$PATH
cd work
fsbench --version
{ fsbench list || [ $? = 141 ]; } | head -2   # 141: the reader went, which needs no word
eval "$(fsbench completion bash)"
where=$(python -c "import fsbench; print(fsbench.__file__)")
case $where in */environment/lib/*) ;; *) echo "fsbench is $where, expected the wheel's" >&2; exit 1 ;; esac

said "a typo, and then the machine"
if fsbench bench --method prototyp 2> typo; then exit 1; fi
grep -q "did you mean 'prototype'" typo
{ fsbench doctor || [ $? = 1 ]; } | tail -1   # 1: something of this machine is not as it should be

said "start: a first study, as a trial"
fsbench start --yes --fast --method prototype
test -s study.yaml

said "a method of one's own"
fsbench new method mine
fsbench check-method ./mine/mine.py:Mine
fsbench bench --method ./mine/mine.py:Mine --dataset demo --fast | tee benched
if grep -q "below an answer that needs no model" benched; then exit 1; fi
fsbench compare runs

said "results that others check"
fsbench bundle runs --new-card cards
sed -i 's/backbone_data: .../backbone_data: drawn shapes/; s/test_images: .../test_images: no/; s/trials: .../trials: 1/' cards/*.yaml
mkdir bundles
fsbench bundle runs --card cards -o bundles/results.fsb
fsbench verify bundles/results.fsb
fsbench report --board bundles --out site
grep -q 'data-method="mine"' site/index.html
said "done: $(du -sh "$PWD" | cut -f1) in $PWD"
