//! [`Stage`]: how the demo looks on a terminal: headings, tables, colour only where it is shown.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Where things are printed, and since when.
pub struct Stage {
    colour: bool,
    begin: Instant,
}

impl Stage {
    /// Standard output: in colour when a person watches who has not asked for none (NO_COLOR).
    pub fn standard() -> Stage {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Stage { colour, begin: Instant::now() }
    }

    /// Since the demo began.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// An act begins.
    pub fn heading(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    /// A sentence, or whatever is one line.
    pub fn line(&self, text: &str) {
        println!("{text}");
    }

    /// Rows with aligned columns, the first row as a caption. Cells must not be painted.
    pub fn table(&self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = format!("   {}", cells.collect::<Vec<_>>().join("  "));
            let line = line.trim_end();
            println!("{}", if number == 0 { self.dim(line) } else { line.to_owned() });
        }
    }

    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Milli- or microseconds, short.
pub fn brief(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{:.1} ms", micros as f64 / 1000.0),
        _ => format!("{} ms", micros / 1000),
    }
}
