//! `[tool.maturin]` in the words of cargo and rustc. Reads no file.
#![forbid(unsafe_code)]

use std::env::consts::ARCH;

use toml::{Table, Value};

use super::tables::text;

/// What cargo is told.
pub(super) fn cargo_arguments(pyproject: &Table) -> Vec<String> {
    let setting = |name: &str| setting(pyproject, name);
    let mut arguments = Vec::new();
    // What is edited is built with the profile for that, where there is one.
    let profile = setting("editable-profile").or_else(|| setting("profile"));
    if let Some(profile) = profile.and_then(Value::as_str) {
        arguments.extend(["--profile".to_owned(), profile.to_owned()]);
    }
    let features: Vec<&str> = words(setting("features"));
    if !features.is_empty() {
        arguments.extend(["--features".to_owned(), features.join(",")]);
    }
    for flag in [
        "all-features",
        "no-default-features",
        "frozen",
        "locked",
        "offline",
    ] {
        if setting(flag).and_then(Value::as_bool) == Some(true) {
            arguments.push(format!("--{flag}"));
        }
    }
    for (name, option) in [("config", "--config"), ("unstable-flags", "-Z")] {
        for value in words(setting(name)) {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
    }
    match setting("cargo-extra-args") {
        Some(Value::String(line)) => arguments.extend(split(line)),
        other => arguments.extend(words(other).into_iter().map(str::to_owned)),
    }
    arguments
}

/// What rustc is told, for the library alone.
pub(super) fn rustc_arguments(pyproject: &Table) -> Vec<String> {
    let found = words(setting(pyproject, "rustc-args"));
    found.into_iter().map(str::to_owned).collect()
}

/// The oldest macOS that a build is for: `target` has a table for each platform, and nothing else in it.
pub(super) fn deployment_target(pyproject: &Table) -> Option<String> {
    let platform = format!("{ARCH}-apple-darwin");
    let platform = ["tool", "maturin", "target", &platform];
    let names = ["macos-deployment-target", "macosx-deployment-target"];
    let mut found = names
        .iter()
        .filter_map(|name| text(pyproject, &[&platform[..], &[*name]].concat()));
    found.next().map(str::to_owned)
}

fn setting<'a>(pyproject: &'a Table, name: &str) -> Option<&'a Value> {
    pyproject.get("tool")?.get("maturin")?.get(name)
}

/// The strings of a list; of a table in it, its `feature`.
fn words(value: Option<&Value>) -> Vec<&str> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|each| each.as_str().or_else(|| each.get("feature")?.as_str()))
        .collect()
}

/// Splits a line of arguments as a shell does, quotes and all, but expands nothing.
fn split(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => found.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_arguments_of_cargo_and_of_rustc() {
        let settings = "[tool.maturin]\nprofile = \"fast\"\nfeatures = [\"a\", { feature = \"b\" }]\n\
                        no-default-features = true\nall-features = false\nlocked = true\n\
                        config = [\"net.offline=true\"]\ncargo-extra-args = \"--jobs 2 --config 'a = \\\"b c\\\"'\"\n\
                        rustc-args = [\"-C\", \"link-arg=-s\"]\n";
        let pyproject: Table = settings.parse().unwrap();
        assert_eq!(
            cargo_arguments(&pyproject),
            [
                "--profile",
                "fast",
                "--features",
                "a,b",
                "--no-default-features",
                "--locked",
                "--config",
                "net.offline=true",
                "--jobs",
                "2",
                "--config",
                "a = \"b c\"",
            ]
        );
        assert_eq!(rustc_arguments(&pyproject), ["-C", "link-arg=-s"]);
        assert!(rustc_arguments(&Table::new()).is_empty());
    }

    #[test]
    fn the_oldest_macos_is_that_of_this_platform() {
        for (platform, name, found) in [
            (
                format!("{ARCH}-apple-darwin"),
                "macos-deployment-target",
                Some("11.0"),
            ),
            (
                format!("{ARCH}-apple-darwin"),
                "macosx-deployment-target",
                Some("11.0"),
            ),
            (
                "other-apple-darwin".to_owned(),
                "macos-deployment-target",
                None,
            ),
        ] {
            let settings = format!("[tool.maturin.target.{platform}]\n{name} = \"11.0\"\n");
            let pyproject: Table = settings.parse().unwrap();
            assert_eq!(
                deployment_target(&pyproject).as_deref(),
                found,
                "{settings}"
            );
        }
    }
}
