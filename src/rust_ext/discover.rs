//! All extensions below some folders, and the maturin projects that are installed. Builds nothing.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use log::debug;

use super::find::{absolute, crate_in, is_name};
use super::header::Header;
use super::maturin;
use super::problem::Problem;
use super::{Extension, Source};
use crate::protocol::findings::FileText;
use crate::stamp::Touched;

/// Folders that hold what others wrote, or what was built.
const NEVER_ENTERED: [&str; 5] = [
    ".venv",
    "node_modules",
    "__pycache__",
    "site-packages",
    "dist-packages",
];

/// The folders of a crate that hold its own sources, each beside its Cargo.toml.
const OF_A_CRATE: [&str; 4] = ["src", "tests", "benches", "examples"];

/// Everything eligible below the roots, by module and place. What has a problem is left out: see [`survey`].
#[must_use]
pub fn discover(roots: &[PathBuf]) -> Vec<Extension> {
    survey(roots).0
}

/// As [`discover`], with what has opted in and can't be built.
#[must_use]
pub fn survey(roots: &[PathBuf]) -> (Vec<Extension>, Vec<Problem>) {
    let mut found = BTreeMap::new();
    let mut problems = BTreeMap::new();
    for root in roots {
        let root = absolute(root);
        let walk = WalkBuilder::new(&root)
            .require_git(false)
            .filter_entry(is_entered)
            .build();
        // What can't be read has no extension; whoever imports it hears of it.
        for entry in walk.flatten() {
            match eligible(entry.path()) {
                Ok(Some(extension)) => {
                    let key = (extension.module.clone(), extension.place().to_owned());
                    found.insert(key, extension);
                }
                Ok(None) => {}
                Err(problem) => {
                    problems.insert(entry.into_path(), problem);
                }
            }
        }
    }
    (
        found.into_values().collect(),
        problems.into_values().collect(),
    )
}

fn is_entered(entry: &DirEntry) -> bool {
    if entry.depth() == 0 || !entry.file_type().is_some_and(|kind| kind.is_dir()) {
        return true;
    }
    let path = entry.path();
    let name = entry.file_name().to_string_lossy();
    let is_target = name == "target" && path.with_file_name("Cargo.toml").is_file();
    let holds = |file: &str| path.join(file).is_file();
    !(is_target || NEVER_ENTERED.contains(&&*name) || holds("CACHEDIR.TAG") || holds("pyvenv.cfg"))
}

/// What one path of the walk is: a `.rs` file, a crate by its Cargo.toml, a project by its pyproject.toml.
fn eligible(path: &Path) -> Result<Option<Extension>, Problem> {
    let folder = path.parent().unwrap_or(path);
    let source = match path.file_name().and_then(|name| name.to_str()) {
        Some("pyproject.toml") => return maturin::read(folder),
        Some("Cargo.toml") => {
            // The problem of a crate is told at its Cargo.toml.
            if !crate_in(folder)? {
                return Ok(None);
            }
            Source::Crate(folder.to_owned())
        }
        Some(name) if name.ends_with(".rs") => {
            let opted_in = || fs::read(path).is_ok_and(|content| Header::read(&content).opted_in);
            if is_of_a_crate(path) || !opted_in() {
                return Ok(None);
            }
            Source::File(path.to_owned())
        }
        Some(_) | None => return Ok(None),
    };
    let place = if path.ends_with("Cargo.toml") {
        folder
    } else {
        path
    };
    Ok(module_of(place).map(|module| Extension { module, source }))
}

/// Whether a `.rs` file is one of a crate's own, as its `src/lib.rs`, which may have a header too.
fn is_of_a_crate(file: &Path) -> bool {
    let mut folders = file.ancestors().skip(1);
    let is_own = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default();
        OF_A_CRATE.iter().any(|own| name == *own) && folder.with_file_name("Cargo.toml").is_file()
    };
    let is_build = file.ends_with("build.rs") && file.with_file_name("Cargo.toml").is_file();
    is_build || folders.any(is_own)
}

