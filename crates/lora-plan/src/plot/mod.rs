//! Small charts: lines over a common x axis, as text for a terminal or as an SVG file.
mod chart;
mod scale;
mod svg;
mod terminal;

pub use chart::{Chart, Line};

use lora_cli::Foreign as _;
use lora_cli::{Context as _, Result};
use std::path::Path;

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
