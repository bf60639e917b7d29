//! What went into a build: the sources that cargo names, and the files that decide how they are built.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

/// The sources in a dependency file of cargo: those of the crate, of its path dependencies, and what build scripts named.
///
/// Each line is `artifact: source source`, with a backslash before blanks within a path
/// (<https://doc.rust-lang.org/cargo/reference/build-cache.html#dep-info-files>).
pub(super) fn read_dependencies(text: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let Some((_, sources)) = line.split_once(": ") else {
            continue;
        };
        let mut path = String::new();
        let mut letters = sources.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if letters.peek() == Some(&' ') => path.extend(letters.next()),
                ' ' => found.extend(some_path(&mut path)),
                other => path.push(other),
            }
        }
        found.extend(some_path(&mut path));
    }
    found
}

fn some_path(text: &mut String) -> Option<PathBuf> {
    let path = std::mem::take(text);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// All files that matter: sources, without what a build script writes into the target folder; of folders, all in them.
pub(super) fn expand(sources: BTreeSet<PathBuf>, target: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for path in sources {
        if path.starts_with(target) {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path));
        }
        files.insert(path);
    }
    files
}

/// The files of a package whose build script names none: cargo runs that again whatever changes there.
pub(super) fn of_silent_script(package: &Path) -> Vec<PathBuf> {
    let script = fs::read(package.join("build.rs")).unwrap_or_default();
    if script.is_empty() || memchr::memmem::find(&script, b"rerun-if").is_some() {
        return Vec::new();
    }
    files_below(package)
}

pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let walk = WalkBuilder::new(folder)
        .require_git(false)
        .filter_entry(|entry| {
            let name = entry.file_name();
            let is_cache = entry.path().join("CACHEDIR.TAG").exists();
            !is_cache && name != "target" && name != "__pycache__"
        })
        .build();
    let entries = walk.flatten();
    entries
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .map(ignore::DirEntry::into_path)
        .collect()
}

/// What decides how sources are built, present or not: manifests, lock files, configuration of cargo and rustup, cargo
/// itself.
pub(super) fn deciding(
    manifest: &Path,
    sources: &BTreeSet<PathBuf>,
    cwd: &Path,
    cargo: &Path,
) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = packages(sources)
        .iter()
        .map(|package| package.join("Cargo.toml"))
        .collect();
    for folder in manifest.parent().into_iter().flat_map(Path::ancestors) {
        // A workspace may lie anywhere above.
        for name in ["Cargo.toml", "Cargo.lock"] {
            let file = folder.join(name);
            if file.exists() {
                files.insert(file);
            }
        }
    }
    for folder in cwd.ancestors() {
        for name in [
            ".cargo/config.toml",
            ".cargo/config",
            "rust-toolchain.toml",
            "rust-toolchain",
        ] {
            files.insert(folder.join(name));
        }
    }
    if let Some(home) = home_of("CARGO_HOME", ".cargo") {
        files.insert(home.join("config.toml"));
        files.insert(home.join("config"));
    }
    if let Some(home) = home_of("RUSTUP_HOME", ".rustup") {
        files.insert(home.join("settings.toml"));
        let hashes = fs::read_dir(home.join("update-hashes"));
        files.extend(hashes.into_iter().flatten().flatten().map(|it| it.path()));
    }
    files.insert(cargo.to_owned());
    files
}

/// The folders of the packages that sources belong to.
pub(super) fn packages(sources: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    let mut folders: BTreeSet<&Path> = sources.iter().filter_map(|it| it.parent()).collect();
    folders.retain(|folder| folder.is_absolute());
    for folder in folders {
        let package = folder
            .ancestors()
            .find(|above| known.contains(*above) || above.join("Cargo.toml").exists());
        known.extend(package.map(Path::to_owned));
    }
    known
}

/// A home of a tool: what its variable says, or a folder in the user's home.
pub(super) fn home_of(variable: &str, folder: &str) -> Option<PathBuf> {
    let named = env::var_os(variable).filter(|value| !value.is_empty());
    named
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(folder)))
}

/// Variables that change what cargo and rustc make.
pub(super) fn variables() -> Vec<(String, String)> {
    const EXACT: [&str; 8] = [
        "RUSTFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTUP_TOOLCHAIN",
        "RUSTC_BOOTSTRAP",
        "CC",
        "CFLAGS",
    ];
    const PREFIXES: [&str; 5] = [
        "CARGO_ENCODED_",
        "CARGO_BUILD_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
    ];
    let mut found: Vec<(String, String)> = env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let counts = EXACT.contains(&name.as_str())
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            // Where it works is not what it makes; and firehot has a place of its own.
            let counts =
                counts && !["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].contains(&&*name);
            counts.then(|| (name, value.to_string_lossy().into_owned()))
        })
        .collect();
    found.sort();
    found
}
