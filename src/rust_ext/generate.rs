//! The crate that cargo is given: the user's own, or one that is made for a single `.rs` file or a template.
//!
//! Nothing is written into the user's folders. What has not changed is not written again: cargo looks at dates.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fill::fill;
use super::find::last_part;
use super::header::Header;
use super::manifest::{complete, from_its_folder, inherit, merge, put};
use super::problem::Problem;
use super::syntax::items;
use super::tables::{depends_on, has_cdylib, library, table};
use super::{Extension, Source};

/// What rustc can't have as the name of a library, or what the name would hide.
const RESERVED: [&str; 57] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "pyo3",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "Self",
];

/// What is known of the interpreter when a crate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pyo3Target {
    /// It has the stable ABI; a free-threaded one may not.
    pub abi3: bool,
}

/// What cargo is to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The Cargo.toml.
    pub manifest: PathBuf,
    /// Arguments for rustc, for the library alone: those after `cargo rustc --`.
    pub rustc_arguments: Vec<String>,
}

/// Makes the crate of an extension in `folder`, which is its own; a crate that needs nothing filled in, and a
/// project, are left where they are.
///
/// # Errors
/// The name can't be built, the header is no TOML, or a file can't be read or written.
pub fn generate(
    extension: &Extension,
    folder: &Path,
    interpreter: &Pyo3Target,
) -> Result<Generated, Problem> {
    let name = last_part(&extension.module);
    let own = |manifest: PathBuf| Generated {
        manifest,
        rustc_arguments: Vec::new(),
    };
    match &extension.source {
        Source::Project(project) => Ok(Generated {
            manifest: project.manifest.clone(),
            rustc_arguments: project.rustc_arguments.clone(),
        }),
        Source::Crate(root) => {
            let path = root.join("Cargo.toml");
            // What is no TOML is left to cargo, which shows the place.
            let Ok(Some(manifest)) = table(&path) else {
                return Ok(own(path));
            };
            let file = library(root, &manifest);
            let read = fs::read(&file);
            let content = read.unwrap_or_default();
            let header = Header::read(&content);
            let has_module = || items(&String::from_utf8_lossy(&content)).has_module;
            let is_whole = header.cargo.is_empty()
                && has_cdylib(&manifest)
                && depends_on(&manifest, &["pyo3"])
                && has_module();
            if !header.is_pyo3_template || is_whole {
                return Ok(own(path));
            }
            let mut manifest = from_its_folder(manifest, root);
            inherit(&mut manifest, root);
            let script = root.join("build.rs");
            if script.is_file() {
                put(&mut manifest, &["package", "build"], utf8(&script)?.into());
            }
            make(name, &file, manifest, folder, interpreter)
        }
        Source::File(path) => make(name, path, Table::new(), folder, interpreter),
    }
}

/// Makes a crate around a file. What its header says wins, then what the manifest says.
fn make(
    name: &str,
    file: &Path,
    manifest: Table,
    folder: &Path,
    interpreter: &Pyo3Target,
) -> Result<Generated, Problem> {
    check_name(name, file)?;
    let content = fs::read(file).map_err(|source| Problem::Read {
        path: file.to_owned(),
        source,
    })?;
    let header = Header::read(&content);
    let mut manifest = with_header(&header, file, manifest)?;
    let path = utf8(file)?;
    let text = std::str::from_utf8(&content).unwrap_or_default();
    let items = items(text);
    let is_filled = header.is_pyo3_template && !items.has_module;
    let mut root = path.to_owned();
    let mut rustc_arguments = Vec::new();
    if is_filled {
        let library = fill(name, path, text, &items);
        let copy = folder.join("lib.rs");
        write(&copy, &library.text)?;
        root = utf8(&copy)?.to_owned();
        // rustc splits at the last equals sign.
        if library.is_copy && !path.contains('=') {
            // cargo names it relative to the crate; what rustc makes of that depends on its version.
            rustc_arguments.push(format!("--remap-path-prefix=lib.rs={path}"));
            rustc_arguments.push(format!("--remap-path-prefix={root}={path}"));
        }
    }
    if header.is_pyo3_template && !depends_on(&manifest, &["pyo3"]) {
        put(&mut manifest, &["dependencies", "pyo3"], pyo3(*interpreter));
    }
    complete(&mut manifest, name, path, root);
    let target = folder.join("Cargo.toml");
    write(&target, &manifest.to_string())?;
    Ok(Generated {
        manifest: target,
        rustc_arguments,
    })
}

/// Whether a Rust library can have a module's name.
///
/// # Errors
/// It can't; the problem says why.
pub fn check_name(name: &str, path: &Path) -> Result<(), Problem> {
    let reason = if RESERVED.contains(&name) {
        "Rust keeps that name for itself"
    } else if !name.is_ascii() {
        "the name of a Rust library has only ASCII letters"
    } else {
        return Ok(());
    };
    Err(Problem::Name {
        name: name.to_owned(),
        path: path.to_owned(),
        reason,
    })
}

fn with_header(header: &Header, file: &Path, manifest: Table) -> Result<Table, Problem> {
    let parsed = header.cargo.parse::<Table>();
    let own = parsed.map_err(|source| Problem::Header {
        path: file.to_owned(),
        source: Box::new(source),
    })?;
    let mut merged = from_its_folder(own, file.parent().unwrap_or(file));
    merge(&mut merged, manifest);
    Ok(merged)
}

fn pyo3(interpreter: Pyo3Target) -> Value {
    // The newest that cargo finds works with every interpreter that firehot does.
    let mut dependency = Table::new();
    dependency.insert("version".into(), ">=0.23".into());
    let features: &[&str] = if interpreter.abi3 {
        &["abi3", "extension-module"]
    } else {
        &["extension-module"]
    };
    dependency.insert("features".into(), features.to_vec().into());
    dependency.into()
}

fn utf8(path: &Path) -> Result<&str, Problem> {
    let path_of = || path.to_owned();
    path.to_str()
        .ok_or_else(|| Problem::NotUtf8 { path: path_of() })
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    if fs::read(path).is_ok_and(|content| content == text.as_bytes()) {
        return Ok(());
    }
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        // A name of its own: whoever is ended in between leaves no half of a file.
        let new = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&new, text)?;
        fs::rename(&new, path)
    };
    write().map_err(|source| Problem::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
