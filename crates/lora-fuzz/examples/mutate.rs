//! Changes the seeds of the targets at random, on any compiler: without libFuzzer's knowledge of what the code does with the
//! bytes, but in every place where the tests can run.
//!
//! `mutate SECONDS [SEED [TARGET…]]` gives each target its share of the time (the processor's, where the system tells it: a
//! busy machine counts for nothing) and prints what it tried; what makes one panic, or takes it longer than ten seconds, is
//! written into `fuzz/artifacts`, and the exit code is 1. `mutate TARGET FILE` tries such a file again.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
use lora_fuzz::{TARGETS, Target};
use lora_random::Generator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes of an input at most: as `just fuzz` has it.
const LONGEST: usize = 65_536;

/// An input that takes this long is a finding.
const SLOW: Duration = Duration::from_secs(10);

/// Inputs between two looks at the time.
const BETWEEN: u64 = 64;

/// Changes that are made to one seed at most.
const CHANGES: u64 = 8;

/// Bytes that readers are known to trip over: ends of numbers' ranges, what opens and closes.
const TELLING: [&[u8]; 14] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0\0\0\0\x80",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"[[[[",
    b"{\"a\":",
    b"\"",
    b"null",
    b"\n",
];

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {})); // a finding is told below
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [name, file] = &words[..]
        && let Some((_, target)) = TARGETS.iter().find(|(known, _)| known == name)
    {
        let _ = std::panic::take_hook();
        let began = spent();
        target(&std::fs::read(file).unwrap());
        println!("{name} {file}: {:?}", spent() - began);
        return ExitCode::SUCCESS;
    }
    let number = |at: usize, default: u64| words.get(at).map_or(default, |w| w.parse().unwrap());
    let seconds = number(0, 60);
    let seed = number(1, 1);
    let wanted = words.get(2..).unwrap_or_default();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| is_wanted(name)).collect();
    let share = Duration::from_secs(seconds) / u32::try_from(targets.len().max(1)).unwrap();
    let mut all = 0;
    let mut findings = 0;
    for (name, target) in targets {
        let (tried, found) = fuzz(name, *target, share, seed);
        println!("{name:<18} {tried:>9} tried {found:>3} findings");
        all += tried;
        findings += found;
    }
    println!("{:<18} {all:>9} tried {findings:>3} findings", "all");
    ExitCode::from(u8::from(findings > 0))
}

/// How many inputs a target got in its time, and how many of them are findings.
fn fuzz(name: &str, target: Target, share: Duration, seed: u64) -> (u64, u64) {
    let seeds = seeds(name);
    let mut chance = Generator::named("mutate", seed, name);
    let began = spent();
    let mut tried = 0;
    let mut found = 0;
    while tried % BETWEEN > 0 || spent() - began < share {
        let bytes = changed(&seeds, &mut chance);
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        tried += 1;
        if ended.is_err() || started.elapsed() > SLOW && is_slow(target, &bytes) {
            found += 1;
            let folder = Path::new("fuzz/artifacts").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{seed}-{tried}")), &bytes).unwrap();
        }
    }
    (tried, found)
}

/// Whether the input takes its time again: on a busy machine anything may.
fn is_slow(target: Target, bytes: &[u8]) -> bool {
    let began = spent();
    target(bytes);
    spent() - began > SLOW
}

/// The processor's time that the process has taken, all its threads (a template runs on one of its own); where the system
/// does not tell, the clock's.
fn spent() -> Duration {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/self/stat").ok();
    told.and_then(|told| ticks(&told)).map_or_else(
        || BEGAN.elapsed(),
        |ticks| Duration::from_millis(10 * ticks),
    )
}

/// User's and system's time in Linux' hundredths of a second: the 14th and 15th field of `/proc/self/stat`, counted behind
/// the name in parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let entries = std::fs::read_dir(folder.join(name)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// A seed after some changes.
fn changed(seeds: &[Vec<u8>], chance: &mut Generator) -> Vec<u8> {
    let mut bytes = seeds[below(chance, seeds.len())].clone();
    for _ in 0..=chance.below(CHANGES) {
        change(&mut bytes, seeds, chance);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Generator) {
    let at = below(chance, bytes.len() + 1);
    let longest = 1 << chance.below(9);
    let end = (at + 1 + below(chance, longest)).min(bytes.len());
    match chance.below(6) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(chance.below(256)).unwrap();
            }
        }
        2 => drop(bytes.drain(at.min(end)..end)),
        3 => insert(bytes, at, TELLING[below(chance, TELLING.len())]),
        4 => {
            let part = bytes[at.min(end)..end].to_vec();
            let to = below(chance, bytes.len() + 1);
            insert(bytes, to, &part);
        }
        _ => {
            let other = &seeds[below(chance, seeds.len())];
            let from = below(chance, other.len() + 1);
            let to = (from + longest).min(other.len());
            let end = (at + to - from).min(bytes.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}

fn below(chance: &mut Generator, bound: usize) -> usize {
    usize::try_from(chance.below(bound as u64)).unwrap()
}
