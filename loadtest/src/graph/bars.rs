//! Bars in parts, each beside another bar that it is compared with.

use std::path::Path;

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    drawing::IntoDrawingArea as _,
    element::Rectangle,
    style::{BLACK, Color as _, IntoFont as _, RGBColor, WHITE},
};

use super::{SIZE, lines::COLOURS};

/// How wide a bar is, where the distance from case to case is 1.
const WIDTH: f64 = 0.3;
/// Of what a case is compared with.
const GREY: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);

/// A bar chart.
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// What the parts of a bar are, from below.
    pub(super) parts: Vec<&'static str>,
    /// What stands beside each.
    pub(super) beside: &'static str,
    pub(super) cases: Vec<Bar>,
}

/// A case.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) parts: Vec<f64>,
    pub(super) beside: f64,
}

impl Bars {
    /// Draws it; false when there is nothing to draw.
    pub(super) fn draw(&self, path: &Path) -> Result<bool, String> {
        if self.cases.is_empty() {
            return Ok(false);
        }
        self.plot(path).map_err(|error| error.to_string())?;
        Ok(true)
    }

    fn plot(&self, path: &Path) -> Result<(), Box<dyn std::error::Error + '_>> {
        let top = (self.cases.iter())
            .map(|bar| bar.parts.iter().sum::<f64>().max(bar.beside))
            .fold(0.0, f64::max);
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let count = self.cases.len() as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18).into_font())
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(56)
            // The legend stands above the bars.
            .build_cartesian_2d(-0.5..count - 0.5, 0.0..top * 1.35)?;
        let label = |x: &f64| {
            let case = x.round();
            let near = (x - case).abs() < 1e-6 && case >= 0.0;
            let bar = near.then(|| self.cases.get(case as usize)).flatten();
            bar.map_or_else(String::new, |bar| bar.label.clone())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(self.cases.len() * 2 + 1)
            .x_label_formatter(&label)
            .y_desc(self.unit)
            .draw()?;
        for (part, name) in self.parts.iter().enumerate() {
            let colour = COLOURS[part % COLOURS.len()];
            let rectangles = self.cases.iter().enumerate().map(|(case, bar)| {
                let below: f64 = bar.parts[..part].iter().sum();
                let x = case as f64;
                let corners = [(x - WIDTH, below), (x, below + bar.parts[part])];
                Rectangle::new(corners, colour.filled())
            });
            chart
                .draw_series(rectangles)?
                .label(*name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
                });
        }
        let beside = self.cases.iter().enumerate().map(|(case, bar)| {
            let x = case as f64;
            Rectangle::new([(x, 0.0), (x + WIDTH, bar.beside)], GREY.filled())
        });
        chart
            .draw_series(beside)?
            .label(self.beside)
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], GREY.filled()));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
        Ok(())
    }
}
