//! What stands at the top level of a Rust file, as far as a module has to be filled in. No parser: tokens and brackets.
//!
//! A file that rustc will refuse may be read wrongly here; then it is rustc who says so.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::lexer::{tokens, Kind, Token};

/// What a Rust file has at its top level.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Items {
    /// One of its items is a `#[pymodule]`.
    pub(super) has_module: bool,
    /// It has `#![...]` or `//!`, which only the root file of a crate or module can have.
    pub(super) has_inner: bool,
    /// The names of its `#[pyfunction]`s, each with its `#[cfg]`s, in their order.
    pub(super) functions: Vec<Item>,
    /// Those of its `#[pyclass]`es.
    pub(super) classes: Vec<Item>,
    /// The `mod name;`s without a path, with the place of each `mod` or what comes before it.
    pub(super) files: Vec<(usize, String)>,
    /// Where, behind the opening quote, paths stand that are relative to the file: `include_str!("...")` and others.
    pub(super) paths: Vec<usize>,
}

/// A function or class.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    /// Its `#[cfg(...)]`s, as they stand there.
    pub(super) conditions: String,
}

/// Reads a file's content.
pub(super) fn items(text: &str) -> Items {
    let tokens: Vec<Token> = tokens(text).collect();
    let mut reader = Reader {
        text,
        tokens: &tokens,
        items: Items::default(),
        attributes: Vec::new(),
    };
    reader.read();
    reader.items
}

