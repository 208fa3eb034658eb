//! Tables for people: aligned columns, nothing around them.

use std::fmt::Write;

/// A table with a line of headings.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in a cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    Number,
    Good,
    Warning,
    Bad,
}

#[allow(clippy::needless_pass_by_value, reason = "most callers have just made the value")]
impl Cell {
    /// Text.
    pub fn text(text: impl ToString) -> Self {
        Self { text: text.to_string(), look: Look::Plain }
    }

    /// A number: stands at the right of its column.
    pub fn number(number: impl ToString) -> Self {
        Self { text: number.to_string(), look: Look::Number }
    }

    /// A word that says that all is well.
    pub fn good(text: impl ToString) -> Self {
        Self { text: text.to_string(), look: Look::Good }
    }

    /// A word that asks for attention.
    pub fn warning(text: impl ToString) -> Self {
        Self { text: text.to_string(), look: Look::Warning }
    }

    /// A word that something is wrong.
    pub fn bad(text: impl ToString) -> Self {
        Self { text: text.to_string(), look: Look::Bad }
    }
}

impl Table {
    /// A table with these columns.
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, with as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// The table as text. A column of numbers has its heading at the right, too.
    pub fn render(&self, colour: bool) -> String {
        let look = |row: &[Cell], column: usize| row.get(column).map(|cell| cell.look);
        let headings = self.headings.iter().enumerate().map(|(column, heading)| {
            let numbers = !self.rows.is_empty()
                && self.rows.iter().all(|row| look(row, column) == Some(Look::Number));
            if numbers { Cell::number(heading) } else { Cell::text(heading) }
        });
        let rows: Vec<Vec<Cell>> =
            std::iter::once(headings.collect()).chain(self.rows.iter().cloned()).collect();
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| rows.iter().filter_map(|row| row.get(column)).map(width).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for row in &rows {
            let line = render_row(row, &widths, colour);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn width(cell: &Cell) -> usize {
    cell.text.chars().count()
}

fn render_row(row: &[Cell], widths: &[usize], colour: bool) -> String {
    let mut line = String::new();
    for (cell, column) in row.iter().zip(widths) {
        let padding = " ".repeat(column - width(cell));
        let (before, after) = match cell.look {
            Look::Number => (padding.as_str(), ""),
            _ => ("", padding.as_str()),
        };
        let code = match cell.look {
            Look::Good => "32",
            Look::Warning => "33",
            Look::Bad => "31",
            Look::Plain | Look::Number => "",
        };
        // Writing to a String cannot fail.
        let _ = if colour && !code.is_empty() {
            write!(line, "{before}\x1b[{code}m{}\x1b[0m{after}  ", cell.text)
        } else {
            write!(line, "{before}{}{after}  ", cell.text)
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["BACKEND", "STATE", "OPEN"]);
        table.row(vec![Cell::text("mqtt/b1"), Cell::good("active"), Cell::number(7)]);
        table.row(vec![Cell::text("mqtt/broker-2"), Cell::bad("down"), Cell::number(12_345)]);
        table
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_at_the_right() {
        assert_eq!(
            table().render(false),
            "BACKEND        STATE    OPEN\n\
             mqtt/b1        active      7\n\
             mqtt/broker-2  down    12345\n"
        );
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let coloured = table().render(true);
        assert!(coloured.contains("\x1b[31mdown\x1b[0m"));
        let plain = coloured.replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "");
        assert_eq!(plain, table().render(false));
    }
}
