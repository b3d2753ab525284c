//! Puts the layers on top of each other.
//!
//! The lower layers are handed to clap as flags in front of the ones that were typed, and only
//! where nothing was typed: so every layer goes through the same parsers, and there is one way to
//! be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{self, FileValue};
use super::{Report, Settings, SettingsError, nearest};

const PREFIX: &str = "FIRESIDE_";
const CONFIG: &str = "config";

/// What a process is started with, apart from the file. Tests make their own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The command line without the program's name.
    pub arguments: Vec<OsString>,
    /// The environment.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// Those of this process. A variable that is not UTF-8 is none of ours.
    pub fn process() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            arguments: std::env::args_os().skip(1).collect(),
            environment,
        }
    }
}

/// The layer that set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The code.
    Default,
    /// The file.
    File,
    /// A variable.
    Environment,
    /// A flag.
    CommandLine,
}

/// Settings, and what is to be said about them once there is a log.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// Such as a `FIRESIDE_` variable that nobody here knows.
    pub warnings: Vec<String>,
    /// Which layer each setting comes from.
    pub origins: BTreeMap<String, Origin>,
}

/// Loads the settings of one service.
#[derive(Debug, Clone)]
pub struct Loader {
    name: &'static str,
    version: &'static str,
    about: &'static str,
    defaults: Vec<(&'static str, &'static str)>,
}

impl Loader {
    /// A loader for the program `name`; `about` heads its help.
    pub fn new(name: &'static str, version: &'static str, about: &'static str) -> Self {
        Self {
            name,
            version,
            about,
            defaults: Vec::new(),
        }
    }

    /// Gives a setting of a shared section another default here, such as a port of this service's
    /// own.
    #[must_use]
    pub fn default_for(mut self, setting: &'static str, value: &'static str) -> Self {
        self.defaults.push((setting, value));
        self
    }

    /// The program's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The program's version.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Reads all layers, checks them, and gives the typed settings.
    pub fn load<T: Settings>(&self, sources: Sources) -> Result<Loaded<T>, SettingsError> {
        let command = self.command::<T>();
        let typed = self.typed(&command, &sources)?;
        let environment = variables(&sources.environment);
        let known: Vec<String> = names(&command);

        let path = typed.get_one::<PathBuf>(CONFIG).cloned().or_else(|| {
            environment
                .get(CONFIG)
                .map(|path| PathBuf::from(path.as_str()))
        });
        let from_file = match &path {
            Some(path) => {
                let values = file::read(path)?;
                refuse_unknown(path, &values, &known)?;
                values
            }
            None => BTreeMap::new(),
        };
        let warnings = unknown_variables(&environment, &known);

        let mut arguments = vec![OsString::from(self.name)];
        let mut origins = BTreeMap::new();
        for arg in command.get_arguments().filter(|arg| arg.get_id() != CONFIG) {
            let id = arg.get_id().as_str();
            let (texts, origin) = if is_typed(&typed, id) {
                (Vec::new(), Origin::CommandLine)
            } else if let Some(text) = environment.get(id) {
                (vec![text.clone()], Origin::Environment)
            } else if let Some(value) = from_file.get(id) {
                (value.texts.clone(), Origin::File)
            } else {
                (Vec::new(), Origin::Default)
            };
            push(arg, texts, &mut arguments).map_err(|reason| SettingsError::Value {
                origin: place(id, &origin, &from_file),
                reason,
            })?;
            origins.insert(id.to_owned(), origin);
        }
        arguments.extend(sources.arguments);

        let settings = command
            .try_get_matches_from(arguments)
            .and_then(|matches| T::from_arg_matches(&matches))
            .map_err(|error| explain(error, &origins, &from_file))?;
        let mut report = Report::default();
        settings.validate(&mut report);
        report.into_result()?;
        Ok(Loaded {
            settings,
            warnings,
            origins,
        })
    }

    /// Parses the flags alone: help, mistakes of the command line, and which settings were typed.
    fn typed(&self, command: &Command, sources: &Sources) -> Result<ArgMatches, SettingsError> {
        let arguments =
            std::iter::once(OsString::from(self.name)).chain(sources.arguments.iter().cloned());
        command
            .clone()
            .mut_args(|arg| arg.required(false))
            .try_get_matches_from(arguments)
            .map_err(|error| match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => SettingsError::Asked(error),
                _ => SettingsError::CommandLine(error),
            })
    }

    pub(super) fn command<T: Settings>(&self) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with settings; variables and flags come after it and win");
        let mut command = T::augment_args(
            Command::new(self.name)
                .version(self.version)
                .about(self.about)
                .arg(config),
        );
        for &(setting, value) in &self.defaults {
            command = command.mut_arg(setting, |arg| arg.default_value(value));
        }
        command.mut_args(|arg| {
            let variable = variable(arg.get_id().as_str());
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            // clap would read the variable by itself and print its value in the help.
            arg.env(None::<&'static str>)
                .help(format!("{help} [{variable}]"))
        })
    }
}