struct Reader<'a> {
    text: &'a str,
    tokens: &'a [Token],
    items: Items,
    /// Those of the item that begins, each with the place of its `#`.
    attributes: Vec<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(token) = self.tokens.get(at) {
            self.note_path(at);
            match token.kind {
                Kind::Mark(b'#') if depth == 0 => {
                    at = self.attribute(at);
                    continue;
                }
                Kind::Mark(b'(' | b'[' | b'{') => depth += 1,
                Kind::Mark(b')' | b']' | b'}') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && token.kind == Kind::Mark(b'}') {
                        self.attributes.clear();
                    }
                }
                Kind::Mark(b';') if depth == 0 => self.attributes.clear(),
                Kind::InnerDoc if depth == 0 => self.items.has_inner = true,
                Kind::Word if depth == 0 => self.item(at),
                Kind::Word | Kind::Text | Kind::Literal | Kind::Mark(_) | Kind::InnerDoc => {}
            }
            at += 1;
        }
    }

    /// Takes an attribute in; gives the token after it.
    fn attribute(&mut self, start: usize) -> usize {
        let is_inner = self.is(start + 1, Kind::Mark(b'!'));
        let open = start + 1 + usize::from(is_inner);
        if !self.is(open, Kind::Mark(b'[')) {
            return start + 1;
        }
        let (mut at, mut depth) = (open, 0_usize);
        while let Some(token) = self.tokens.get(at) {
            self.note_path(at);
            match token.kind {
                Kind::Mark(b'(' | b'[' | b'{') => depth += 1,
                Kind::Mark(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
                Kind::Word | Kind::Text | Kind::Literal | Kind::Mark(_) | Kind::InnerDoc => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        if is_inner {
            self.items.has_inner = true;
        } else {
            self.attributes.push(start..at);
        }
        at
    }

    /// Takes an item in where its keyword stands.
    fn item(&mut self, at: usize) {
        let keyword = self.word(at);
        if !matches!(keyword, "fn" | "struct" | "enum" | "mod") || !self.is(at + 1, Kind::Word) {
            return;
        }
        let attributes = std::mem::take(&mut self.attributes);
        let names: Vec<&str> = attributes
            .iter()
            .map(|each| self.attribute_name(each))
            .collect();
        let has = |name: &str| names.contains(&name);
        self.items.has_module |= has("pymodule") && matches!(keyword, "fn" | "mod");
        let name = self.word(at + 1).to_owned();
        if keyword == "mod" {
            if self.is(at + 2, Kind::Mark(b';')) && !has("path") {
                let name = name.trim_start_matches("r#").to_owned();
                let start = self.start_of_item(at);
                self.items.files.push((start, name));
            }
            return;
        }
        let conditions = attributes
            .iter()
            .zip(&names)
            .filter(|(_, name)| **name == "cfg");
        let conditions = conditions.filter_map(|(each, _)| {
            let start = self.tokens.get(each.start)?.at.start;
            let end = self.tokens.get(each.end.checked_sub(1)?)?.at.end;
            self.text.get(start..end)
        });
        let conditions = conditions.collect::<Vec<_>>().join(" ");
        let item = Item { name, conditions };
        if keyword == "fn" && has("pyfunction") {
            self.items.functions.push(item);
        } else if keyword != "fn" && has("pyclass") {
            self.items.classes.push(item);
        }
    }

    /// Where `pub(crate) mod` begins.
    fn start_of_item(&self, keyword: usize) -> usize {
        let mut at = keyword;
        let is_visibility = |at: usize| {
            let word = self.word(at);
            matches!(word, "pub" | "crate" | "super" | "self" | "in")
                || self.is(at, Kind::Mark(b'('))
                || self.is(at, Kind::Mark(b')'))
                || self.is(at, Kind::Mark(b':'))
        };
        while at > 0 && is_visibility(at - 1) {
            at -= 1;
        }
        self.tokens.get(at).map_or(0, |token| token.at.start)
    }

    /// `pyo3::pyfunction(...)` -> `pyfunction`.
    fn attribute_name(&self, attribute: &Range<usize>) -> &'a str {
        let mut name = "";
        for at in attribute.start + 2..attribute.end {
            if self.is(at, Kind::Word) {
                name = self.word(at);
            } else if !self.is(at, Kind::Mark(b':')) {
                break;
            }
        }
        name
    }

    /// `include_str!("data.txt")`, `#[path = "other.rs"]`.
    fn note_path(&mut self, at: usize) {
        let is_path = match self.word(at) {
            "include" | "include_str" | "include_bytes" => {
                let brackets = [b'(', b'[', b'{'];
                let is_open = brackets
                    .iter()
                    .any(|each| self.is(at + 2, Kind::Mark(*each)));
                is_open && self.is(at + 1, Kind::Mark(b'!'))
            }
            "path" => {
                let is_attribute = at >= 2
                    && self.is(at - 1, Kind::Mark(b'['))
                    && self.is(at - 2, Kind::Mark(b'#'));
                is_attribute && self.is(at + 1, Kind::Mark(b'='))
            }
            _ => false,
        };
        let value = if self.word(at) == "path" {
            at + 2
        } else {
            at + 3
        };
        if is_path && self.is(value, Kind::Text) {
            let start = self.tokens.get(value).map_or(0, |token| token.at.start + 1);
            let is_relative = self
                .text
                .get(start..)
                .is_some_and(|rest| !rest.starts_with('/'));
            self.items.paths.extend(is_relative.then_some(start));
        }
    }

    fn is(&self, at: usize, kind: Kind) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == kind)
    }

    /// The text of a word; nothing where there is none.
    fn word(&self, at: usize) -> &'a str {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Word);
        token
            .and_then(|token| self.text.get(token.at.clone()))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| item.name.as_str()).collect()
    }

    #[test]
    fn functions_and_classes_of_the_top_level_are_found() {
        let found = items(
            r##"// firehot:pyo3
use pyo3::prelude::*;
const TEXT: &str = r#"#[pyfunction] fn not_this() { " "#;
const BRACE: (char, char, u8) = ('{', '\'', b'}');
/* #[pyfunction] fn nor_this() {} /* nested */ */
/// A doc with a quote " and a brace {
#[pyfunction]
#[pyo3(signature = (a, b = "}"))]
pub(crate) fn add(a: i64, b: &str) -> i64 { if a > 0 { 1 } else { 2 } }
#[pyo3::pyfunction(name = "other")] unsafe extern "C" fn raw<'a>(it: &'a str) -> &'a str { it }
#[pyfunction] async fn r#type() {}
#[cfg(feature = "x")] #[pyfunction] fn conditional() {}
#[pyclass(frozen)] #[derive(Clone)] struct Point { x: [u8; 2] }
#[pyclass] pub enum Kind { One, Two }
#[pyclass] struct Unit;
struct Plain(fn(i32) -> i32);
#[pymethods] impl Point { #[new] fn new() -> Self { todo!() } }
mod inner { #[pyfunction] fn hidden() {} }
fn plain() {}
"##,
        );
        assert_eq!(
            names(&found.functions),
            ["add", "raw", "r#type", "conditional"]
        );
        assert_eq!(names(&found.classes), ["Point", "Kind", "Unit"]);
        assert_eq!(found.functions[3].conditions, "#[cfg(feature = \"x\")]");
        assert!(!found.has_module && !found.has_inner);
    }

    #[test]
    fn a_module_is_seen_in_each_form() {
        for (text, has_module) in [
            (
                "#[pymodule]\nfn fast(m: &Bound<'_, PyModule>) -> PyResult<()> { Ok(()) }",
                true,
            ),
            (
                "#[pyo3::pymodule]\nmod fast { #[pymodule_export] use super::add; }",
                true,
            ),
            (
                "#[pymodule(gil_used = false)] #[pyo3(name = \"x\")] pub fn fast() {}",
                true,
            ),
            ("#[cfg(any())] #[pymodule] fn fast() {}", true),
            ("// #[pymodule]\nfn fast() {}", false),
            ("const A: &str = \"#[pymodule] fn fast() {}\";", false),
            ("mod deeper { #[pymodule] fn fast() {} }", false),
        ] {
            assert_eq!(items(text).has_module, has_module, "{text}");
        }
    }

    #[test]
    fn inner_attributes_and_docs_are_seen_at_the_top_alone() {
        for (text, has_inner) in [
            ("// firehot\n#![allow(dead_code)]\nfn a() {}", true),
            ("// firehot\n//! Docs.\n", true),
            ("/*! Docs. */", true),
            ("//// no docs\n/// Docs.\nfn a() {}", false),
            ("fn a() { #![allow(unused)] }\nmod b { //! Docs.\n }", false),
            ("const A: &str = \"#![x]\";", false),
        ] {
            assert_eq!(items(text).has_inner, has_inner, "{text}");
        }
    }

    #[test]
    fn relative_paths_are_found() {
        let text = "pub(crate) mod helper; mod r#type; mod inline { mod x; }\n#[path = \"../a.rs\"] mod a;\n\
                    fn f() { include_str!(\"b.txt\"); include_bytes! { \"/c\" }; include!(concat!(\"d\")); }";
        let found = items(text);
        let files: Vec<_> = found
            .files
            .iter()
            .map(|(at, name)| (&text[*at..*at + 3], name.as_str()))
            .collect();
        assert_eq!(files, [("pub", "helper"), ("mod", "type")]);
        let paths: Vec<_> = found.paths.iter().map(|at| &text[*at..*at + 4]).collect();
        assert_eq!(paths, ["../a", "b.tx"]);
    }

    #[test]
    fn no_text_makes_it_fail() {
        for text in [
            "", "'", "\"", "r#\"", "/*", "#", "#[", "#![", "b'", "'\\", "fn", "}}}", "\u{feff}",
            "é", "r#", "/*/",
        ] {
            items(text);
            items(&format!("#[pyfunction] fn é() {{}} {text}"));
        }
    }
}
