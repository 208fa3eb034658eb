//! A line of text in several colours.

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Plain,
    Dim,
    Bold,
    Good,
    Warning,
    Bad,
}

impl Look {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// A line, made piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Line(Vec<(Look, String)>);

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    /// With another piece at its end.
    #[must_use]
    pub fn and(mut self, look: Look, text: impl Into<String>) -> Self {
        self.0.push((look, text.into()));
        self
    }

    /// With spaces at its end, up to this column.
    #[must_use]
    pub fn to(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.width());
        self.and(Look::Plain, " ".repeat(missing))
    }

    /// With a piece that ends at this column.
    #[must_use]
    pub fn right(self, column: usize, look: Look, text: impl Into<String>) -> Self {
        let text = text.into();
        let from = column.saturating_sub(text.chars().count());
        self.to(from).and(look, text)
    }

    /// Adds the pieces of another line.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// As text of at most `width` columns.
    pub fn render(&self, width: usize, colours: bool) -> String {
        let mut rendered = String::new();
        let mut left = width;
        for (look, text) in &self.0 {
            let piece: String = text.chars().take(left).collect();
            left -= piece.chars().count();
            if colours && !look.code().is_empty() {
                rendered.push_str(look.code());
                rendered.push_str(&piece);
                rendered.push_str("\x1b[0m");
            } else {
                rendered.push_str(&piece);
            }
        }
        rendered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_edge_and_its_colours_end() {
        let line = Line::new().and(Look::Good, "abc").and(Look::Plain, "def");
        assert_eq!(line.render(4, false), "abcd");
        assert_eq!(line.render(2, true), "\x1b[32mab\x1b[0m");
    }

    #[test]
    fn columns_are_counted_in_characters() {
        let line = Line::new().and(Look::Plain, "██").to(4).right(8, Look::Plain, "12");
        assert_eq!(line.render(80, false), "██    12");
    }
}
