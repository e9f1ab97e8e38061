#!/usr/bin/env bash
# What happens to runs that are killed, interrupted, damaged, or short of disk: tries it, and prints one table.
#
# usage: run.sh BIN [few|all] [SEED] [PART…]      BIN: folder of the tools; few: some of each kind, for CI
# PART: kills, signals, calls (needs strace), damage, limits; all of them where none is named
#
# Every try ends by running the same command again, as a person would, and compares all that was made with a run that nothing
# happened to. equal: the same bytes. healed: the same bytes, after a word on what was made again. refused: exit code 2 with a
# hint, nothing else changed. wrong: anything else. A try that takes longer than its time is wrong, too (stuck).
set -u
bin=$(cd "$1" && pwd)
much=${2:-all}
RANDOM=${3:-7}
parts=" ${*:4} "
part() { [ "$parts" = "  " ] || [[ $parts = *" $1 "* ]]; }
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place" || exit 2
tries() { if [ "$much" = few ]; then echo "$1"; else echo "$2"; fi; }

declare -A tried equal healed refused wrong
kinds=()
# count KIND VERDICT WHAT: notes how a try ended; a wrong one is shown at once
count() {
    [ -n "${tried[$1]:-}" ] || { kinds+=("$1"); tried[$1]=0; equal[$1]=0; healed[$1]=0; refused[$1]=0; wrong[$1]=0; }
    tried[$1]=$((tried[$1] + 1))
    case $2 in
        refused) refused[$1]=$((refused[$1] + 1)) && echo "$1, $3: $(grep -m 1 '^error: ' said)" >> refusals ;;
        equal) equal[$1]=$((equal[$1] + 1)) ;;
        healed) healed[$1]=$((healed[$1] + 1)) ;;
        *) wrong[$1]=$((wrong[$1] + 1)); echo "wrong: $1: $3" >&2; tail -n 4 said >&2 ;;
    esac
}

# A folder with the inputs, and what a run makes that nothing happens to.
mkdir clean
cp -r "$top/data/tiny-chat" clean/base
cp "$top/data/tasks.jsonl" clean/
cp "$here/pipeline.yaml" clean/p.yaml
cp -r clean whole
run() { (cd "$1" && timeout 60 "$bin/lora-run" p.yaml > "$place/stdout" 2> "$place/said"); }
run whole || { cat said; echo "the pipeline does not run"; exit 2; }
# contents FOLDER: all that was made, by its bytes; notes, logs and receipts hold times
contents() {
    (cd "$1" && find work/p -type f ! -name '*.log*' ! -name 'receipt.json' ! -name '*.step.json' ! -name '.lock' \
        ! -path '*.kept*' -print0 | sort -z | xargs -0 sha256sum; cat p.lock)
}
contents whole > expected
# again KIND WHAT FOLDER: runs the pipeline once more and judges
again() {
    run "$3"
    code=$?
    contents "$3" > found 2> /dev/null
    if [ $code = 0 ] && cmp -s expected found; then
        if grep -qE "modified|damaged|not a checkpoint|edited|no record|gone|finished after" said; then count "$1" healed; else count "$1" equal; fi
    elif [ $code = 2 ] && grep -q '^hint: ' said; then
        count "$1" refused "$2"
    else
        diff expected found | head -n 4 >&2
        count "$1" wrong "$2 (exit code $code)"
    fi
}
fresh() { rm -rf try; cp -r "${1:-clean}" try; }
# waits until the last process of a run in `try` has ended
unlocked() { for _ in $(seq 100); do [ -e try/work/p/.lock ] || break; flock -n try/work/p/.lock true 2> /dev/null && break; sleep 0.05; done; }

# --- kill -9 at random moments: lora-run, the step, or both
started=$(date +%s%N)
fresh; run try
lasts=$((($(date +%s%N) - started) / 1000000))
part kills && for n in $(seq "$(tries 3 102)"); do
    fresh
    (cd try && exec "$bin/lora-run" p.yaml > /dev/null 2>&1) &
    runner=$!
    ms=$((RANDOM * lasts / 32768))
    sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
    child=$(pgrep -P $runner | head -n 1)
    case $((n % 3)) in
        0) kill -9 $runner ;;
        1) [ -n "$child" ] && kill -9 "$child" || kill -9 $runner ;;
        *) kill -9 $runner ${child:+"$child"} ;;
    esac 2> /dev/null
    wait $runner 2> /dev/null
    unlocked
    again "kill -9 at random" "after $ms ms, kind $((n % 3))" try
done

