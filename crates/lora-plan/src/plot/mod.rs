//! Small charts: lines over a common x axis, as text for a terminal or as an SVG file.
mod scale;
mod svg;
mod terminal;

use lora_cli::Foreign as _;
use lora_cli::{Context as _, Result};
use std::path::Path;

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// One line above it.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// True if y is best read as ratios.
    pub log_y: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// (x, y), x ascending. Points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// As lines of text, at most `width` characters wide.
    pub fn text(&self, width: usize, height: usize) -> Vec<String> {
        terminal::draw(self, width, height)
    }

    /// As an SVG document.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }

    /// Writes the SVG document.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.svg())
            .foreign()
            .context(|| format!("failed to write {}", path.display()))
    }

    /// All points that can be drawn.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.lines.iter().flat_map(|line| self.drawable(line))
    }

    fn drawable<'l>(&'l self, line: &'l Line) -> impl Iterator<Item = (f64, f64)> + 'l {
        let fits =
            |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!self.log_y || y > 0.0);
        line.points.iter().copied().filter(fits)
    }
}

/// Points averaged in groups, so that at most `most` are left: a noisy curve as the eye would draw it.
pub(crate) fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(most.max(1)).max(1);
    let middle = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (
            part.iter().map(|p| p.0).sum::<f64>() / n,
            part.iter().map(|p| p.1).sum::<f64>() / n,
        )
    };
    points.chunks(group).map(middle).collect()
}
