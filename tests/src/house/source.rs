//! [`Source`]: one Rust file as the house rules look at it: its functions with their lengths, its types, modules and
//! `unsafe` blocks. It states facts; what is allowed is `tests/tests/tidy.rs`'s.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One Rust file.
pub struct Source {
    /// Relative to the repository's root.
    pub path: PathBuf,
    /// As written.
    pub text: String,
    /// What was found in it.
    pub facts: Facts,
}

/// Something with a name, and the line (from 1) it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The line it begins at.
    pub line: usize,
}

/// A function, method or trait method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name and the line of its signature (attributes and documentation lie above).
    pub named: Named,
    /// Lines from the signature to the closing brace, both counted.
    pub lines: usize,
    /// `pub`, or a method of a `pub` trait. Methods that implement a trait are not: their signature is the trait's.
    pub public: bool,
    /// Parameters, `self` not counted.
    pub parameters: usize,
    /// How many of them are plain `bool`.
    pub booleans: usize,
}

/// What the house rules want to know of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Functions, nested ones included.
    pub functions: Vec<Function>,
    /// Structs, enums, unions, traits, type aliases and modules.
    pub nouns: Vec<Named>,
    /// `#[cfg(test)] mod … { … }` written in the file itself: name, line, and how many lines it has.
    pub test_modules: Vec<(Named, usize)>,
    /// The lines of `unsafe` blocks, functions and implementations.
    pub unsafe_lines: Vec<usize>,
    /// Macros that are called, by the last part of their path.
    pub macros: Vec<Named>,
    /// Attributes by name: `ignore`, `allow`, `test`.
    pub attributes: Vec<Named>,
    /// Paths of two parts or more that are named in expressions, by their last two parts: `thread::sleep`.
    pub paths: Vec<Named>,
}

impl Source {
    /// Reads a file's facts.
    ///
    /// # Errors
    /// When the text is not Rust.
    pub fn parse(path: &Path, text: String) -> Result<Source> {
        let file = syn::parse_file(&text)
            .map_err(|e| anyhow!("{}:{} is not Rust: {e}", path.display(), e.span().start().line))?;
        let mut walk = Walk::default();
        walk.visit_file(&file);
        Ok(Source { path: path.to_owned(), text, facts: walk.facts })
    }

    /// How many lines the file has.
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// The top-level directory that the file is in: `kernel`, `tests`.
    pub fn room(&self) -> &str {
        self.path.components().next().and_then(|part| part.as_os_str().to_str()).unwrap_or("")
    }

    /// Whether the whole file is test code: `…/tests.rs`, or anything below a `tests` directory.
    pub fn is_test(&self) -> bool {
        let below_tests = |path: &Path| path.components().any(|part| part.as_os_str() == "tests");
        let inside = self.path.strip_prefix(self.room()).unwrap_or(&self.path);
        self.path.ends_with("tests.rs") || below_tests(inside)
    }

    /// Whether a comment with `SAFETY:` stands on a line or in the few lines above it, within the same block of code
    /// (no empty line between). Clippy checks the exact place; this checks that nobody switched Clippy off.
    pub fn has_proof_at(&self, line: usize) -> bool {
        let above = self.text.lines().take(line).collect::<Vec<_>>();
        above.iter().rev().take(12).take_while(|line| !line.trim().is_empty()).any(|line| {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            comment.contains("SAFETY:") || comment.contains("# Safety")
        })
    }
}

/// Collects [`Facts`] while walking the syntax tree.
#[derive(Default)]
struct Walk {
    facts: Facts,
    in_public_trait: bool,
}

impl Walk {
    fn noun(&mut self, ident: &syn::Ident) {
        self.facts.nouns.push(named(ident));
    }

    fn function(&mut self, signature: &syn::Signature, public: bool, last_line: usize) {
        let types = signature.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(typed) => Some(&*typed.ty),
            syn::FnArg::Receiver(_) => None,
        });
        let is_bool = |ty: &&syn::Type| matches!(ty, syn::Type::Path(path) if path.path.is_ident("bool"));
        let line = signature.span().start().line;
        if signature.unsafety.is_some() {
            self.facts.unsafe_lines.push(line);
        }
        self.facts.functions.push(Function {
            named: Named { name: signature.ident.to_string(), line },
            lines: last_line + 1 - line,
            public,
            parameters: types.clone().count(),
            booleans: types.filter(is_bool).count(),
        });
    }
}

fn named(ident: &syn::Ident) -> Named {
    Named { name: ident.to_string(), line: ident.span().start().line }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, is_public(&item.vis), item.block.span().end().line);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, is_public(&item.vis), item.block.span().end().line);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, self.in_public_trait, item.span().end().line);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.noun(&item.ident);
        let outside = std::mem::replace(&mut self.in_public_trait, is_public(&item.vis));
        visit::visit_item_trait(self, item);
        self.in_public_trait = outside;
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.noun(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.noun(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.noun(&item.ident);
        visit::visit_item_union(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.noun(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.noun(&item.ident);
        if item.content.is_some() && item.attrs.iter().any(is_cfg_test) {
            let (first, last) = (item.ident.span().start().line, item.span().end().line);
            self.facts.test_modules.push((named(&item.ident), last + 1 - first));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(unsafety) = item.unsafety {
            self.facts.unsafe_lines.push(unsafety.span().start().line);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.facts.unsafe_lines.push(block.unsafe_token.span().start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.facts.macros.extend(call.path.segments.last().map(|segment| named(&segment.ident)));
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        self.facts.attributes.extend(attribute.path().segments.last().map(|segment| named(&segment.ident)));
        visit::visit_attribute(self, attribute);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let mut last_first = path.path.segments.iter().rev();
        if let (Some(last), Some(before)) = (last_first.next(), last_first.next()) {
            let name = format!("{}::{}", before.ident, last.ident);
            self.facts.paths.push(Named { name, line: before.ident.span().start().line });
        }
        visit::visit_expr_path(self, path);
    }
}

#[cfg(test)]
mod tests;
