#!/usr/bin/env bash
# Packs what was built for one system: dist/lora-tools-VERSION-TARGET.tar.gz, or .zip for Windows.
# usage: .github/archive.sh TARGET [the folder of the programs: target/dist]
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 built=${2:-target/dist}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=lora-tools-$version-$target
out=dist/$name
rm -rf "$out"
mkdir -p "$out"/{bin,man/man1,completions}
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$out"
for main in crates/*/src/main.rs; do
  tool=$(basename "$(dirname "$(dirname "$main")")")
  program=$built/$tool
  [[ ! -e $program.exe ]] || program=$program.exe
  cp "$program" "$out/bin/"
  "$program" --man >"$out/man/man1/$tool.1"
  for shell in bash elvish fish powershell zsh; do
    "$program" --completions "$shell" >"$out/completions/$tool.$shell"
  done
done
cd dist
case $target in
  *windows*) 7z a -bso0 "$name.zip" "$name" ;;
  *) tar -czf "$name.tar.gz" "$name" ;;
esac
rm -r "$name"
ls -l "$name".*
