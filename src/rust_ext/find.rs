//! From the name of a module to the Rust that it is built from. Looks at files; runs and builds nothing.
//!
//! Folders come in the order of the path. Within one folder Python's own sources (`fast/__init__.py`, `fast.py`) come
//! before `fast.rs`, and that before the crate `fast/`. A ready extension file beside them does not count: it was most
//! likely built from them, and is older. In an earlier folder it does.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::header::{marks, Header};
use super::problem::Problem;
use super::tables::{has_cdylib, library};
use super::{Extension, Source};

/// Files that mark the folder of a crate.
const MARKERS: [&str; 2] = [".firehot", ".rustimport"];

/// The extension that an import of `module` means, if there is one. `path` is `sys.path`, or the parent's `__path__`
/// for a dotted name.
///
/// # Errors
/// What is found has opted in but can't be built.
pub fn find(module: &str, path: &[PathBuf]) -> Result<Option<Extension>, Problem> {
    let name = last_part(module);
    if !is_name(name) {
        return Ok(None);
    }
    for (at, folder) in path.iter().enumerate() {
        let Some(source) = candidate(name, folder)? else {
            continue;
        };
        let earlier = path.get(..at).unwrap_or_default();
        if has_python_source(name, folder) || earlier.iter().any(|each| has_module(name, each)) {
            return Ok(None);
        }
        let module = module.to_owned();
        return Ok(Some(Extension { module, source }));
    }
    Ok(None)
}

/// Why an import of `module` found nothing although there is Rust of that name: for the ImportError.
#[must_use]
pub fn reasons(module: &str, path: &[PathBuf]) -> Vec<String> {
    let name = last_part(module);
    if !is_name(name) {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    for folder in path {
        let file = folder.join(format!("{name}.rs"));
        match fs::read(&file) {
            Ok(content) if Header::read(&content).opted_in => {}
            Ok(content) => reasons.push(format!(
                "there is {}, but {}",
                file.display(),
                lack(&content)
            )),
            Err(error) if is_absent(&error) || file.is_dir() => {}
            Err(error) => reasons.push(format!("{} can't be read: {error}", file.display())),
        }
        let root = folder.join(name);
        match fs::read_to_string(root.join("Cargo.toml")) {
            Ok(manifest) if !is_marked(&root, &manifest) => reasons.push(format!(
                "there is a crate in {}, but no file .firehot in it, nor \"# firehot\" in the first line of its \
                 Cargo.toml",
                root.display()
            )),
            Ok(manifest) => reasons.extend(check(&root, &manifest).err().map(|error| error.to_string())),
            Err(error) if is_absent(&error) => {}
            Err(error) => reasons.push(format!("{} can't be read: {error}", root.join("Cargo.toml").display())),
        }
    }
    reasons
}

fn lack(content: &[u8]) -> &'static str {
    if std::str::from_utf8(content).is_err() {
        return "it is not UTF-8";
    }
    if content.trim_ascii().is_empty() {
        return "it is empty";
    }
    "its first line is not \"// firehot\" or \"// firehot:pyo3\""
}

/// What a folder holds for a name, if that has opted in.
fn candidate(name: &str, folder: &Path) -> Result<Option<Source>, Problem> {
    let file = folder.join(format!("{name}.rs"));
    // Opened, not asked for first: nearly always it is not there, and then this is the cheapest that can be done.
    if fs::read(&file).is_ok_and(|content| Header::read(&content).opted_in) {
        return Ok(Some(Source::File(absolute(&file))));
    }
    let root = folder.join(name);
    Ok(crate_in(&root)?.then(|| Source::Crate(absolute(&root))))
}

/// Whether a folder holds a crate that has opted in.
pub(super) fn crate_in(root: &Path) -> Result<bool, Problem> {
    let Ok(manifest) = fs::read_to_string(root.join("Cargo.toml")) else {
        return Ok(false);
    };
    if !is_marked(root, &manifest) {
        return Ok(false);
    }
    check(root, &manifest).map(|()| true)
}

fn is_marked(root: &Path, manifest: &str) -> bool {
    marks(manifest) || MARKERS.iter().any(|marker| root.join(marker).is_file())
}

fn check(root: &Path, manifest: &str) -> Result<(), Problem> {
    // What is no TOML is left to cargo, which shows the place.
    let Ok(manifest) = manifest.parse::<toml::Table>() else {
        return Ok(());
    };
    // A template's crate is filled in.
    if has_cdylib(&manifest) || is_template(&library(root, &manifest)) {
        return Ok(());
    }
    let folder = absolute(root);
    Err(Problem::NoCdylib { folder })
}

pub(super) fn is_template(library: &Path) -> bool {
    fs::read(library).is_ok_and(|content| Header::read(&content).is_pyo3_template)
}

fn has_python_source(name: &str, folder: &Path) -> bool {
    folder.join(name).join("__init__.py").is_file() || folder.join(format!("{name}.py")).is_file()
}

/// Whether Python finds a module of that name in a folder. Asked only where there is Rust of the name further on.
fn has_module(name: &str, folder: &Path) -> bool {
    has_python_source(name, folder) || {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .any(|entry| {
                let rest = entry
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('.'));
                rest.is_some_and(|rest| rest == "pyc" || rest == "so" || is_tagged(rest))
            })
    }
}

/// `cpython-311-x86_64-linux-gnu.so`, `abi3.so`: what comes between a module's name and `.so`.
fn is_tagged(suffix: &str) -> bool {
    let tag = suffix.strip_suffix(".so");
    tag.is_some_and(|tag| tag.starts_with("cpython-") || tag.starts_with("abi3"))
}