# --- each signal at each step: it ends soon, and goes on
late=0
part signals && for signal in INT TERM HUP; do
    for n in $(seq "$(tries 1 18)"); do
        fresh
        (cd try && exec "$bin/lora-run" p.yaml > /dev/null 2>&1) &
        runner=$!
        ms=$((RANDOM * lasts / 32768))
        sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
        began=$(date +%s%N)
        kill -$signal $runner 2> /dev/null
        wait $runner 2> /dev/null
        took=$((($(date +%s%N) - began) / 1000000))
        [ $took -gt 2000 ] && late=$((late + 1)) && echo "late: $signal after $ms ms took $took ms" >&2
        again "signals" "$signal after $ms ms" try
    done
done

# --- SIGKILL at each system call that changes a file, while an output is replaced
if part calls && command -v strace > /dev/null; then
    calls=rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,ftruncate,fsync,fdatasync,fchmod,fchmodat,chmod,write,pwrite64,copy_file_range
    w=whole/work/p
    # by_call NAME COMMAND…: an old output stands at `o`; kills at the first call, the second, …
    by_call() {
        name=$1 && shift
        rm -rf o o.* && cp -r "$old" o && [ ! -e "$old.receipt.json" ] || cp "$old.receipt.json" o.receipt.json
        strace -f -qq -o calls -e trace=$calls "$@" > stdout 2> said || { cat said; echo "$name does not run"; return; }
        cp -r o o-whole && mv calls all-calls
        local call all step at
        for call in ${calls//,/ }; do
            all=$(grep -cE "^[0-9]+ +$call\\(" all-calls)
            step=$(tries $((all / 2 + 1)) $((all / ${most:-40} + 1)))
            for ((at = 1; at <= all; at += step)); do killed_at "$name" "$call" $at "$@"; done
        done
        rm -rf o-whole
    }
    # killed_at NAME CALL NUMBER COMMAND…: what stands there then is the old output or the new one, and the next run ends well
    killed_at() {
        local name=$1 call=$2 at=$3 after=wrong code
        shift 3
        rm -rf o o.* && cp -r "$old" o && [ ! -e "$old.receipt.json" ] || cp "$old.receipt.json" o.receipt.json
        { timeout 60 strace -f -qq -o calls -e trace="$call" -e inject="$call:signal=KILL:when=$at" "$@" > stdout 2> said; } 2> /dev/null
        same o "$old" && after=old
        same o o-whole && after=new
        timeout 60 "$@" > stdout 2> said
        code=$?
        if [ $code = 2 ] && grep -q -- '--resume' said; then timeout 60 "$@" --resume > stdout 2> said; code=$?; fi
        if [ $code = 0 ] && [ $after != wrong ] && same o o-whole; then count "SIGKILL at a system call" equal
        elif [ $code = 2 ] && [ $after != wrong ] && grep -q '^hint: ' said; then count "SIGKILL at a system call" refused "$name, $call $at"
        else count "SIGKILL at a system call" wrong "$name, $call $at: $after, then exit code $code"; fi
    }
    # same A B: the same files but for receipts
    same() { [ "$(digest "$1")" = "$(digest "$2")" ]; }
    digest() { if [ -d "$1" ]; then (cd "$1" && find . -type f ! -name receipt.json -print0 | sort -z | xargs -0 sha256sum); else sha256sum < "$1"; fi; }
    old=$w/prep by_call lora-prep "$bin/lora-prep" $w/rows/rows.jsonl --base clean/base --valid 0.4 --out o --force
    old=$w/train by_call lora-train "$bin/lora-train" --base clean/base --data $w/prep --rank 4 --targets q_proj --steps 4 --eval-every 2 --batch 2 --threads 1 --out o --force
    old=$w/merge by_call lora-merge "$bin/lora-merge" --base clean/base --adapter $w/train --dtype f32 --threads 1 --out o --force
    old=$w/eval by_call lora-eval "$bin/lora-eval" --base clean/base --data $w/prep --generate 0 --threads 1 --out o --force
    old=$w/merge by_call lora-export "$bin/lora-export" --model clean/base --dtype f32 --format hf --out o --force
    old=$w/train by_call lora-merge "$bin/lora-merge" --adapter $w/train --weight 2 --to-adapter --out o --force
    "$bin/lora-export" --model clean/base --dtype f16 --out gguf -q > /dev/null
    old=gguf by_call lora-export "$bin/lora-export" --model $w/merge --dtype q8_0 --out o --force
    # lora-run at each of its own calls, where nothing is there and where all is made again: its steps end with it, and the
    # next run goes on
    for of in clean whole; do
        flags=$([ $of = clean ] || echo --force)
        (fresh $of && cd try && strace -qq -o ../calls -e trace=$calls "$bin/lora-run" p.yaml $flags > /dev/null 2>&1)
        for call in ${calls//,/ }; do
            all=$(grep -cE "^$call\\(" calls)
            step=$(tries $((all / 2 + 1)) $((all / ${most:-40} + 1)))
            for ((at = 1; at <= all; at += step)); do
                fresh $of
                { (cd try && exec timeout 60 strace -qq -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$at" "$bin/lora-run" p.yaml $flags > /dev/null 2>&1); } 2> /dev/null
                unlocked
                again "lora-run, SIGKILL at a system call" "$of, $call $at" try
            done
        done
    done
fi

# --- every file of a finished and of an interrupted run: zeroed, truncated, one bit flipped, deleted
damage() {
    size=$(stat -c %s "$1")
    case $2 in
        zeroed) head -c "$size" /dev/zero > "$1.new" && cat "$1.new" > "$1" && rm "$1.new" ;;
        truncated) truncate -s $((size / 2)) "$1" ;;
        flipped)
            [ "$size" -gt 0 ] || return
            at=$(((RANDOM * 32768 + RANDOM) % size))
            byte=$(od -An -tu1 -j $at -N 1 "$1")
            printf "$(printf '\\%03o' $((byte ^ (1 << (RANDOM % 8)))))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
            ;;
        deleted) rm "$1" ;;
    esac
}
if part damage; then
fresh
(cd try && exec "$bin/lora-run" p.yaml > /dev/null 2>&1) &
runner=$!
for _ in $(seq 2000); do [ -e try/work/p/train.partial/checkpoints/state.before.safetensors ] && break; sleep 0.002; done
kill -9 $runner
wait $runner 2> /dev/null
unlocked
rm -rf cut && mv try cut
number=0
for of in whole cut; do
    for file in $(cd $of && find work -type f ! -name .lock | sort); do
        for how in zeroed truncated flipped deleted; do
            number=$((number + 1))
            [ $((number % $(tries 24 1))) = 0 ] || continue
            fresh $of
            damage "try/$file" $how
            again "damaged file of a ${of/whole/finished} run" "$file $how" try
        done
    done
