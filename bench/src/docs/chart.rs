//! The ratios as a chart, in SVG written by hand: bars and text are all that it needs.

use std::fmt::Write;

use super::{Measured, decimals};
use crate::aes::Figure;
use crate::aes::case::{Mode, SHAPES, Shape};
use crate::aes::targets::is_basic;

/// docs/aes-benchmark.svg: for AES-128 and one thread, a bar for each mode and message. The axis is logarithmic and the bars
/// begin at 1, so that twice as fast and half as fast look the same, to the right and to the left.
pub fn chart(measured: &Measured, figures: &[Figure]) -> String {
    let axis = Axis::of(figures);
    let height = TOP + Mode::ALL.len() as f64 * GROUP + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#24292f\">\n\
         <title>AES-128: how many times as fast as the server's own functions</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, LEFT, 26.0, "font-size=\"17\" font-weight=\"bold\"", TITLE);
    let cpu = format!("{} ({}), one thread", measured.cpu.name, measured.cpu.aes());
    text(&mut svg, LEFT, 46.0, MUTED, &cpu);
    text(&mut svg, LEFT, 64.0, MUTED, &format!("{}; plugin {}; {}", measured.server, measured.plugin, measured.date));
    let (top, bottom) = (TOP - 8.0, height - BOTTOM);
    for tick in axis.ticks() {
        let (x, one) = (axis.x_of(tick), tick == 1.0);
        let (color, width) = if one { ("#24292f", 2) } else { ("#d0d7de", 1) };
        line(&mut svg, x, top, bottom, &format!("stroke=\"{color}\" stroke-width=\"{width}\""));
        text(&mut svg, x, bottom + 18.0, "text-anchor=\"middle\"", &format!("{tick}"));
    }
    text(
        &mut svg,
        axis.x_of(1.0) + 6.0,
        bottom + 40.0,
        "",
        "as fast as the server at 1; faster to the right, slower to the left",
    );
    for (index, mode) in Mode::ALL.into_iter().enumerate() {
        group(&mut svg, TOP + index as f64 * GROUP, mode, figures, axis);
    }
    svg += "</svg>\n";
    svg
}

fn group(svg: &mut String, top: f64, mode: Mode, figures: &[Figure], axis: Axis) {
    text(svg, 12.0, top + HEADING - 8.0, "font-weight=\"bold\"", &mode.to_string());
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let y = top + HEADING + index as f64 * BAR;
        text(svg, LABELS, y + 13.0, "text-anchor=\"end\"", shape.name);
        if let Some(ratio) = ratio(figures, mode, shape) {
            bar(svg, y, ratio, axis);
        }
    }
}

fn bar(svg: &mut String, y: f64, ratio: f64, axis: Axis) {
    let (one, end) = (axis.x_of(1.0), axis.x_of(ratio));
    let color = if ratio >= 1.0 { "#0969da" } else { "#cf222e" };
    let (x, width) = (one.min(end), (end - one).abs().max(1.0));
    let _ =
        writeln!(svg, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{color}\"/>", y + 1.0);
    // Behind the bar, also behind one that goes to the left: there, at its right end, is the line at 1.
    text(svg, one.max(end) + 6.0, y + 13.0, "", &decimals(ratio));
}

fn ratio(figures: &[Figure], mode: Mode, shape: Shape) -> Option<f64> {
    let mut basic = figures.iter().filter(|figure| is_basic(figure.case));
    basic.find(|figure| figure.case.mode == mode && figure.case.shape == shape).map(|figure| figure.ratio)
}

/// From [`LEAST`] to a power of two beyond the largest ratio.
#[derive(Clone, Copy)]
struct Axis {
    most: f64,
}

impl Axis {
    fn of(figures: &[Figure]) -> Self {
        let basic = figures.iter().filter(|figure| is_basic(figure.case));
        let largest = basic.map(|figure| figure.ratio).fold(1.0, f64::max);
        // Room for the figure behind the bar.
        Self { most: (largest * 1.1).log2().ceil().exp2().max(2.0) }
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(LEAST), |tick| Some(tick * 2.0)).take_while(move |tick| *tick <= self.most)
    }

    fn x_of(self, ratio: f64) -> f64 {
        let share = (ratio.clamp(LEAST, self.most) / LEAST).ln() / (self.most / LEAST).ln();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }
}

fn text(svg: &mut String, x: f64, y: f64, attributes: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    // Writing to a string never fails.
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>");
}

fn line(svg: &mut String, x: f64, top: f64, bottom: f64, attributes: &str) {
    let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" {attributes}/>");
}

const TITLE: &str = "AES-128: how many times as fast as the server's own functions";
const MUTED: &str = "fill=\"#57606a\"";

// Pixels.
const WIDTH: f64 = 820.0;
const TOP: f64 = 88.0;
const BOTTOM: f64 = 56.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 60.0;
const LABELS: f64 = 142.0;
const HEADING: f64 = 26.0;
const BAR: f64 = 18.0;
const GROUP: f64 = HEADING + SHAPES.len() as f64 * BAR + 8.0;

// A ratio.
const LEAST: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aes::case::Case;
    use crate::machine::Cpu;

    #[test]
    fn each_mode_and_message_has_a_bar_and_its_figure() {
        let figures: Vec<Figure> = Case::all()
            .map(|case| Figure { case, server_ns: 1.0, plugin_ns: 1.0, ratio: 2.345, of_limit: None })
            .collect();
        let cpu = Cpu { name: "<a> & b".to_owned(), count: 2, has_vaes_512: true };
        let measured = Measured { cpu, date: String::new(), server: String::new(), plugin: String::new() };
        let svg = chart(&measured, &figures);
        assert_eq!(svg.matches("fill=\"#0969da\"").count(), Mode::ALL.len() * SHAPES.len());
        assert_eq!(svg.matches(">2.35<").count() + svg.matches(">2.34<").count(), Mode::ALL.len() * SHAPES.len());
        assert!(svg.contains("&lt;a> &amp; b"));
    }

    #[test]
    fn a_bar_ends_inside_the_chart_whatever_the_ratio() {
        let axis = Axis { most: 16.0 };
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]);
        assert!(axis.x_of(1.0) < axis.x_of(2.0));
        assert_eq!((axis.x_of(0.0), axis.x_of(1000.0)), (LEFT, WIDTH - RIGHT));
    }
}
