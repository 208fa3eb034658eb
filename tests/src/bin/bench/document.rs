//! The document that holds the tables: only what stands between two marks is replaced, the words
//! around it are written by people.

use anyhow::{Context as _, Result, ensure};

/// A generated part of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What the marks call it.
    pub name: &'static str,
    pub text: String,
}

/// The document with `block` in the place of the one of that name.
pub fn replace(document: &str, block: &Block) -> Result<String> {
    let begin = format!("<!-- generated: {} -->\n", block.name);
    let end = format!("<!-- end: {} -->\n", block.name);
    let place = |mark: &str| {
        let mut found = document.match_indices(mark).map(|(place, _)| place);
        let place = found.next().with_context(|| format!("no line `{}`", mark.trim()))?;
        ensure!(found.next().is_none(), "more than one line `{}`", mark.trim());
        anyhow::Ok(place)
    };
    let (from, to) = (place(&begin)? + begin.len(), place(&end)?);
    ensure!(from <= to, "`{}` comes before `{}`", end.trim(), begin.trim());
    Ok(format!("{}\n{}\n\n{}", &document[..from], block.text.trim(), &document[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Words\n\n<!-- generated: a -->\nold\n<!-- end: a -->\n\nmore words\n\
                            <!-- generated: b -->\n<!-- end: b -->\n";

    fn block(name: &'static str) -> Block {
        Block { name, text: "\nnew\nlines\n".to_owned() }
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let once = replace(DOCUMENT, &block("a")).unwrap();
        let expected = DOCUMENT.replace("\nold\n", "\n\nnew\nlines\n\n");
        assert_eq!(once, expected);
        assert_eq!(replace(&once, &block("a")).unwrap(), once);
    }

    #[test]
    fn a_block_without_its_two_marks_is_an_error() {
        let says = |document: &str| replace(document, &block("a")).unwrap_err().to_string();
        assert_eq!(says("nothing"), "no line `<!-- generated: a -->`");
        assert_eq!(says("<!-- generated: a -->\n"), "no line `<!-- end: a -->`");
        let turned = "<!-- end: a -->\n<!-- generated: a -->\n";
        assert!(says(turned).contains("comes before"));
        assert!(says(&DOCUMENT.repeat(2)).contains("more than one"));
    }

    #[test]
    fn the_report_of_this_repository_has_a_place_for_every_block() {
        let report = include_str!("../../../../docs/benchmarks.md");
        for name in crate::BLOCKS {
            replace(report, &block(name)).unwrap();
        }
    }
}
