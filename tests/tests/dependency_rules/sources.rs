//! The modules of a crate, as its sources declare them, and the paths each of them names. What is
//! compiled only for tests is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens as _;
use syn::{Attribute, Item, ItemMod};

use crate::paths;

/// A path of names: `["tokio", "time", "sleep"]`. What starts with `crate`, `self` or `super` is
/// given from the root of its crate, which is called `crate`.
pub type Names = Vec<String>;

/// The paths named in each module, by the module's own path (`""`, `config`, `health::state`).
#[derive(Debug, Default)]
pub struct Crate(pub BTreeMap<String, BTreeSet<Names>>);

impl Crate {
    /// Reads the module tree that starts at `root`, such as `src/lib.rs`.
    pub fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        let directory = root.parent().unwrap();
        modules.add_file(root, directory, &[]);
        modules
    }

    /// The same from source text that declares no modules in other files.
    pub fn parse(text: &str) -> Self {
        let mut modules = Self::default();
        modules.add_items(syn::parse_file(text).unwrap().items, Path::new("none"), &[]);
        modules
    }

    /// The modules at or below one of these, with the paths they name.
    pub fn below<'a>(
        &'a self,
        roots: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a BTreeSet<Names>)> {
        let modules = self.0.iter().map(|(module, named)| (module.as_str(), named));
        modules.filter(move |(module, _)| roots.iter().any(|root| is_below(module, root)))
    }

    /// The modules that are neither at nor below one of these.
    pub fn outside<'a>(
        &'a self,
        roots: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a BTreeSet<Names>)> {
        let modules = self.0.iter().map(|(module, named)| (module.as_str(), named));
        modules.filter(move |(module, _)| !roots.iter().any(|root| is_below(module, root)))
    }

    fn add_file(&mut self, file: &Path, children: &Path, module: &[String]) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        if !is_for_tests(&parsed.attrs) {
            self.add_items(parsed.items, children, module);
        }
    }

    fn add_items(&mut self, items: Vec<Item>, children: &Path, module: &[String]) {
        self.0.entry(module.join("::")).or_default();
        for item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            if let Item::Mod(declared) = item {
                self.add_module(declared, children, module);
                continue;
            }
            let named = match &item {
                Item::Use(import) => paths::of_use(&import.tree),
                other => paths::of_tokens(other.to_token_stream()),
            };
            let named = named.into_iter().map(|path| paths::from_root(path, module));
            self.0.entry(module.join("::")).or_default().extend(named);
        }
    }

    fn add_module(&mut self, declared: ItemMod, children: &Path, module: &[String]) {
        let name = declared.ident.to_string();
        let below = [module, std::slice::from_ref(&name)].concat();
        match declared.content {
            Some((_, items)) => self.add_items(items, &children.join(&name), &below),
            None => self.add_file(&find(children, &name), &children.join(&name), &below),
        }
    }
}

/// `health::state` and `health::state::x` are below `health::state`; everything is below `""`.
pub fn is_below(module: &str, root: &str) -> bool {
    let rest = module.strip_prefix(root);
    rest.is_some_and(|rest| root.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

fn find(children: &Path, name: &str) -> PathBuf {
    let flat = children.join(format!("{name}.rs"));
    if flat.exists() { flat } else { children.join(name).join("mod.rs") }
}

/// `#[cfg(test)]`, also among other conditions that must all hold.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.to_token_stream().to_string().replace(' ', "");
        condition == "cfg(test)" || condition.starts_with("cfg(all(test,")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
