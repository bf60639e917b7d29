//! What pyproject.toml and Cargo.toml say of a project that maturin builds. Follows maturin's rules; runs no maturin.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use toml::Table;

use super::find::{absolute, last_part};
use super::maturin_settings::{cargo_arguments, deployment_target, rustc_arguments};
use super::problem::Problem;
use super::tables::{depends_on, has_cdylib, table, text};
use super::{Bindings, Extension, Project, Source};

/// Reads the project whose pyproject.toml lies in `root`; none where maturin is not what builds it.
///
/// The extension's name is where maturin puts it: in the package `fast` of a project `fast`, mixed or not, lies
/// `fast.fast`, unless `module-name` says otherwise. A project without a module has the name of its distribution.
///
/// # Errors
/// One of the two files can't be read, or there is no Cargo.toml.
pub(super) fn read(root: &Path) -> Result<Option<Extension>, Problem> {
    let Some(pyproject) = table(&root.join("pyproject.toml"))? else {
        return Ok(None);
    };
    let backend = text(&pyproject, &["build-system", "build-backend"]);
    if backend != Some("maturin") {
        return Ok(None);
    }
    let root = absolute(root);
    let manifest = manifest(&root, &pyproject);
    let Some(cargo) = table(&manifest)? else {
        return Err(Problem::NoManifest { root });
    };
    let Names {
        module,
        distribution,
    } = names(&pyproject, &cargo);
    let source = python_source(&root, &pyproject);
    let is_mixed = marks_of_package(&source, &module)
        .iter()
        .any(|file| file.is_file());
    let project = Project {
        bindings: bindings(&manifest, &pyproject, &cargo),
        manifest,
        python_source: is_mixed.then_some(source),
        cargo_arguments: cargo_arguments(&pyproject),
        rustc_arguments: rustc_arguments(&pyproject),
        deployment_target: deployment_target(&pyproject),
        distribution,
        root,
        site: None,
    };
    Ok(Some(Extension {
        module: place_of(&module, is_mixed, project.bindings),
        source: Source::Project(project),
    }))
}

/// The files by which [`read`] decides, present or not.
pub(super) fn deciding(root: &Path) -> Vec<PathBuf> {
    let root = absolute(root);
    let file = root.join("pyproject.toml");
    let Ok(Some(pyproject)) = table(&file) else {
        return vec![file];
    };
    if text(&pyproject, &["build-system", "build-backend"]) != Some("maturin") {
        return vec![file];
    }
    let manifest = manifest(&root, &pyproject);
    let cargo = table(&manifest).ok().flatten().unwrap_or_default();
    let Names { module, .. } = names(&pyproject, &cargo);
    let source = python_source(&root, &pyproject);
    let mut files = vec![
        file,
        root.join("Cargo.toml"),
        root.join("rust").join("Cargo.toml"),
        manifest.with_file_name("src").join("lib.rs"),
        manifest,
    ];
    files.extend(marks_of_package(&source, &module));
    files.extend(package_in_src(&root, &pyproject));
    files
}

struct Names {
    /// As maturin calls it: its place may be deeper.
    module: String,
    distribution: String,
}

fn names(pyproject: &Table, cargo: &Table) -> Names {
    let package = text(cargo, &["package", "name"]);
    let distribution = text(pyproject, &["project", "name"]).or(package);
    let distribution = distribution.unwrap_or_default().to_owned();
    let module = text(pyproject, &["tool", "maturin", "module-name"])
        .or_else(|| text(cargo, &["lib", "name"]))
        .unwrap_or(&distribution)
        .replace('-', "_");
    Names {
        module,
        distribution,
    }
}

/// The files of which one makes a project a mixed one.
fn marks_of_package(source: &Path, module: &str) -> [PathBuf; 2] {
    let top = source.join(module.split('.').next().unwrap_or(module));
    ["__init__.py", "__init__.pyi"].map(|file| top.join(file))
}

/// Where maturin puts the module that a project calls so.
fn place_of(module: &str, is_mixed: bool, bindings: Bindings) -> String {
    match bindings {
        Bindings::Pyo3 if is_mixed && module.contains('.') => module.to_owned(),
        Bindings::Pyo3 => {
            let name = last_part(module);
            format!("{name}.{name}")
        }
        // maturin makes a package of that name, or a program.
        Bindings::Cffi | Bindings::Uniffi | Bindings::Bin => module.to_owned(),
    }
}

