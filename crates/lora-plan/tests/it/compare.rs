//! Runs side by side, and the charts.
use crate::house::{House, base, eval};
use lora_cli::Ui;
use lora_plan::{Chart, Line, compare};

#[test]
fn what_differs_what_it_cost_and_what_came_out() {
    let house = House::new();
    let data = house.tasks(120);
    for (name, rate) in [("low", "1e-4"), ("good", "5e-3")] {
        let run = house.train_as(name, &data, &["--lr", rate, "--epochs", "3"]);
        let (adapter, out) = (
            run.display().to_string(),
            house.text(&format!("{name}-report")),
        );
        eval(&[
            "--base",
            &base(),
            "--data",
            &data,
            "--adapter",
            &adapter,
            "--generate",
            "5",
            "--out",
            &out,
        ]);
    }
    let (rows, chart) = compare(&[house.path("")], &Ui::silent()).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| &row.run[..]).collect();
    assert_eq!(names, ["good", "low"]);
    let differs: Vec<_> = rows[0].differs.iter().collect();
    assert_eq!(differs, [(&"lr".to_owned(), &"0.005".to_owned())]);
    assert_eq!(rows[0].trainable, rows[1].trainable);
    assert!(rows.iter().all(|row| row.seconds.is_some()
        && row.peak_bytes.is_some()
        && row.tokens_per_s.is_some()));
    let (good, low) = (
        rows[0].difference_to_base.unwrap(),
        rows[1].difference_to_base.unwrap(),
    );
    assert!(
        good.low <= good.value && good.value <= good.high && good.high < low.low,
        "{good:?} {low:?}"
    );
    assert_eq!(rows[0].exact_match.map(|e| e.value), Some(0.0));
    assert_eq!(chart.lines.len(), 2);
    let apart = compare(&[house.path("good"), house.path("low")], &Ui::silent())
        .unwrap()
        .0;
    assert_eq!(apart, rows);
}

fn chart() -> Chart {
    let line = |name: &str, slope: f64| Line {
        name: name.to_owned(),
        points: (0..=10)
            .map(|x| (f64::from(x), slope * f64::from(x) + 1.0))
            .collect(),
    };
    let (x, y) = ("step".to_owned(), "loss <&>".to_owned());
    Chart {
        title: "two lines".to_owned(),
        x,
        y,
        log_y: false,
        lines: vec![line("up", 1.0), line("flat", 0.0)],
    }
}

#[test]
fn a_chart_in_text() {
    let text = chart().text(40, 12);
    assert!(
        text.iter().all(|line| line.chars().count() <= 50),
        "{text:#?}"
    );
    let marks = |mark: char| -> Vec<usize> {
        let rows = text.iter().skip(1).take(8).enumerate();
        rows.filter(|(_, line)| line.contains(mark))
            .map(|(row, _)| row)
            .collect()
    };
    assert_eq!(marks('b'), [7], "{text:#?}"); // the flat one stays at the bottom
    assert_eq!(marks('a'), [0, 1, 2, 3, 4, 5, 6], "{text:#?}"); // the last line is drawn above it
    assert!(text.last().unwrap().contains("a up   b flat"), "{text:#?}");
    let empty = Chart {
        lines: Vec::new(),
        ..chart()
    };
    assert!(empty.text(40, 12)[1].contains("nothing"));
    let odd = Line {
        name: "odd".to_owned(),
        points: vec![(0.0, f64::NAN), (1.0, 2.0)],
    };
    assert!(
        Chart {
            lines: vec![odd],
            log_y: true,
            ..chart()
        }
        .text(40, 12)
        .iter()
        .any(|line| line.contains('•'))
    );
}

/// Titles, axes, legends: nothing is wider than the terminal, however long the names are, and every name is there.
#[test]
fn a_chart_in_text_keeps_to_every_width() {
    let name = "work/sweep/train@base=some/model-of-a-long-name,targets=attention,lr=0.0005,rank";
    for lines in [1, 2, 6, 30] {
        for log_y in [false, true] {
            let many = Chart {
                title: "loss on the valid split of a dataset with a name that is rather long"
                    .to_owned(),
                y: "nats per supervised token".to_owned(),
                x: "step of the optimiser, of which an epoch has a few hundred".to_owned(),
                log_y,
                lines: (0..lines)
                    .map(|number| Line {
                        name: format!("{name}={number}"),
                        points: vec![(1.0, 1.0), (12_345.0, 0.001 * f64::from(number + 1))],
                    })
                    .collect(),
            };
            for width in [20, 40, 60, 80, 100, 200] {
                let text = many.text(width, 18);
                for line in &text {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                }
                let whole: String = text.concat().replace(' ', "");
                let named = (0..lines).all(|number| whole.contains(&format!("={number}")));
                assert!(named || lines == 1, "{width}: {text:#?}");
            }
        }
    }
}

#[test]
fn a_chart_as_svg() {
    let svg = chart().svg();
    assert_eq!(svg.matches("<polyline").count(), 2);
    assert!(
        svg.contains("loss &lt;&amp;&gt;") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
    let first = svg
        .split("points=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let places: Vec<f64> = first
        .split([' ', ','])
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(
        places.len() == 22
            && places
                .chunks(2)
                .all(|p| (0.0..=720.0).contains(&p[0]) && (0.0..=420.0).contains(&p[1]))
    );
}

#[test]
fn many_lines_are_told_apart_and_none_runs_through_a_name() {
    let line = |number: usize| Line {
        name: format!("a setting of the run with the long name, number {number}"),
        points: (1..=4)
            .map(|x| (f64::from(x), (x as f64) * number as f64 + 1.0))
            .collect(),
    };
    let many = Chart {
        lines: (0..16).map(line).collect(),
        ..chart()
    };
    let svg = many.svg();
    let attribute = |text: &str, name: &str| -> String {
        text.split(&format!(" {name}=\""))
            .nth(1)
            .unwrap_or_default()
            .split('"')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let strokes: std::collections::BTreeSet<(String, String)> = svg
        .lines()
        .filter(|line| line.starts_with("<polyline"))
        .map(|line| {
            (
                attribute(line, "stroke"),
                attribute(line, "stroke-dasharray"),
            )
        })
        .collect();
    assert_eq!(strokes.len(), 16);
    let height: f64 = attribute(&svg, "viewBox")
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let names: Vec<f64> = svg
        .lines()
        .filter(|line| line.contains("a setting"))
        .map(|line| attribute(line, "y").parse().unwrap())
        .collect();
    assert_eq!(names.len(), 16);
    assert!(
        names.iter().all(|y| (420.0..height).contains(y)),
        "{names:?} of {height}"
    );
    // Above 0, but near it: the axis begins there, and the lowest line lies above it.
    let lowest = svg
        .split("points=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .rsplit(',')
        .next()
        .unwrap();
    assert!(lowest.parse::<f64>().unwrap() < 366.0, "{lowest}");
    let text = many.text(80, 16);
    assert!(
        text.iter().all(|line| line.chars().count() <= 80),
        "{text:#?}"
    );
    assert_eq!(
        text.iter()
            .filter(|line| line.contains("a setting"))
            .count(),
        16
    );
}