/// The dotted name of a file or folder, by the packages that it lies in.
fn module_of(place: &Path) -> Option<String> {
    let name = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        is_name(name).then(|| name.to_owned())
    };
    let packages = place.ancestors().skip(1);
    let packages = packages.take_while(|folder| folder.join("__init__.py").is_file());
    let mut parts = vec![name(place)?];
    for package in packages {
        parts.push(name(package)?);
    }
    parts.reverse();
    Some(parts.join("."))
}

/// The maturin projects that are installed editable in the folders of a path, in their order.
#[must_use]
pub fn installed(path: &[PathBuf]) -> Vec<Extension> {
    let mut found = Vec::new();
    for (folder, root) in editable_in(path) {
        match maturin::read(&root) {
            // Who works on firehot has it installed so; it can't build what is building.
            Ok(Some(extension)) if extension.module.starts_with("firehot.") => {}
            Ok(extension) => found.extend(extension.map(|extension| in_site(extension, &folder))),
            Err(problem) => debug!("{} is left alone: {problem}", root.display()),
        }
    }
    found
}

/// As [`installed`], with the state of each file that decides it, present or not, taken before it was read. None when
/// one has changed meanwhile. Which distributions there are is decided by the folders.
#[must_use]
pub fn installed_by(path: &[PathBuf]) -> (Vec<Extension>, Option<Vec<FileText>>) {
    let deciding = || -> BTreeSet<PathBuf> {
        let roots = editable_in(path).into_iter().map(|(_, root)| root);
        roots.flat_map(|root| maturin::deciding(&root)).collect()
    };
    let files: Vec<Touched> = deciding().iter().map(|file| Touched::now(file)).collect();
    let found = installed(path);
    let is_whole = deciding().iter().eq(files.iter().map(Touched::path));
    let is_settled = is_whole && !files.iter().any(Touched::has_changed);
    (
        found,
        is_settled.then(|| files.iter().map(Touched::to_record).collect()),
    )
}

/// What is installed editable in the folders of a path: the folder, and the project's root.
fn editable_in(path: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for folder in path {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_metadata = |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".dist-info");
        let metadata = entries
            .map(|entry| entry.file_name())
            .filter(|name| is_metadata(name));
        let mut roots: Vec<PathBuf> = metadata
            .filter_map(|name| fs::read(folder.join(name).join("direct_url.json")).ok())
            .filter_map(|content| editable(&content))
            .collect();
        roots.sort();
        roots.retain(|root| seen.insert(root.clone()));
        found.extend(roots.into_iter().map(|root| (folder.clone(), root)));
    }
    found
}

fn in_site(mut extension: Extension, folder: &Path) -> Extension {
    if let Source::Project(project) = &mut extension.source {
        project.site = Some(folder.to_owned());
    }
    extension
}

/// The folder that a `direct_url.json` says is installed editable.
fn editable(content: &[u8]) -> Option<PathBuf> {
    let content: serde_json::Value = serde_json::from_slice(content).ok()?;
    if content.get("dir_info")?.get("editable")?.as_bool() != Some(true) {
        return None;
    }
    let url = content.get("url")?.as_str()?.strip_prefix("file://")?;
    let path = url.strip_prefix("localhost").unwrap_or(url);
    path.starts_with('/').then(|| decoded(path))
}

