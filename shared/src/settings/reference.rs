//! The settings of a service as documentation lists them.

use clap::Arg;

use super::loader::variable;
use super::{Loader, Secret, Settings};

/// What documentation says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDoc {
    /// The key of the file: `jwt_secret`.
    pub key: String,
    /// The flag: `--jwt-secret`.
    pub flag: String,
    /// The variable: `FIRESIDE_JWT_SECRET`.
    pub variable: String,
    /// The default, if there is one and it may be shown.
    pub default: Option<String>,
    /// What it does.
    pub help: String,
}

impl SettingDoc {
    /// The row of docs/operations.md. Tests ask that it stands there word for word.
    pub fn row(&self) -> String {
        let default = self
            .default
            .as_ref()
            .map_or_else(String::new, |value| format!("`{value}`"));
        format!(
            "| `{}` | {default} | {} |",
            self.key,
            self.help.replace('|', "\\|")
        )
    }
}

/// Every setting of a service, in the order declared.
pub fn reference<T: Settings>(loader: &Loader) -> Vec<SettingDoc> {
    loader
        .command::<T>()
        .get_arguments()
        .map(|arg| {
            let key = arg.get_id().to_string();
            let shown = !arg.get_default_values().is_empty() && !is_secret(arg);
            let variable = variable(&key);
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            SettingDoc {
                flag: format!("--{}", arg.get_long().unwrap_or(&key)),
                default: shown.then(|| {
                    let values = arg.get_default_values().iter();
                    values
                        .map(|value| value.to_string_lossy())
                        .collect::<Vec<_>>()
                        .join(",")
                }),
                help: help
                    .trim_end_matches(&format!("[{variable}]"))
                    .trim()
                    .to_owned(),
                variable,
                key,
            }
        })
        .collect()
}

fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == std::any::TypeId::of::<Secret<String>>()
}
