//! What is drawn.

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
    /// All points that can be drawn.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.lines.iter().flat_map(|line| self.drawable(line))
    }

    pub(super) fn drawable<'l>(&'l self, line: &'l Line) -> impl Iterator<Item = (f64, f64)> + 'l {
        let fits =
            |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!self.log_y || y > 0.0);
        line.points.iter().copied().filter(fits)
    }
}
