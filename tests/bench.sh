#!/usr/bin/env bash
# Tokens a second, rows a second, seconds per epoch, peak memory and GFLOP/s of training, ours and the peer in turn.
# usage: tests/bench.sh [ORACLE_DIR [RAW.jsonl]]
#   ORACLE_DIR   made by tests/oracle/setup.sh: SmolLM2-135M, with transformers + PEFT beside us in the same run. Without
#                it only our own figures: on SmolLM2 where `just smollm2` has brought it, else on data/tiny-chat
#   RAW.jsonl    the examples [default: data/tasks.jsonl]
# Environment: ROUNDS (3) runs of each, in turn, of which the median is printed; STEPS (12) of each run, for the first ones are slow; THREADS (all);
# BASES (all) which of ours, by a part of the name; WORK (dense rows apart long) which workloads:
#   dense    256 tokens a row, all supervised, batch 4            rows     RAW.jsonl as it is, batch 8
#   apart    the same without shared prefixes                     long     three solved rows before each question, batch 4
#   prep     lora-prep on RAW.jsonl made long (ROWS, 40000), beside datasets.map with as many processes
#   scaling  256 to 8192 tokens a step, ours alone                large    a random Llama of 7B's shape in Q4_0 (4 GB in OUT)
# OUT (a temporary folder) keeps what is made. Machines are noisy: compare the lines of one run, never two.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
steps=${STEPS:-12} rounds=${ROUNDS:-3} threads=${THREADS:-$(nproc)}
bin=${CARGO_TARGET_DIR:-$root/target}/release
oracle=${1:+$(cd "$1" && pwd)}
raw=$(realpath "${2:-$root/data/tasks.jsonl}")
cached=$root/.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

