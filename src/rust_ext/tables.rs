//! Reads Cargo.toml and pyproject.toml: the one place that opens them as tables. Decides nothing.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::problem::Problem;

/// A file's content; none where there is no such file.
pub(super) fn table(path: &Path) -> Result<Option<Table>, Problem> {
    let content = match fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(Problem::Read { path, source });
        }
    };
    let parsed = content.parse().map_err(|error| Problem::Toml {
        path: path.to_owned(),
        source: Box::new(error),
    });
    parsed.map(Some)
}

/// The text below some keys.
pub(super) fn text<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a str> {
    let (first, rest) = keys.split_first()?;
    let first = table.get(*first)?;
    rest.iter()
        .try_fold(first, |value, key| value.get(*key))?
        .as_str()
}

/// Whether a crate's library is a shared library that C, and so Python, can load.
pub(super) fn has_cdylib(manifest: &Table) -> bool {
    let library = manifest.get("lib").and_then(Value::as_table);
    let types = library.and_then(|lib| lib.get("crate-type").or_else(|| lib.get("crate_type")));
    let types = types.and_then(Value::as_array);
    types.is_some_and(|types| types.iter().any(|each| each.as_str() == Some("cdylib")))
}

/// The root file of a crate's library.
pub(super) fn library(root: &Path, manifest: &Table) -> PathBuf {
    let path = manifest.get("lib").and_then(|lib| lib.get("path"));
    root.join(path.and_then(Value::as_str).unwrap_or("src/lib.rs"))
}

/// Whether one of these packages is a dependency, maybe under another name, on any platform.
pub(super) fn depends_on(cargo: &Table, packages: &[&str]) -> bool {
    let targets = cargo.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    let tables = std::iter::once(cargo).chain(targets);
    let dependencies = tables.filter_map(|table| table.get("dependencies")?.as_table());
    dependencies.flatten().any(|(name, dependency)| {
        let package = dependency.get("package").and_then(Value::as_str);
        packages.contains(&package.unwrap_or(name))
    })
}

/// The name that a package has in its manifest.
pub(super) fn package_name(package: &Path) -> Option<String> {
    let manifest = table(&package.join("Cargo.toml")).ok()??;
    text(&manifest, &["package", "name"]).map(str::to_owned)
}