done

fi

# --- no room, no permission, nobody who listens
if part limits; then
for blocks in $(tries "16" "0 1 4 16 40 64 128 256 600"); do
    fresh
    (cd try && ulimit -f "$blocks" && exec "$bin/lora-run" p.yaml > /dev/null 2>&1)
    again "no room for a file" "$blocks blocks" try
done
for mb in $(tries "20" "10 16 20 24 32 48 64"); do
    fresh
    (cd try && ulimit -v $((mb * 4096)) && exec timeout 60 "$bin/lora-run" p.yaml > /dev/null 2>&1)
    again "little memory" "$mb" try
done
for how in closed full pipe; do
    fresh
    case $how in
        closed) (cd try && "$bin/lora-run" p.yaml >&- 2>&-) ;;
        full) (cd try && "$bin/lora-run" p.yaml > /dev/full 2> /dev/full) ;;
        pipe) (cd try && "$bin/lora-run" p.yaml 2>&1 | true) ;;
    esac
    again "stdout $how" "$how" try
done
if [ "$(id -u)" = 0 ] && mkdir -p small && mount -t tmpfs -o size=3m tmpfs small 2> /dev/null; then
    for kb in $(tries "800" "100 300 800 1400 1700 2200"); do
        fresh
        rm -rf small/*
        mkdir -p try/work && rmdir try/work && ln -s "$place/small" try/work
        head -c $((kb * 1024)) /dev/zero > small/ballast
        run try
        rm -f small/ballast
        mkdir -p moved && rm -rf moved/* && cp -r small/. moved/ 2> /dev/null
        rm try/work && mv moved try/work
        again "disk full" "$kb kB taken" try
    done
    umount small
fi

fi

printf '\n%-36s %6s %6s %6s %8s %6s\n' "" tried equal healed refused wrong
total=0 bad=0
for kind in "${kinds[@]}"; do
    printf '%-36s %6d %6d %6d %8d %6d\n' "$kind" "${tried[$kind]}" "${equal[$kind]}" "${healed[$kind]}" "${refused[$kind]}" "${wrong[$kind]}"
    total=$((total + tried[$kind])) bad=$((bad + wrong[$kind]))
done
printf '%-36s %6d %29d\n' all $total $bad
[ ! -e refusals ] || { echo "refused with:"; sort refusals | uniq -c; }
echo "signals that took more than two seconds: $late"
[ $bad = 0 ] && [ $late = 0 ]
