//! The library of a template: the user's file and the `#[pymodule]` that it lacks. Writes no file.
//!
//! The module has to be inside the user's code to see its private functions, and rustc has to name the user's file and
//! lines. `include!` does both, and keeps paths relative to the file; but it takes no inner attributes or docs. A file
//! that has these is copied, with its paths made absolute and the module behind its last line; rustc is told to
//! call the copy by the name of the file.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::Path;

use super::syntax::{Item, Items};

/// The library of a crate, filled in.
pub(super) struct Library {
    pub(super) text: String,
    /// It holds a copy of the user's file.
    pub(super) is_copy: bool,
}

/// Fills in the library of `name`, whose file is `file` and holds `text`.
pub(super) fn fill(name: &str, file: &str, text: &str, items: &Items) -> Library {
    let module = module(name, items);
    if items.has_inner {
        // The copy is the crate's source, yet cargo's list of sources has to name the file.
        let text = copy(file, text, items);
        let text = format!("{text}\nconst _: &[u8] = include_bytes!({file:?});\n{module}");
        return Library {
            text,
            is_copy: true,
        };
    }
    Library {
        text: format!("// Made by firehot.\ninclude!({file:?});\n\n{module}"),
        is_copy: false,
    }
}

fn module(name: &str, items: &Items) -> String {
    let mut text = format!(
        "mod firehot_module {{\n    #[::pyo3::pymodule]\n    #[pyo3(name = {name:?})]\n    \
         fn firehot_module(module: &::pyo3::Bound<'_, ::pyo3::types::PyModule>) -> ::pyo3::PyResult<()> {{\n        \
         #[allow(unused_imports)]\n        use ::pyo3::types::PyModuleMethods as _;\n        let _ = module;\n"
    );
    let mut add = |item: &Item, call: &str| {
        // A String takes everything.
        let line = format!("{} module.{call}?;", item.conditions);
        let _ = writeln!(text, "        {}", line.trim_start());
    };
    for item in &items.classes {
        add(item, &format!("add_class::<super::{}>()", item.name));
    }
    for item in &items.functions {
        add(
            item,
            &format!(
                "add_function(::pyo3::wrap_pyfunction!(super::{}, module)?)",
                item.name
            ),
        );
    }
    text.push_str("        Ok(())\n    }\n}\n");
    text
}

/// The same lines, where a file that is named relative to them is found from any other folder.
fn copy(file: &str, text: &str, items: &Items) -> String {
    let folder = Path::new(file).parent().unwrap_or(Path::new("/"));
    let mut insertions: Vec<(usize, String)> = Vec::new();
    for (at, name) in &items.files {
        let (own, deeper) = (
            folder.join(format!("{name}.rs")),
            folder.join(name).join("mod.rs"),
        );
        let path = if deeper.is_file() { deeper } else { own };
        insertions.push((*at, format!("#[path = {:?}] ", path.to_string_lossy())));
    }
    let quoted = format!("{:?}", folder.join("").to_string_lossy());
    let prefix = quoted.trim_matches('"');
    insertions.extend(items.paths.iter().map(|at| (*at, prefix.to_owned())));
    insertions.sort();
    let mut copy = String::with_capacity(text.len());
    let mut done = 0;
    for (at, insertion) in insertions {
        copy.push_str(text.get(done..at).unwrap_or_default());
        copy.push_str(&insertion);
        done = at;
    }
    copy.push_str(text.get(done..).unwrap_or_default());
    copy
}