if [[ -n $oracle ]]; then
  [[ -e $oracle/venv/ok && -e $oracle/smollm2-hf/model.safetensors ]] || {
    printf 'error: %s has no oracle environment\nhint: tests/oracle/setup.sh %s makes it\n' "$oracle" "$oracle" >&2
    exit 2
  }
  all=("$oracle/smollm2-hf" "$oracle"/smollm2/*.gguf)
elif [[ -e $cached ]]; then
  all=("$cached")
else
  all=("$root/data/tiny-chat")
fi
bases=()
for base in "${all[@]}"; do [[ $base == *${BASES:-}* ]] && bases+=("$base"); done
peer=${oracle:+$oracle/smollm2-hf}

(cd "$root" && cargo build --release --locked --quiet --workspace --bins --example bench-rows --example random-llama)
if [[ -n ${OUT:-} ]]; then
  out=$OUT
  mkdir -p "$out"
else
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
rm -f "$out"/*.figures
"$bin/examples/bench-rows" "$raw" "$out"
prep() { # raw data [base [flags]]
  local base=${3:-}
  "$bin/lora-prep" "$1" --base "${base:-${all[0]}}" --out "$out/$2" --valid 0 --quiet --force "${@:4}" >/dev/null
}

# The first or last value of a key in JSON; the median of the numbers on stdin.
number() { grep -o "\"$1\":[ ]*[0-9.e+]*" <<<"$2" | tail -n 1 | sed 's/.*:[ ]*//'; }
first() { grep -o "\"$1\": [0-9]*" | head -n 1 | grep -o '[0-9]*$'; }
column() { awk -v n="$1" '{ print $n }' "$2" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

train() { # base data batch [flags]: tokens/s, peak bytes, GFLOP/s, its share of the gemm peak, share of the time in products
  local said
  said=$("$bin/lora-train" --base "$1" --data "$2" --out "$out/adapter" --force --json --profile --rank 16 --targets all \
    --batch "$3" --lr 5e-4 --schedule constant --warmup 0 --threads "$threads" "${@:4}" 2>"$out/said")
  local profile receipt gflops peak
  profile=$(grep '"event":"profile"' <<<"$said") receipt=$(tail -n 1 <<<"$said")
  gflops=$(number gflops "$profile") peak=$(number gemm_peak_gflops "$profile")
  printf '%s %s %s %s %s\n' "$(number tokens_per_s "$receipt")" "$(number peak_rss_bytes "$receipt")" "$gflops" \
    "$(awk -v a="$gflops" -v b="$peak" 'BEGIN { print a / b }')" "$(number product_share "$profile")"
}
peft() { # data batch
  local summary
  summary=$(HF_HUB_OFFLINE=1 "$oracle/venv/bin/python" "$root/tests/oracle/peft_train.py" --base "$peer" --data "$1" \
    --r 16 --batch "$2" --lr 5e-4 --steps "$steps" --threads "$threads" 2>/dev/null | tail -n 1)
  printf '%s %s\n' "$(number tokens_per_s "$summary")" "$(number peak_rss_bytes "$summary")"
}

workload() { # name title data batch [flags]
  local name=$1 title=$2 data=$out/$3 batch=$4 base tokens rows theirs=
  rows=$(first rows <"$data/dataset.json")
  tokens=$(first tokens <"$data/dataset.json")
  for ((round = 0; round < rounds; round++)); do
    for base in "${!bases[@]}"; do
      train "${bases[base]}" "$data" "$batch" --steps "$steps" "${@:5}" >>"$out/$name.$base.figures"
      sed -n '/^part /,$p' "$out/said" >"$out/$name.$base.profile"
    done
    [[ -z $oracle ]] || peft "$data" "$batch" >>"$out/$name.peer.figures"
  done
  [[ -z $oracle ]] || theirs=$(column 1 "$out/$name.peer.figures")
  printf '\n%s: %s rows, %s tokens, batch %s %s\n' "$title" "$rows" "$tokens" "$batch" "${*:5}"
  line() { # label figures
    awk -v label="$1" -v speed="$(column 1 "$2")" -v memory="$(column 2 "$2")" -v gflops="$(column 3 "$2")" -v share="$(column 4 "$2")" \
      -v rows="$rows" -v tokens="$tokens" -v theirs="$theirs" 'BEGIN {
        printf "  %-36s %6.0f tokens/s %6.2f rows/s %6.0f s/epoch %6.2f GB", label, speed, speed * rows / tokens, tokens / speed, memory / 1e9
        if (gflops) printf " %5.0f GFLOP/s, %3.0f %% of gemm", gflops, 100 * share; else printf "%27s", ""
        if (theirs) printf " %6.2f×", speed / theirs
        print "" }'
  }
  for base in "${!bases[@]}"; do line "$(basename "${bases[base]}")" "$out/$name.$base.figures"; done
  [[ -z $oracle ]] || line "transformers + PEFT + torch, f32" "$out/$name.peer.figures"
  sed 's/^/      /' "$out/$name.0.profile"
}

scaling() {
  local base=${bases[-1]} tokens
  printf '\ntokens in a step, rows of 256, %s\n' "$(basename "$base")"
  for tokens in 256 512 1024 2048 4096 8192; do
    train "$base" "$out/data-dense" $((tokens / 256)) --steps 2 >"$out/scaling.figures"
    awk -v n="$tokens" '{ printf "  %5d tokens  %7.2f s a step  %6.2f ms a token  %5.2f GB\n", n, n / $1, 1000 / $1, $2 / 1e9 }' "$out/scaling.figures"
  done
}

large() {
  [[ -e $out/large.gguf ]] || "$bin/examples/random-llama" "${all[-1]}" "$out/large.gguf"
  prep "$out/dense.jsonl" data-large "$out/large.gguf" --text-block 256
  train "$out/large.gguf" "$out/data-large" 2 --steps 1 --memory 6.9GB >"$out/large.figures"
  printf '\nLlama of 7B in Q4_0, 512 tokens a step, --memory 6.9GB\n'
  awk '{ printf "  %.1f tokens/s, %.2f GB, %.0f GFLOP/s, %.0f %% of gemm\n", $1, $2 / 1e9, $3, 100 * $4 }' "$out/large.figures"
  sed -n '/^part /,$p' "$out/said" | sed 's/^/      /'
}

preparing() {
  local long=$out/prep.jsonl passes wanted=${ROWS:-40000} said
  passes=$(((wanted + $(wc -l <"$raw") - 1) / $(wc -l <"$raw")))
  # Each pass numbers its texts, so that no row is another's duplicate.
  for ((pass = 0; pass < passes; pass++)); do
    sed -E "s/\"(prompt|instruction|content)\": ?\"/&$pass: /" "$raw"
  done | head -n "$wanted" >"$long"
  for ((round = 0; round < rounds; round++)); do
    said=$("$bin/lora-prep" "$long" --base "${all[0]}" --out "$out/data-prep" --force --json --quiet --threads "$threads" | tail -n 1)
    printf '%s %s\n' "$(number wall_seconds "$said")" "$(number peak_rss_bytes "$said")" >>"$out/prep.ours.figures"
    [[ -n $oracle ]] || continue
    said=$(HF_HUB_OFFLINE=1 "$oracle/venv/bin/python" "$root/tests/oracle/prep_map.py" --base "$peer" --raw "$long" \
      --processes "$threads" --cache "$out" 2>/dev/null | tail -n 1)
    printf '%s %s\n' "$(number map_seconds "$said")" "$(number peak_rss_bytes "$said")" >>"$out/prep.peer.figures"
  done
  printf '\nraw rows to a dataset: %s rows of %s\n' "$(wc -l <"$long")" "$(basename "$raw")"
  line() { awk -v label="$1" -v n="$wanted" -v s="$(column 1 "$2")" -v m="$(column 2 "$2")" \
    'BEGIN { printf "  %-36s %6.2f s %8.0f rows/s %6.2f GB\n", label, s, n / s, m / 1e9 }'; }
  line "lora-prep, the whole run" "$out/prep.ours.figures"
  [[ -z $oracle ]] || line "datasets.map alone, one of its processes" "$out/prep.peer.figures"
}

printf 'rank 16 on all seven linear layers; %s threads; medians of %s runs of %s steps each, in turn\n' "$threads" "$rounds" "$steps"
prep "$out/dense.jsonl" data-dense "" --text-block 256
prep "$raw" data-rows
prep "$out/long.jsonl" data-long
for work in ${WORK:-dense rows apart long}; do
  case $work in
    dense) workload dense "dense, every token supervised" data-dense 4 --memory 1180MB ;;
    rows) workload rows "$(basename "$raw") as it is" data-rows 8 --memory 690MB ;;
    apart) workload apart "$(basename "$raw"), no prefixes shared" data-rows 8 --memory 690MB --no-shared-prefixes ;;
    long) workload long "long prompts, short answers" data-long 4 --memory 1180MB ;;
    prep) preparing ;;
    scaling) scaling ;;
    large) large ;;
    *) printf 'error: there is no workload %s\nhint: dense, rows, apart, long, prep, scaling, large\n' "$work" >&2; exit 2 ;;
  esac
done
[[ -n $oracle ]] || printf '\nthe peer was not measured: tests/oracle/setup.sh DIR brings it, then `just bench DIR`\n'
