//! Tables and figures.
use lora_cli::{human_bytes, human_seconds, table, table_within, wrapped};
use unicode_width::UnicodeWidthStr as _;

/// Widths of terminals that people have.
const WIDTHS: [usize; 6] = [20, 40, 60, 80, 100, 200];

#[test]
fn columns_are_aligned_and_figures_stand_to_the_right() {
    let rows = [
        vec!["step", "seconds", "why"],
        vec!["prep", "0.4", "first run"],
        vec!["train", "101.2", ""],
    ];
    assert_eq!(
        table(&rows),
        "step   seconds  why\nprep       0.4  first run\ntrain    101.2\n"
    );
    assert_eq!(table::<&str>(&[]), "");
}

#[test]
fn columns_that_do_not_fit_follow_below_with_the_first_one_again() {
    let rows = [
        vec!["run", "loss", "memory", "a setting"],
        vec!["good", "0.1", "1.1 GB", "one that is long"],
        vec!["low", "2.5", "1.2 GB", "short"],
    ];
    assert_eq!(
        table_within(&rows, 24),
        "run   loss  memory\ngood   0.1  1.1 GB\nlow    2.5  1.2 GB\n\n\
         run   a setting\ngood  one that is long\nlow   short\n"
    );
}

/// Whatever the cells hold: no line is wider, every word of every cell is there, and each part has the first column.
#[test]
fn a_table_keeps_to_every_width_and_loses_nothing() {
    let long = "work/a/folder/with-a-name-that-no-terminal-of-sixty-columns-holds/adapter@rank=16";
    let mut rows: Vec<Vec<String>> =
        vec![(0..14).map(|column| format!("column {column}")).collect()];
    for run in 0..6 {
        let cell = |column: usize| {
            match column {
            0 => format!("{long}-{run}"),
            3 => "a text of several words, and of words-that-are-much-too-long-for-a-narrow-terminal-to-hold".to_owned(),
            5 => "温度を下げる設定の名前がとても長い".to_owned(),
            _ => format!("{:.4} (−0.1234 to +0.5678)", run as f64 * 1.5),
        }
        };
        rows.push((0..14).map(cell).collect());
    }
    for width in WIDTHS {
        let text = table_within(&rows, width);
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
        let own: usize = rows.iter().flatten().map(|cell| letters(cell)).sum();
        let first: usize = rows.iter().map(|row| letters(&row[0])).sum();
        let parts = text.split("\n\n").count();
        assert_eq!(letters(&text), own + (parts - 1) * first, "{width}");
        let beside = table(&rows).lines().next().unwrap().width();
        assert!(parts > 1 || width >= beside, "{width}");
    }
    let widest = table(&rows).lines().map(|line| line.width()).max().unwrap();
    assert!(widest > 200, "the table must be too wide for the test");
}

#[test]
fn text_is_wrapped_between_words() {
    assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
    assert_eq!(wrapped("unbreakable", 4), ["unbr", "eaka", "ble"]);
    assert_eq!(wrapped("温度温度", 5), ["温度", "温度"]);
    assert_eq!(wrapped("", 5), [""; 0]);
    let text = "a sentence of words and averyveryverylongwordthatneedstobebroken to be wrapped";
    for width in 1..40 {
        let lines = wrapped(text, width);
        assert!(lines.iter().all(|line| line.width() <= width), "{width}");
        let letters = |text: &str| text.replace(' ', "");
        assert_eq!(letters(&lines.concat()), letters(text));
    }
}

#[test]
fn sizes_and_times() {
    let sizes: Vec<_> = [0, 999, 1000, 999_949, 999_950, 4_100_000_000]
        .map(human_bytes)
        .into();
    assert_eq!(
        sizes,
        ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "4.1 GB"]
    );
    let times: Vec<_> = [0.04, 9.94, 9.96, 61.0, 7800.0, f64::INFINITY]
        .map(human_seconds)
        .into();
    assert_eq!(
        times,
        ["0.0 s", "9.9 s", "10 s", "1 min 01 s", "2 h 10 min", "?"]
    );
}
