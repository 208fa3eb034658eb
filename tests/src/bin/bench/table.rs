//! Tables, as Markdown and as a terminal shows them best: the same.

use std::fmt::{self, Display};

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not as many cells as the head.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells);
    }
}

/// The first column is text, the others are figures.
impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |cell: &String| cell.chars().count();
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.head]);
            cells.map(|row| length(&row[column])).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        for (number, row) in [&self.head].into_iter().chain(&self.rows).enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let width = *width;
                if column == 0 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    if column == 0 { write!(f, "|{dashes}-")? } else { write!(f, "|{dashes}:")? }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// A figure with three significant digits, and a comma between thousands.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if !(0.000_5..100.0).contains(&size) => thousands(value),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

/// What was aimed at, and whether that was reached.
pub fn verdict(aim: &str, reached: bool) -> String {
    format!("{aim}: {}", if reached { "hit" } else { "missed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_figures_stand_right() {
        let mut table = Table::new(["", "per s"]);
        table.row(["direct".to_owned(), "14,750".to_owned()]);
        table.row(["µ".to_owned(), "9".to_owned()]);
        let text = "|        |  per s |\n\
                    |--------|-------:|\n\
                    | direct | 14,750 |\n\
                    | µ      |      9 |\n";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn figures_have_three_digits_or_all_before_the_point() {
        let cases = [
            (1_234_567.8, "1,234,568"),
            (999.6, "1,000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (9.996, "10.0"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
            (0.0, "0"),
            (-0.1, "-0.100"),
            (-1500.0, "-1,500"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
    }
}
