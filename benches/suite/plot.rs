//! Bar charts of the throughput of each contender on one core.

use crate::measure::{Results, Spread};
use plotters::prelude::*;
use std::{error::Error, path::Path};

const OURS: RGBColor = RGBColor(37, 99, 160);
const THEIRS: RGBColor = RGBColor(150, 150, 150);
const INK: RGBColor = RGBColor(90, 90, 90);

/// A plot: its title, and the label and window of each bar.
struct Plot {
    file: &'static str,
    title: &'static str,
    bars: &'static [(&'static str, &'static str)],
}

const PLOTS: [Plot; 3] = [
    Plot {
        file: "verify.svg",
        title: "Verified access tokens a second, one core",
        bars: &[
            ("bare warp", "warp/bare/32"),
            ("bare warp + HS256", "warp/verify/32"),
            ("Doorward: verify", "doorward/verify/32"),
            ("Doorward: me", "doorward/me/32"),
            ("Express tuned: verify", "express-map-tuned/verify/32"),
            ("Express as written: verify", "express-map/verify/32"),
            ("PocketBase: own record", "pocketbase/me/32"),
            ("Django + simplejwt: me", "django/me/32"),
            ("better-auth: session", "better-auth/me/32"),
        ],
    },
    Plot {
        file: "refresh.svg",
        title: "Refreshes a second, 32 connections, one core",
        bars: &[
            ("Doorward, not waiting", "doorward-no-fsync/refresh/32"),
            ("Doorward", "doorward/refresh/32"),
            ("PocketBase (no rotation)", "pocketbase/refresh/32"),
            ("Express, Map, tuned", "express-map-tuned/refresh/32"),
            ("Express, PostgreSQL, tuned", "express-pg-tuned/refresh/32"),
            ("Express, PostgreSQL", "express-pg/refresh/32"),
            ("better-auth (no rotation)", "better-auth/refresh/32"),
            ("Django + simplejwt", "django/refresh/32"),
        ],
    },
    Plot {
        file: "login.svg",
        title: "Sign-ins a second, one core, each with its own default hash",
        bars: &[
            ("Doorward (scrypt 2^15, p=3)", "doorward/login/8"),
            ("PocketBase (bcrypt 10)", "pocketbase/login/8"),
            ("better-auth (scrypt 2^14, r=16)", "better-auth/login/8"),
            ("Express (bcrypt 12)", "express-map-tuned/login/8"),
            ("Django (PBKDF2)", "django/login/8"),
        ],
    },
];

/// Draws all plots, each with the bars that were measured.
pub fn draw(results: &Results, out: &Path) -> Result<(), Box<dyn Error>> {
    for plot in &PLOTS {
        let rate = |name: &str| Spread::of(results.of(name, |window| window.per_second));
        let bars: Vec<_> = plot.bars.iter().filter_map(|(label, name)| Some((*label, rate(name)?))).collect();
        if !bars.is_empty() {
            bar_chart(&out.join(plot.file), plot.title, &bars)?;
        }
    }
    Ok(())
}

/// Draws horizontal bars of the medians, each with a line for the spread.
fn bar_chart(path: &Path, title: &str, bars: &[(&str, Spread)]) -> Result<(), Box<dyn Error>> {
    const ROW: i32 = 34;
    const LEFT: i32 = 250;
    const WIDTH: i32 = 860;
    let rows = i32::try_from(bars.len())?;
    let height = u32::try_from(60 + ROW * rows)?;
    let root = SVGBackend::new(path, (u32::try_from(WIDTH)?, height)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title, (20, 16), ("sans-serif", 18).into_font().color(&BLACK)))?;
    let most = bars.iter().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    #[allow(clippy::cast_possible_truncation)]
    let x = |figure: f64| LEFT + (figure / most * f64::from(WIDTH - LEFT - 110)) as i32;
    for (row, (label, spread)) in (0..).zip(bars) {
        let top = 50 + ROW * row;
        let color = if label.starts_with("Doorward") { OURS } else { THEIRS };
        let style = ("sans-serif", 14).into_font();
        root.draw(&Text::new(*label, (20, top + 5), style.color(&BLACK)))?;
        root.draw(&Rectangle::new([(LEFT, top), (x(spread.median), top + 22)], color.filled()))?;
        root.draw(&PathElement::new([(x(spread.min), top + 11), (x(spread.max), top + 11)], BLACK.stroke_width(2)))?;
        let said = if spread.median < 100.0 { format!("{:.1}", spread.median) } else { format!("{:.0}", spread.median) };
        root.draw(&Text::new(said, (x(spread.max) + 8, top + 5), style.color(&INK)))?;
    }
    root.present()?;
    Ok(())
}
