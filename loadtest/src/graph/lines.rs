//! Curves over a plain scale, or over one where the tail of a distribution has as much room as
//! its middle.

use std::path::Path;

use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, SeriesLabelPosition},
    drawing::IntoDrawingArea as _,
    element::{Circle, PathElement},
    series::LineSeries,
    style::{BLACK, Color as _, IntoFont as _, RGBColor, WHITE},
};

use super::SIZE;

/// Colours that people who see few of them can tell apart (Okabe and Ito).
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

/// A chart of curves.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) scale: Scale,
    pub(super) curves: Vec<Curve>,
}

/// One curve.
pub(super) struct Curve {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Where a point stands from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// At its number.
    Plain,
    /// At how many nines its share has: 90 %, 99 % and 99.9 % are as far from each other.
    Nines,
}

impl Scale {
    fn place(self, x: f64) -> f64 {
        match self {
            Self::Plain => x,
            Self::Nines => -(1.0 - x.min(0.999_999)).log10(),
        }
    }

    fn label(self, place: f64) -> String {
        match self {
            Self::Plain => format!("{place:.0}"),
            // Between two nines no number says anything.
            Self::Nines if (place - place.round()).abs() > 1e-6 => String::new(),
            Self::Nines => {
                let percent = 100.0 * (1.0 - 10_f64.powf(-place));
                let nines = (place - 2.0).max(0.0).ceil() as usize;
                format!("{percent:.nines$} %")
            }
        }
    }
}

impl Lines {
    /// Draws it; false when there is nothing to draw.
    pub(super) fn draw(&self, path: &Path) -> Result<bool, String> {
        if self.curves.iter().all(|curve| curve.points.is_empty()) {
            return Ok(false);
        }
        self.plot(path).map_err(|error| error.to_string())?;
        Ok(true)
    }

    fn plot(&self, path: &Path) -> Result<(), Box<dyn std::error::Error + '_>> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let greatest = |of: &dyn Fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
        let right = greatest(&|point| self.scale.place(point.0));
        let top = greatest(&|point| point.1);
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18).into_font())
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(
                0.0..(right * 1.03).max(f64::EPSILON),
                0.0..(top * 1.15).max(f64::EPSILON),
            )?;
        let labels = match self.scale {
            Scale::Plain => 9,
            // A step of a half at most: else some nines would have no label.
            Scale::Nines => 2 * right.ceil() as usize + 2,
        };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(labels)
            .x_label_formatter(&|place| self.scale.label(*place))
            .x_desc(self.x)
            .y_desc(self.y)
            .draw()?;
        for (n, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let points: Vec<(f64, f64)> = (curve.points.iter())
                .map(|(x, y)| (self.scale.place(*x), *y))
                .collect();
            let dots = points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots)?;
            chart
                .draw_series(LineSeries::new(
                    points.iter().copied(),
                    colour.stroke_width(2),
                ))?
                .label(&curve.label)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_one_step() {
        let scale = Scale::Nines;
        for (share, place, label) in [
            (0.0, 0.0, "0 %"),
            (0.9, 1.0, "90 %"),
            (0.99, 2.0, "99 %"),
            (0.999, 3.0, "99.9 %"),
        ] {
            assert!((scale.place(share) - place).abs() < 1e-9);
            assert_eq!(scale.label(place), label);
        }
        assert!(scale.place(1.0).is_finite());
        assert_eq!(scale.label(1.5), "");
    }
}