pub(super) fn variable(id: &str) -> String {
    format!("{PREFIX}{}", id.to_ascii_uppercase())
}

fn names(command: &Command) -> Vec<String> {
    command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect()
}

/// The `FIRESIDE_` variables by the setting they would set. An empty one counts as not set: that is
/// what compose files and shells leave behind when a value is missing.
fn variables(environment: &[(String, String)]) -> BTreeMap<String, String> {
    environment
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            Some((
                name.strip_prefix(PREFIX)?.to_ascii_lowercase(),
                value.clone(),
            ))
        })
        .collect()
}

fn is_typed(typed: &ArgMatches, id: &str) -> bool {
    typed.value_source(id) == Some(ValueSource::CommandLine)
}

fn refuse_unknown(
    path: &std::path::Path,
    values: &BTreeMap<String, FileValue>,
    known: &[String],
) -> Result<(), SettingsError> {
    let known: BTreeSet<&str> = known
        .iter()
        .map(String::as_str)
        .filter(|name| *name != CONFIG)
        .collect();
    let complaints: Vec<String> = values
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()))
        .map(|(name, value)| match nearest(name, known.iter().copied()) {
            Some(meant) => format!("unknown key `{}`: did you mean `{meant}`?", value.key),
            None => format!("unknown key `{}`", value.key),
        })
        .collect();
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(SettingsError::UnknownKeys {
            path: path.to_owned(),
            complaints,
        })
    }
}

fn unknown_variables(environment: &BTreeMap<String, String>, known: &[String]) -> Vec<String> {
    environment
        .keys()
        .filter(|name| !known.contains(name))
        .map(|name| {
            let meant = nearest(name, known.iter().map(String::as_str))
                .map_or_else(String::new, |meant| {
                    format!(": did you mean {}?", variable(meant))
                });
            format!("unknown variable {} is ignored{meant}", variable(name))
        })
        .collect()
}

/// Adds a value of a lower layer as the flag that would say the same.
fn push(arg: &Arg, texts: Vec<String>, into: &mut Vec<OsString>) -> Result<(), String> {
    let Some(long) = arg.get_long() else {
        return Ok(());
    };
    let is_list = arg.get_value_delimiter().is_some();
    match arg.get_action() {
        ArgAction::SetTrue => match texts.first().map(String::as_str) {
            Some("true" | "1") => into.push(format!("--{long}").into()),
            None | Some("false" | "0") => {}
            Some(other) => return Err(format!("`{other}` is neither true nor false")),
        },
        ArgAction::Append => {
            into.extend(
                texts
                    .into_iter()
                    .map(|text| OsString::from(format!("--{long}={text}"))),
            );
        }
        _ if texts.len() > 1 && !is_list => return Err("one value, not a list".to_owned()),
        _ => {
            into.extend(
                texts
                    .into_iter()
                    .map(|text| OsString::from(format!("--{long}={text}"))),
            );
        }
    }
    Ok(())
}

/// Where a person finds the value that is wrong.
fn place(id: &str, origin: &Origin, from_file: &BTreeMap<String, FileValue>) -> String {
    match (origin, from_file.get(id)) {
        (Origin::Environment, _) => variable(id),
        (Origin::File, Some(value)) => format!("key `{}` of the configuration file", value.key),
        _ => format!("--{}", id.replace('_', "-")),
    }
}

/// Turns clap's complaint about a flag that nobody typed into one about the place it came from.
fn explain(
    error: clap::Error,
    origins: &BTreeMap<String, Origin>,
    from_file: &BTreeMap<String, FileValue>,
) -> SettingsError {
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let missing = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(flags)) => {
                flags.iter().map(|flag| setting_of(flag)).collect()
            }
            Some(ContextValue::String(flag)) => vec![setting_of(flag)],
            _ => Vec::new(),
        };
        let wanted: Vec<String> = missing
            .iter()
            .map(|id| format!("{} (or --{})", variable(id), id.replace('_', "-")))
            .collect();
        return SettingsError::Missing(format!("not set: {}", wanted.join(", ")));
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return SettingsError::CommandLine(error);
    };
    let id = setting_of(flag);
    match origins.get(&id) {
        Some(origin @ (Origin::File | Origin::Environment)) => {
            let rendered = error.to_string();
            let reason = rendered
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            SettingsError::Value {
                origin: place(&id, origin, from_file),
                reason: reason.to_owned(),
            }
        }
        _ => SettingsError::CommandLine(error),
    }
}

/// `--jwt-secret <JWT_SECRET>` as clap shows it → `jwt_secret`.
fn setting_of(flag: &str) -> String {
    flag.trim_start_matches('-')
        .split([' ', '=', '['])
        .next()
        .unwrap_or_default()
        .replace('-', "_")
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
