//! Draws `docs/statistics-ramp.svg`, a ramp without effect as each way to count shows it:
//!
//!     cargo test --test it -- --ignored stats::picture

use std::fmt::Write as _;

use super::draw::Tally;
use super::ramp::{DAYS, SHARES, fresh};
use super::returning::{Plan, returning};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 64.0;
/// Points at the upper and lower end.
const RANGE: (f64, f64) = (6.0, -3.0);
const GOOD: &str = "#1b7837";
const BAD: &str = "#b2182b";

fn x(at: usize) -> f64 {
    LEFT + at as f64 * (WIDTH - LEFT - 12.0) / 20.0
}

fn y(points: f64) -> f64 {
    let (top, bottom) = RANGE;
    TOP + (top - points.clamp(bottom, top)) / (top - bottom) * (HEIGHT - TOP - 40.0)
}

/// A tally's middle line, and the band that nine of ten runs stay in.
fn curve(svg: &mut String, tally: &Tally, colour: &str) {
    let (mut line, mut above, mut below) = (String::new(), vec![], vec![]);
    for (at, differences) in
        tally.by_day.iter().enumerate().filter(|(_, differences)| !differences.is_empty())
    {
        let mut sorted = differences.clone();
        sorted.sort_by(f64::total_cmp);
        let part = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
        let day = x(at + 1);
        write!(line, "{day:.1},{:.1} ", y(sorted.iter().sum::<f64>() / sorted.len() as f64)).unwrap();
        above.push(format!("{day:.1},{:.1}", y(part(0.95))));
        below.push(format!("{day:.1},{:.1}", y(part(0.05))));
    }
    below.reverse();
    let band = [above, below].concat().join(" ");
    writeln!(svg, r#"<polygon points="{band}" fill="{colour}" opacity="0.15"/>"#).unwrap();
    writeln!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
        line.trim_end()
    )
    .unwrap();
}

fn panel(svg: &mut String, offset: f64, title: &str, curves: [(&str, &Tally, &str); 2]) {
    writeln!(svg, r#"<g transform="translate({offset},0)">"#).unwrap();
    writeln!(svg, r#"<text x="{LEFT}" y="20" font-weight="bold">{title}</text>"#).unwrap();
    for (stage, share) in SHARES.iter().enumerate() {
        let from = x(stage * DAYS as usize);
        let (wide, high) = (x(DAYS as usize) - x(0), HEIGHT - TOP - 40.0);
        let fill = if stage % 2 == 0 { "#f4f4f4" } else { "#ffffff" };
        writeln!(svg, r#"<rect x="{from:.1}" y="{TOP}" width="{wide:.1}" height="{high}" fill="{fill}"/>"#)
            .unwrap();
        let (middle, below) = (from + wide / 2.0, HEIGHT - 24.0);
        let percent = 100.0 * share;
        writeln!(svg, r#"<text x="{middle:.1}" y="{below}" text-anchor="middle">{percent} %</text>"#)
            .unwrap();
    }
    for points in [-2, 0, 2, 4, 6] {
        let (at, right) = (y(f64::from(points)), x(20));
        let colour = if points == 0 { "#000000" } else { "#dddddd" };
        writeln!(svg, r#"<line x1="{LEFT}" x2="{right:.1}" y1="{at:.1}" y2="{at:.1}" stroke="{colour}"/>"#)
            .unwrap();
        let label = LEFT - 6.0;
        let sign = if points > 0 { "+" } else { "" };
        writeln!(svg, r#"<text x="{label}" y="{:.1}" text-anchor="end">{sign}{points}</text>"#, at + 4.0)
            .unwrap();
    }
    for ((name, tally, colour), line) in curves.into_iter().zip([36.0, 52.0]) {
        curve(svg, tally, colour);
        writeln!(svg, r#"<text x="{LEFT}" y="{line}" fill="{colour}">{name}</text>"#).unwrap();
    }
    writeln!(
        svg,
        r#"<text x="{:.1}" y="{}" text-anchor="middle">the variant's percentage, five days each</text>"#,
        x(10),
        HEIGHT - 6.0
    )
    .unwrap();
    svg.push_str("</g>\n");
}

#[test]
#[ignore = "writes a file of the documentation"]
fn draw() {
    let (once, back) = (fresh(1_000, 0.0), returning(&Plan::returning(), 200, "returning"));
    let whole = 2.0 * WIDTH;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {HEIGHT}" font-family="sans-serif" font-size="12">
<title>A ramp without any effect, as each way to count shows it: difference to control in points, mean and 90 % of runs</title>
<rect width="{whole}" height="{HEIGHT}" fill="#ffffff"/>
"##
    );
    let curves = [("counts thrown together", &once.pooled, BAD), ("by stage", &once.by_stage, GOOD)];
    panel(&mut svg, 0.0, "Shoppers who come once: difference in points", curves);
    let curves = [
        ("by stage, first exposure ever", &back.first_ever_by_stage, BAD),
        ("by stage, first exposure within the stage", &back.clustered, GOOD),
    ];
    panel(&mut svg, WIDTH, "Shoppers who come back: difference in points", curves);
    svg.push_str("</svg>\n");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/statistics-ramp.svg"), svg).unwrap();
}
