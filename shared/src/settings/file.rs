//! The file layer: TOML, flattened to the names that settings have.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Config, File, FileFormat, Value, ValueKind};

use super::SettingsError;

/// One value of the file, under the name of its setting.
#[derive(Debug, PartialEq)]
pub(super) struct FileValue {
    /// As it is written: `history.batch`.
    pub(super) key: String,
    /// One text, or several for a list.
    pub(super) texts: Vec<String>,
}

/// Reads a file into `setting name → value`; tables group, so `[history] batch` is
/// `history_batch`.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, FileValue>, SettingsError> {
    let failed = |reason: String| SettingsError::File {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let table = Config::builder()
        .add_source(File::from_str(&text, FileFormat::Toml))
        .build()
        .and_then(Config::try_deserialize::<BTreeMap<String, Value>>)
        .map_err(|error| failed(error.to_string()))?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        flatten(&key, value, &mut values).map_err(failed)?;
    }
    Ok(values)
}

fn flatten(key: &str, value: Value, into: &mut BTreeMap<String, FileValue>) -> Result<(), String> {
    let texts = match value.kind {
        ValueKind::Table(table) => {
            for (inner, value) in table {
                flatten(&format!("{key}.{inner}"), value, into)?;
            }
            return Ok(());
        }
        ValueKind::Array(items) => items
            .into_iter()
            .map(|item| {
                scalar(&item.kind).ok_or_else(|| format!("`{key}`: a list of plain values"))
            })
            .collect::<Result<_, _>>()?,
        kind => vec![scalar(&kind).ok_or_else(|| format!("`{key}`: no value"))?],
    };
    let name = key.replace(['.', '-'], "_");
    if let Some(twice) = into.insert(
        name,
        FileValue {
            key: key.to_owned(),
            texts,
        },
    ) {
        return Err(format!("`{}` and `{key}` set the same", twice.key));
    }
    Ok(())
}

fn scalar(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::Boolean(value) => Some(value.to_string()),
        ValueKind::I64(value) => Some(value.to_string()),
        ValueKind::I128(value) => Some(value.to_string()),
        ValueKind::U64(value) => Some(value.to_string()),
        ValueKind::U128(value) => Some(value.to_string()),
        ValueKind::Float(value) => Some(value.to_string()),
        ValueKind::String(value) => Some(value.clone()),
        _ => None,
    }
}
