//! What is generated for sources of all kinds.

use super::*;
use tempfile::TempDir;

const STABLE: Pyo3Target = Pyo3Target { abi3: true };
const ADD: &str = "use pyo3::prelude::*;\n#[pyfunction]\nfn add(a: i64) -> i64 { a }\n";
const MODULE: &str = "#[pyo3::pymodule]\nmod fast {}\n";

/// A folder with a file, and the crate that is made for it.
struct Made {
    folder: TempDir,
    file: PathBuf,
    generated: Generated,
}

fn make_file(name: &str, text: &str) -> Result<Made, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let module = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let source = Source::File(file.clone());
    let generated = generate(
        &Extension { module, source },
        &folder.path().join("made"),
        &STABLE,
    )?;
    Ok(Made {
        folder,
        file,
        generated,
    })
}

impl Made {
    fn manifest(&self) -> Table {
        fs::read_to_string(&self.generated.manifest)
            .unwrap()
            .parse()
            .unwrap()
    }

    fn library(&self) -> PathBuf {
        PathBuf::from(self.manifest()["lib"]["path"].as_str().unwrap())
    }
}

#[test]
fn a_file_is_its_own_library_where_nothing_is_missing() {
    for text in [
        format!("// firehot\n{ADD}"),
        format!("// firehot:pyo3\n{ADD}{MODULE}"),
    ] {
        let made = make_file("mit Leerzeichen/größe/fast.rs", &text).unwrap();
        let manifest = made.manifest();
        assert_eq!(made.library(), made.file);
        assert_eq!(manifest["lib"]["name"].as_str(), Some("fast"));
        assert_eq!(manifest["lib"]["crate-type"].to_string(), "[\"cdylib\"]");
        assert!(manifest["package"]["name"]
            .as_str()
            .unwrap()
            .starts_with("fast-"));
        assert!(manifest["workspace"].as_table().unwrap().is_empty());
        assert_eq!(
            manifest.contains_key("dependencies"),
            text.contains(":pyo3")
        );
        assert!(made.generated.rustc_arguments.is_empty());
    }
}

#[test]
fn a_template_gets_the_module_that_it_lacks() {
    let made = make_file(
        "fast.rs",
        &format!("// firehot:pyo3\n{ADD}#[pyclass]\nstruct Point;\n"),
    )
    .unwrap();
    let pyo3 = &made.manifest()["dependencies"]["pyo3"];
    assert_eq!(
        pyo3["features"].to_string(),
        "[\"abi3\", \"extension-module\"]"
    );
    let library = fs::read_to_string(made.library()).unwrap();
    assert!(
        library.contains(&format!("include!({:?});", made.file)),
        "{library}"
    );
    assert!(library.contains("#[pyo3(name = \"fast\")]"), "{library}");
    assert!(
        library.contains("wrap_pyfunction!(super::add, module)"),
        "{library}"
    );
    assert!(library.contains("add_class::<super::Point>()"), "{library}");
}

#[test]
fn a_file_with_inner_attributes_is_copied_line_by_line() {
    let text = format!("// firehot:pyo3\n#![allow(dead_code)]\n{ADD}const A: &str = include_str!(\"a.txt\"); mod b;\n");
    let made = make_file("fast.rs", &text).unwrap();
    let library = fs::read_to_string(made.library()).unwrap();
    let folder = made.folder.path().to_str().unwrap();
    let line = format!(
        "const A: &str = include_str!(\"{folder}/a.txt\"); #[path = \"{folder}/b.rs\"] mod b;"
    );
    assert_eq!(library.lines().nth(5), Some(&*line));
    let same = library
        .lines()
        .zip(text.lines())
        .filter(|(one, other)| one == other);
    assert_eq!(same.count(), 5);
    let file = made.file.to_str().unwrap();
    assert!(
        library.contains(&format!("include_bytes!({file:?})")),
        "{library}"
    );
    let arguments = &made.generated.rustc_arguments;
    assert_eq!(arguments[0], format!("--remap-path-prefix=lib.rs={file}"));
}