pub(super) fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Whether an import statement could name it. Others are asked for as well, and may hold slashes.
pub(super) fn is_name(name: &str) -> bool {
    let is_start = |c: char| c == '_' || c.is_alphabetic();
    name.starts_with(is_start) && name.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// With the folder in which an empty or relative entry of the path is looked up.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_ext::on_disk::tree;

    const LIBRARY: &str =
        "[package]\nname = \"fast\"\n[lib]\ncrate-type = [\"rlib\", \"cdylib\"]\n";

    fn found(module: &str, path: &[PathBuf]) -> Option<PathBuf> {
        let found = find(module, path).unwrap();
        found.map(|extension| extension.place().to_owned())
    }

    #[test]
    fn a_file_or_a_crate_that_has_opted_in_is_found() {
        let tree = tree(&[
            ("fast.rs", "// firehot\n"),
            ("plain.rs", "fn main() {}"),
            ("empty.rs", ""),
            ("marked/Cargo.toml", LIBRARY),
            ("marked/.rustimport", ""),
            ("named/Cargo.toml", &format!("# firehot\n{LIBRARY}")),
            ("unmarked/Cargo.toml", LIBRARY),
        ]);
        let root = tree.path();
        let path = [root.join("nowhere"), root.to_owned()];
        for (module, place) in [
            ("fast", Some("fast.rs")),
            ("package.fast", Some("fast.rs")),
            ("marked", Some("marked")),
            ("named", Some("named")),
            ("plain", None),
            ("empty", None),
            ("unmarked", None),
            ("missing", None),
            ("../fast", None),
            ("", None),
        ] {
            assert_eq!(
                found(module, &path),
                place.map(|place| root.join(place)),
                "{module}"
            );
        }
        assert_eq!(
            find("package.fast", &path).unwrap().unwrap().module,
            "package.fast"
        );
    }

    #[test]
    fn what_python_finds_earlier_comes_first() {
        for (earlier, is_found) in [
            ("one/fast.py", false),
            ("one/fast/__init__.py", false),
            ("one/fast.cpython-311-x86_64-linux-gnu.so", false),
            ("one/fast.abi3.so", false),
            ("one/fast.so", false),
            ("one/fast/data.txt", true),
            ("one/fast.rs", true),
            ("one/fast.txt.so", true),
            ("two/fast.py", false),
            ("two/fast/__init__.py", false),
            ("two/fast.abi3.so", true),
            ("three/fast.py", true),
        ] {
            let tree = tree(&[(earlier, ""), ("two/fast.rs", "// firehot")]);
            let path = ["one", "two", "three"].map(|name| tree.path().join(name));
            let place = is_found.then(|| tree.path().join("two/fast.rs"));
            assert_eq!(found("fast", &path), place, "{earlier}");
        }
    }

    #[test]
    fn a_crate_without_a_shared_library_is_a_problem_with_a_way_out() {
        let tree = tree(&[
            ("fast/Cargo.toml", "# firehot\n[package]\nname = \"fast\"\n"),
            ("broken/Cargo.toml", "# firehot\n[package\n"),
            ("filled/Cargo.toml", "# firehot\n"),
            ("filled/src/lib.rs", "// firehot:pyo3\n"),
        ]);
        let path = [tree.path().to_owned()];
        let problem = find("fast", &path).unwrap_err();
        assert!(
            matches!(&problem, Problem::NoCdylib { folder } if *folder == tree.path().join("fast"))
        );
        let text = problem.to_string();
        assert!(
            text.contains("crate-type = [\"cdylib\"]") && text.contains("fast"),
            "{text}"
        );
        // cargo says what is wrong with the one, the other is filled in.
        assert!(found("broken", &path).is_some());
        assert!(found("filled", &path).is_some());
    }

    #[test]
    fn a_miss_is_explained() {
        let tree = tree(&[
            ("plain.rs", "fn main() {}"),
            ("empty.rs", "\n"),
            ("unmarked/Cargo.toml", LIBRARY),
            ("rlib/Cargo.toml", "# firehot\n"),
            ("fast.rs", "// firehot"),
        ]);
        fs::write(tree.path().join("binary.rs"), b"// firehot\n\xff").unwrap();
        let path = [PathBuf::from("/nowhere"), tree.path().to_owned()];
        for (module, reason) in [
            ("plain", "its first line is not \"// firehot\""),
            ("a.plain", "plain.rs"),
            ("empty", "it is empty"),
            ("binary", "it is not UTF-8"),
            ("unmarked", "no file .firehot in it"),
            ("rlib", "cdylib"),
        ] {
            let reasons = reasons(module, &path);
            assert!(
                reasons.len() == 1 && reasons[0].contains(reason),
                "{module}: {reasons:?}"
            );
        }
        assert!(reasons("fast", &path).is_empty());
        assert!(reasons("missing", &path).is_empty());
    }

    #[test]
    fn strange_names_of_folders_do_no_harm() {
        let tree = tree(&[("mit Leerzeichen/größe/fast.rs", "// firehot")]);
        let folder = tree.path().join("mit Leerzeichen").join("größe");
        let link = tree.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert_eq!(
            found("fast", std::slice::from_ref(&folder)),
            Some(folder.join("fast.rs"))
        );
        assert_eq!(
            found("fast", std::slice::from_ref(&link)),
            Some(link.join("fast.rs"))
        );
    }
}
