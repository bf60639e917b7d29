//! Cargo.toml as a table: what is added to it when a crate is made. Writes no file.
#![forbid(unsafe_code)]

use std::path::Path;

use toml::{Table, Value};

use super::tables::table;

/// Adds what every crate of ours has.
pub(super) fn complete(manifest: &mut Table, name: &str, file: &str, root: String) {
    let mut defaults = Table::new();
    // Two files of one name share a target folder.
    put(
        &mut defaults,
        &["package", "name"],
        format!("{name}-{:016x}", hash(file)).into(),
    );
    put(&mut defaults, &["package", "version"], "0.0.0".into());
    put(&mut defaults, &["package", "edition"], "2021".into());
    put(&mut defaults, &["lib", "name"], name.into());
    put(
        &mut defaults,
        &["lib", "crate-type"],
        Value::Array(Vec::new()),
    );
    // It never belongs to a workspace that the cache folder happens to lie in.
    defaults.insert("workspace".into(), Table::new().into());
    put(
        &mut defaults,
        &["profile", "dev", "debug"],
        "line-tables-only".into(),
    );
    merge(manifest, defaults);
    if let Some(library) = manifest.get_mut("lib").and_then(Value::as_table_mut) {
        library.insert("path".into(), root.into());
        // Cargo knows both spellings, not together.
        let other = library.remove("crate_type");
        let types = other.or_else(|| library.remove("crate-type"));
        let mut types = types
            .and_then(|types| types.as_array().cloned())
            .unwrap_or_default();
        if !types.iter().any(|each| each.as_str() == Some("cdylib")) {
            types.push("cdylib".into());
        }
        library.insert("crate-type".into(), types.into());
    }
}

/// What a crate inherits from its workspace, of which the one that is made is no member.
pub(super) fn inherit(manifest: &mut Table, root: &Path) {
    for folder in root.ancestors() {
        let Ok(Some(outer)) = table(&folder.join("Cargo.toml")) else {
            continue;
        };
        if !outer.contains_key("workspace") {
            continue;
        }
        let mut outer = from_its_folder(outer, folder);
        outer.retain(|key, _| matches!(key, "workspace" | "profile" | "patch"));
        if let Some(workspace) = outer.get_mut("workspace").and_then(Value::as_table_mut) {
            workspace
                .retain(|key, _| matches!(key, "dependencies" | "package" | "lints" | "resolver"));
        }
        if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
            package.remove("workspace");
        }
        // Its own are not read where it is a member.
        manifest.retain(|key, _| !outer.contains_key(key));
        merge(manifest, outer);
        return;
    }
}

/// Makes paths absolute that are relative to the manifest's folder.
pub(super) fn from_its_folder(manifest: Table, folder: &Path) -> Table {
    let fixed = manifest.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Table(table) => Value::Table(from_its_folder(table, folder)),
            Value::Array(list) => {
                let fix = |each| match each {
                    Value::Table(table) => Value::Table(from_its_folder(table, folder)),
                    other => other,
                };
                Value::Array(list.into_iter().map(fix).collect())
            }
            Value::String(path) if key == "path" || key == "build" => folder
                .join(&path)
                .to_str()
                .map_or(path, str::to_owned)
                .into(),
            other => other,
        };
        (key, value)
    });
    fixed.collect()
}

/// Adds to a table what another has and it has not.
pub(super) fn merge(table: &mut Table, other: Table) {
    for (key, value) in other {
        match (table.get_mut(&key), value) {
            (None, value) => {
                table.insert(key, value);
            }
            (Some(Value::Table(own)), Value::Table(theirs)) => merge(own, theirs),
            (Some(_), _) => {}
        }
    }
}

pub(super) fn put(table: &mut Table, keys: &[&str], value: Value) {
    let mut nested = value;
    let (first, rest) = keys
        .split_first()
        .map_or(("", keys), |(first, rest)| (*first, rest));
    for key in rest.iter().rev() {
        nested = Table::from_iter([((*key).to_owned(), nested)]).into();
    }
    merge(table, Table::from_iter([(first.to_owned(), nested)]));
}

/// FNV-1a: the same in every version, as the names of packages have to be.
fn hash(text: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}