fn manifest(root: &Path, pyproject: &Table) -> PathBuf {
    if let Some(path) = text(pyproject, &["tool", "maturin", "manifest-path"]) {
        return root.join(path);
    }
    let (own, deeper) = (
        root.join("Cargo.toml"),
        root.join("rust").join("Cargo.toml"),
    );
    let is_deeper = deeper.is_file() && (!own.is_file() || python_source(root, pyproject) != root);
    if is_deeper {
        deeper
    } else {
        own
    }
}

/// The folder that holds the top-level package, if there is one.
fn python_source(root: &Path, pyproject: &Table) -> PathBuf {
    if let Some(path) = text(pyproject, &["tool", "maturin", "python-source"]) {
        return root.join(path);
    }
    let is_there = package_in_src(root, pyproject).is_some_and(|file| file.is_file());
    if is_there && root.join("rust").join("Cargo.toml").is_file() {
        root.join("src")
    } else {
        root.to_owned()
    }
}

/// What is there when the Python sources lie in `src`, as they may where the crate lies in `rust`.
fn package_in_src(root: &Path, pyproject: &Table) -> Option<PathBuf> {
    let name = text(pyproject, &["project", "name"]).filter(|name| !name.is_empty())?;
    let package = root.join("src").join(name.replace('-', "_"));
    Some(package.join("__init__.py"))
}

fn bindings(manifest: &Path, pyproject: &Table, cargo: &Table) -> Bindings {
    match text(pyproject, &["tool", "maturin", "bindings"]) {
        Some("pyo3" | "pyo3-ffi") => return Bindings::Pyo3,
        Some("uniffi") => return Bindings::Uniffi,
        Some("bin") => return Bindings::Bin,
        // Whatever else there may be: maturin knows.
        Some(_) => return Bindings::Cffi,
        None => {}
    }
    if depends_on(cargo, &["pyo3", "pyo3-ffi"]) {
        Bindings::Pyo3
    } else if depends_on(cargo, &["uniffi"]) {
        Bindings::Uniffi
    } else if has_cdylib(cargo) {
        Bindings::Cffi
    } else if cargo.contains_key("bin") || !has_library(manifest, cargo) {
        Bindings::Bin
    } else {
        Bindings::Cffi
    }
}

