#!/usr/bin/env bash
# The first hour of a newcomer, with a wheel alone, in a folder that is empty:
#   tests/newcomer.sh WHEEL TEMPLATE FOLDER [PACKAGES]
# TEMPLATE: the folder docs/template. PACKAGES: folder that has the packages which the wheel asks for; without it pip
# fetches them.
set -euo pipefail
wheel=$(realpath "$1")
template=$(realpath "$2")
mkdir -p "$3"
cd "$3"
[ -z "$(ls -A)" ] || { echo "$3 is not empty; expected an empty folder" >&2; exit 2; }
exec 3>&1
said() { printf '\n== %s\n' "$*" >&3; }
unset PYTHONPATH FSBENCH_WEIGHTS FSBENCH_TEST_DATA
export HOME=$PWD/home FSBENCH_CACHE=$PWD/home/cache
mkdir -p "$HOME" work

said "the wheel, in an environment of its own"
python3 -m venv ${4:+--without-pip} environment
if [ -n "${4:-}" ]; then
  python3 -m pip --python environment/bin/python install --quiet --no-deps --no-index "$wheel"
  echo "$4" > "$(echo environment/lib/python*/site-packages)/others.pth"
else
  environment/bin/python -m pip install --quiet "$wheel[run,plots]"
fi
PATH=$PWD/environment/bin:$PATH
cd work
fsbench --version
{ fsbench list || [ $? = 141 ]; } | head -2   # 141: the reader went, which needs no word
where=$(python -c "import fsbench; print(fsbench.__file__)")
case $where in */environment/lib/*) ;; *) echo "fsbench is $where, expected the wheel's" >&2; exit 1 ;; esac

said "a typo, and then the machine"
if fsbench bench --method prototyp 2> typo; then exit 1; fi
grep -q "did you mean 'prototype'" typo
{ fsbench list here || [ $? = 1 ]; } | sed -n 1p   # 1: something of this machine is not as it should be

said "a first study, as a trial"
fsbench bench --method prototype --dataset demo --fast

said "a method of one's own"
cp -r "$template" package
fsbench check-method ./package/mine/method.py:Mine
fsbench bench --method ./package/mine/method.py:Mine --dataset demo --fast | tee benched
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
