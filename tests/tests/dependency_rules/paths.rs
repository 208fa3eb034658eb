//! The paths that imports and code name.

use proc_macro2::{TokenStream, TokenTree};
use syn::UseTree;

use crate::sources::Names;

/// Every path a `use` brings in, groups taken apart.
pub fn of_use(tree: &UseTree) -> Vec<Names> {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let rest = of_use(&path.tree);
            rest.into_iter().map(|rest| [vec![first.clone()], rest].concat()).collect()
        }
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(rename) => vec![vec![rename.ident.to_string()]],
        UseTree::Glob(_) => vec![vec!["*".into()]],
        UseTree::Group(group) => group.items.iter().flat_map(of_use).collect(),
    }
}

/// Every path of more than one name in a piece of code, also inside macros.
pub fn of_tokens(tokens: TokenStream) -> Vec<Names> {
    let mut found = Vec::new();
    let mut path = Names::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Ident(ident) => {
                // One colon ends a path: `field: Type`.
                if colons != 2 {
                    keep(&mut found, &mut path);
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Group(group) => {
                keep(&mut found, &mut path);
                colons = 0;
                found.extend(of_tokens(group.stream()));
            }
            _ => {
                keep(&mut found, &mut path);
                colons = 0;
            }
        }
    }
    keep(&mut found, &mut path);
    found
}

/// Follows `crate`, `self` and `super` in a path named in `module`.
pub fn from_root(path: Names, module: &[String]) -> Names {
    let mut at = module.to_vec();
    let mut rest = path.as_slice();
    match rest.first().map(String::as_str) {
        Some("crate") => at.clear(),
        Some("self" | "super") => {}
        _ => return path,
    }
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            _ => break,
        }
        rest = after;
    }
    [vec!["crate".into()], at, rest.to_vec()].concat()
}

fn keep(found: &mut Vec<Names>, path: &mut Names) {
    let path = std::mem::take(path);
    if path.len() > 1 {
        found.push(path);
    }
}