fn decoded(url: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;

    let mut bytes = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| {
            after
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        let digits = hex(0).zip(hex(1)).filter(|_| first == b'%');
        let byte = digits.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.unwrap_or(first));
        rest = after
            .get(if byte.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    let path = std::ffi::OsString::from_vec(bytes);
    // pip writes the folder with a slash at the end when it was given so.
    PathBuf::from(path).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_ext::on_disk::tree;
    use std::fmt::Write;

    const FILE: &str = "// firehot\n";
    const CRATE: &str = "# firehot\n[lib]\ncrate-type = [\"cdylib\"]\n";
    const PYPROJECT: &str =
        "[build-system]\nbuild-backend = \"maturin\"\n[project]\nname = \"pro-ject\"\n";
    const PYO3: &str = "[package]\nname = \"pro-ject\"\n[dependencies]\npyo3 = \"0.30\"\n";

    fn modules(found: &[Extension]) -> Vec<&str> {
        found
            .iter()
            .map(|extension| extension.module.as_str())
            .collect()
    }

    #[test]
    fn everything_below_a_root_is_found_but_what_others_wrote() {
        let tree = tree(&[
            ("fast.rs", FILE),
            ("plain.rs", ""),
            ("not-a-name.rs", FILE),
            ("package/__init__.py", ""),
            ("package/deep/__init__.py", ""),
            ("package/deep/native.rs", FILE),
            ("package/crate_/Cargo.toml", CRATE),
            ("package/crate_/src/lib.rs", "// firehot:pyo3"),
            ("package/crate_/src/sub/other.rs", FILE),
            ("package/crate_/build.rs", FILE),
            ("package/crate_/target/debug/out.rs", FILE),
            ("data/target/kept.rs", FILE),
            ("rlib/Cargo.toml", "# firehot\n"),
            ("project/pyproject.toml", PYPROJECT),
            ("project/Cargo.toml", PYO3),
            ("project/src/lib.rs", FILE),
            (
                "setuptools/pyproject.toml",
                "[build-system]\nbuild-backend = \"setuptools\"\n",
            ),
            ("tagged/CACHEDIR.TAG", ""),
            ("tagged/a.rs", FILE),
            ("env/pyvenv.cfg", ""),
            ("env/b.rs", FILE),
            (".venv/c.rs", FILE),
            ("node_modules/d.rs", FILE),
            (".gitignore", "ignored/\n"),
            ("ignored/e.rs", FILE),
        ]);
        let root = tree.path().to_owned();
        let (found, problems) = survey(&[root.clone(), root.join("package")]);
        assert_eq!(
            modules(&found),
            [
                "fast",
                "kept",
                "package.crate_",
                "package.deep.native",
                "pro_ject.pro_ject"
            ]
        );
        assert_eq!(found[2].place(), root.join("package/crate_"));
        let [Problem::NoCdylib { folder }] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert_eq!(*folder, root.join("rlib"));
        assert_eq!(discover(&[root]), found);
    }

    #[test]
    fn projects_that_are_installed_editable_are_found() {
        let tree = tree(&[
            ("pro ject é/pyproject.toml", PYPROJECT),
            ("pro ject é/Cargo.toml", PYO3),
            ("broken/pyproject.toml", "["),
            (
                "plain/pyproject.toml",
                "[build-system]\nbuild-backend = \"hatchling\"\n",
            ),
            ("site/other-1.0.dist-info/METADATA", ""),
        ]);
        let root = tree.path();
        let install = |name: &str, url: &str, editable: bool| {
            let folder = root.join("site").join(format!("{name}-1.0.dist-info"));
            fs::create_dir_all(&folder).unwrap();
            let text = format!("{{\"dir_info\": {{\"editable\": {editable}}}, \"url\": {url:?}}}");
            fs::write(folder.join("direct_url.json"), text).unwrap();
        };
        let url = |name: &str| {
            let mut url = String::from("file://");
            for byte in root.join(name).to_str().unwrap().bytes() {
                if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
                    url.push(char::from(byte));
                } else {
                    write!(url, "%{byte:02X}").unwrap();
                }
            }
            url
        };
        install("pro_ject", &url("pro ject é"), true);
        install("twice", &format!("{}/", url("pro ject é")), true);
        install("broken", &url("broken"), true);
        install("plain", &url("plain"), true);
        install("gone", &url("gone"), true);
        install("remote", "https://example.org/pro", true);
        let path = [root.join("nowhere"), root.join("site")];
        let found = installed(&path);
        assert_eq!(modules(&found), ["pro_ject.pro_ject"]);
        assert_eq!(found[0].place(), root.join("pro ject é"));
        install("pro_ject", &url("pro ject é"), false);
        install("twice", &url("pro ject é"), false);
        assert!(installed(&path).is_empty());
    }

    #[test]
    fn urls_are_decoded() {
        for (url, path) in [
            ("/a%20b/%C3%A9", "/a b/é"),
            ("/a/", "/a"),
            ("/100%/x%2", "/100%/x%2"),
            ("/%zz", "/%zz"),
        ] {
            assert_eq!(decoded(url), PathBuf::from(path), "{url}");
        }
    }
}