#[test]
fn the_header_wins() {
    let text = "// firehot:pyo3\n//: [package]\n//: edition = \"2024\"\n//: [dependencies]\n//: pyo3 = \"0.24\"\n\
                //: near = { path = \"../near\" }\n//: [lib]\n//: crate_type = [\"rlib\"]\n//: [profile.dev]\n\
                //: opt-level = 1\n";
    let made = make_file("deep/fast.rs", text).unwrap();
    let manifest = made.manifest();
    assert_eq!(manifest["package"]["edition"].as_str(), Some("2024"));
    assert_eq!(manifest["dependencies"]["pyo3"].as_str(), Some("0.24"));
    let near = made.folder.path().join("deep/../near");
    assert_eq!(
        manifest["dependencies"]["near"]["path"].as_str(),
        near.to_str()
    );
    assert_eq!(
        manifest["lib"]["crate-type"].to_string(),
        "[\"rlib\", \"cdylib\"]"
    );
    assert_eq!(
        manifest["profile"]["dev"]["opt-level"].as_integer(),
        Some(1)
    );
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let made = make_file("fast.rs", &format!("// firehot:pyo3\n{ADD}")).unwrap();
    let files = [made.generated.manifest.clone(), made.library()];
    let inodes = || {
        use std::os::unix::fs::MetadataExt;
        files
            .each_ref()
            .map(|file| fs::metadata(file).unwrap().ino())
    };
    let before = inodes();
    let (module, source) = ("fast".to_owned(), Source::File(made.file.clone()));
    let extension = Extension { module, source };
    let folder = made.folder.path().join("made");
    assert_eq!(
        generate(&extension, &folder, &STABLE).unwrap(),
        made.generated
    );
    assert_eq!(inodes(), before);
    fs::write(&made.file, "// firehot:pyo3\n#[pyfunction] fn other() {}").unwrap();
    generate(&extension, &folder, &STABLE).unwrap();
    assert_eq!(inodes()[0], before[0]);
    assert_ne!(inodes()[1], before[1]);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
}

#[test]
fn what_can_t_be_built_is_said_with_its_place() {
    for (name, text, reason) in [
        ("match.rs", "// firehot", "Rust keeps that name for itself"),
        ("pyo3.rs", "// firehot", "Rust keeps that name for itself"),
        ("größe.rs", "// firehot", "only ASCII letters"),
        (
            "fast.rs",
            "// firehot\n//: [dependencies\n",
            "no valid part of a Cargo.toml",
        ),
    ] {
        let problem = make_file(name, text).err().unwrap();
        assert!(problem.to_string().contains(reason), "{problem}");
        assert!(problem.place().ends_with(name), "{problem}");
    }
}

#[test]
fn a_crate_is_left_alone_unless_it_is_a_template_that_lacks_something() {
    let whole = "[package]\nname = \"fast\"\n[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\npyo3 = \"0.30\"\n";
    for (manifest, library, is_made) in [
        ("", "", false),
        (whole, "", false),
        (whole, "// firehot:pyo3\n#[pymodule]\nmod fast {}\n", false),
        (whole, "// firehot:pyo3\n", true),
        (
            "[package]\nname = \"fast\"\n",
            "// firehot:pyo3\n#[pymodule]\nmod fast {}\n",
            true,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("fast");
        fs::create_dir_all(root.join("src")).unwrap();
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        fs::write(root.join("src/lib.rs"), library).unwrap();
        let (module, source) = ("fast".to_owned(), Source::Crate(root.clone()));
        let made = folder.path().join("made");
        let generated = generate(&Extension { module, source }, &made, &STABLE).unwrap();
        let expected = if is_made { made } else { root };
        assert_eq!(
            generated.manifest,
            expected.join("Cargo.toml"),
            "{manifest}{library}"
        );
    }
}

#[test]
fn a_template_keeps_what_it_inherits() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("fast");
    fs::create_dir_all(root.join("src")).unwrap();
    let outer =
        "[workspace]\nmembers = [\"fast\"]\n[workspace.dependencies]\nnear = { path = \"near\" }\n\
                 [profile.dev]\nopt-level = 1\n[package]\nname = \"outer\"\n";
    fs::write(folder.path().join("Cargo.toml"), outer).unwrap();
    let own = "[package]\nname = \"fast\"\n[dependencies]\nnear.workspace = true\n[profile.dev]\nopt-level = 3\n";
    fs::write(root.join("Cargo.toml"), own).unwrap();
    fs::write(root.join("src/lib.rs"), "// firehot:pyo3\n").unwrap();
    let (module, source) = ("fast".to_owned(), Source::Crate(root));
    let made = folder.path().join("made");
    let generated = generate(&Extension { module, source }, &made, &STABLE).unwrap();
    let manifest: Table = fs::read_to_string(generated.manifest)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("fast"));
    assert_eq!(
        manifest["profile"]["dev"]["opt-level"].as_integer(),
        Some(1)
    );
    let near = folder.path().join("near");
    assert_eq!(
        manifest["workspace"]["dependencies"]["near"]["path"].as_str(),
        near.to_str()
    );
    assert!(!manifest["workspace"]
        .as_table()
        .unwrap()
        .contains_key("members"));
}