fn has_library(manifest: &Path, cargo: &Table) -> bool {
    cargo.contains_key("lib") || manifest.with_file_name("src").join("lib.rs").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_ext::on_disk::tree;
    use tempfile::TempDir;

    const BACKEND: &str = "[build-system]\nbuild-backend = \"maturin\"\n";
    const PYO3: &str = "[package]\nname = \"my-pro\"\nversion.workspace = true\n[dependencies]\npyo3.workspace = true\n";

    fn project(tree: &TempDir) -> (String, Project) {
        let extension = read(tree.path()).unwrap().unwrap();
        match extension.source {
            Source::Project(project) => (extension.module, project),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_where_maturin_puts_the_module() {
        let mixed = ("python/my_pro/__init__.py", "");
        let source = "[tool.maturin]\npython-source = \"python\"\n";
        let named = |name: &str| format!("{source}module-name = \"{name}\"\n");
        for (settings, cargo, package, module, is_mixed) in [
            (String::new(), "", None, "my_pro.my_pro", false),
            (
                String::new(),
                "[lib]\nname = \"lib_x\"\n",
                None,
                "lib_x.lib_x",
                false,
            ),
            (source.to_owned(), "", Some(mixed), "my_pro.my_pro", true),
            (
                named("my_pro._native"),
                "",
                Some(mixed),
                "my_pro._native",
                true,
            ),
            (
                named("my_pro.a.b"),
                "[lib]\nname = \"x\"\n",
                Some(mixed),
                "my_pro.a.b",
                true,
            ),
            (
                named("other._native"),
                "",
                Some(mixed),
                "_native._native",
                false,
            ),
        ] {
            let pyproject = format!("{BACKEND}{settings}");
            let cargo = format!("{PYO3}{cargo}");
            let mut files = vec![("pyproject.toml", &*pyproject), ("Cargo.toml", &*cargo)];
            files.extend(package);
            let tree = tree(&files);
            let (found, project) = project(&tree);
            assert_eq!(found, module, "{settings}{cargo}");
            let expected = is_mixed.then(|| tree.path().join("python"));
            assert_eq!(project.python_source, expected, "{settings}{cargo}");
            assert_eq!(project.bindings, Bindings::Pyo3);
            assert_eq!(project.distribution, "my-pro");
        }
    }

    #[test]
    fn the_manifest_may_lie_deeper() {
        let named = format!("{BACKEND}[tool.maturin]\nmanifest-path = \"crates/py/Cargo.toml\"\n");
        let project_name = format!("{BACKEND}[project]\nname = \"my-pro\"\n");
        let package = ("src/my_pro/__init__.py", "");
        for (pyproject, files, manifest) in [
            (
                &named,
                vec![
                    ("crates/py/Cargo.toml", PYO3),
                    ("Cargo.toml", "[workspace]\n"),
                ],
                "crates/py/Cargo.toml",
            ),
            (
                &project_name,
                vec![("rust/Cargo.toml", PYO3), package],
                "rust/Cargo.toml",
            ),
            (
                &project_name,
                vec![("rust/Cargo.toml", PYO3)],
                "rust/Cargo.toml",
            ),
            (
                &project_name,
                vec![("rust/Cargo.toml", ""), ("Cargo.toml", PYO3)],
                "Cargo.toml",
            ),
        ] {
            let mut files = files;
            files.push(("pyproject.toml", pyproject));
            let tree = tree(&files);
            let (module, found) = project(&tree);
            assert_eq!(found.manifest, tree.path().join(manifest));
            assert_eq!(module, "my_pro.my_pro");
        }
    }

    #[test]
    fn bindings_are_told_from_the_dependencies() {
        let bins = "[package]\nname = \"x\"\n[[bin]]\nname = \"x\"\n";
        for (settings, cargo, bindings) in [
            ("", "[dependencies]\npyo3 = \"0.30\"\n", Bindings::Pyo3),
            (
                "",
                "[dependencies]\npy = { package = \"pyo3\", version = \"0.30\" }\n",
                Bindings::Pyo3,
            ),
            (
                "",
                "[target.'cfg(unix)'.dependencies]\npyo3-ffi = \"0.30\"\n",
                Bindings::Pyo3,
            ),
            ("", "[dependencies]\nuniffi = \"0.30\"\n", Bindings::Uniffi),
            ("", "[lib]\ncrate-type = [\"cdylib\"]\n", Bindings::Cffi),
            ("", bins, Bindings::Bin),
            ("", "[package]\nname = \"x\"\n", Bindings::Bin),
            (
                "bindings = \"bin\"",
                "[dependencies]\npyo3 = \"0.30\"\n",
                Bindings::Bin,
            ),
            (
                "bindings = \"cffi\"",
                "[dependencies]\npyo3 = \"0.30\"\n",
                Bindings::Cffi,
            ),
            ("bindings = \"uniffi\"", "", Bindings::Uniffi),
        ] {
            let pyproject =
                format!("{BACKEND}[project]\nname = \"x\"\n[tool.maturin]\n{settings}\n");
            let tree = tree(&[("pyproject.toml", &pyproject), ("Cargo.toml", cargo)]);
            assert_eq!(project(&tree).1.bindings, bindings, "{settings} {cargo}");
        }
    }

    #[test]
    fn what_is_not_maturins_or_is_broken_is_told_apart() {
        let none = tree(&[(
            "pyproject.toml",
            "[build-system]\nbuild-backend = \"hatchling\"\n",
        )]);
        assert_eq!(read(none.path()).unwrap(), None);
        assert_eq!(read(&none.path().join("nowhere")).unwrap(), None);
        let broken = tree(&[("pyproject.toml", "[build-system\n")]);
        assert!(matches!(read(broken.path()), Err(Problem::Toml { .. })));
        let empty = tree(&[("pyproject.toml", BACKEND)]);
        let problem = read(empty.path()).unwrap_err();
        assert!(problem.to_string().contains("manifest-path"), "{problem}");
    }
}
