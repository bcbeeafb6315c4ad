//! From the file and the variables to the defaults of clap's arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use secrecy::{ExposeSecret, SecretString};

use super::values::{ValueError, check_admin_key, check_database};
use super::{Currency, Settings, values};

/// What every variable begins with.
const PREFIX: &str = "HUIDU_";
/// The file that is read when none is named.
const FILE: &str = "huidu.toml";
/// The setting that names the file; it cannot stand in it.
const CONFIG: &str = "config";
const DATABASE: &str = "database_url";
const ADMIN_KEY: &str = "bootstrap_admin_key";
/// The command whose help shows every setting.
const SERVE: &str = "serve";
/// The settings that the help of the others shows: where the database is.
const SHOWN_EVERYWHERE: [&str; 3] = [CONFIG, "data_dir", DATABASE];
/// Variables of the commands that call a running service.
const CLIENT_VARIABLES: [&str; 3] = ["HUIDU_URL", "HUIDU_KEY", "HUIDU_ENVIRONMENT"];

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The arguments are wrong, or ask for help or the version: `exit()` says which.
    #[error("{0}")]
    Arguments(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {error}", file.display())]
    Unreadable {
        /// Its name.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {message}", file.display())]
    Syntax {
        /// Its name.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file or a variable names a setting that does not exist.
    #[error("unknown setting {origin}{hint}", hint = .near.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    Unknown {
        /// Where it stands.
        origin: String,
        /// The setting that is written most like it.
        near: Option<String>,
    },
    /// A value is wrong. Secrets are never in the message.
    #[error("{origin}: {message}")]
    Value {
        /// The setting and where its value stands.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
    /// The admin key was given as an argument.
    #[error(
        "--bootstrap-admin-key is refused: arguments can be seen by others. Set HUIDU_BOOTSTRAP_ADMIN_KEY, or bootstrap_admin_key in {FILE}"
    )]
    SecretArgument,
}

/// What the settings are read from beside the arguments.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The folder in which `huidu.toml` is looked for.
    pub folder: PathBuf,
    /// All variables; only those that begin with `HUIDU_` count.
    pub variables: Vec<(OsString, OsString)>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { folder: PathBuf::new(), variables: std::env::vars_os().collect() }
    }
}

impl Surroundings {
    /// Whether output to a terminal may be coloured: not where `NO_COLOR` is set to anything, or the terminal is a dumb one.
    #[must_use]
    pub fn want_colours(&self) -> bool {
        let value =
            |name: &str| self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        value("NO_COLOR").is_none_or(|value| value.is_empty())
            && value("TERM").is_none_or(|term| term != "dumb")
    }

    /// The locale of messages, such as `zh_CN.UTF-8`; empty where none is set.
    #[must_use]
    pub fn locale(&self) -> String {
        let value = |name: &str| {
            let known = self.variables.iter().find(|(known, _)| known == name);
            known.map(|(_, value)| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
        };
        ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| value(name)).unwrap_or_default()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// One value from the file or a variable.
struct Layer {
    origin: String,
    values: Vec<String>,
}

/// The layered values by setting.
type Layers = BTreeMap<String, Layer>;

/// A setting as it holds, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// Its value as text; of a secret only that it is set, of a database's address not who opens it.
    pub value: Option<String>,
    /// `argument`, the variable's name, the place in the file, or `default`.
    pub origin: String,
}

/// Every setting with its origin, in the order of the help.
///
/// # Errors
/// As [`parse_command`].
pub fn origins(line: &[OsString], surroundings: &Surroundings) -> Result<Vec<Origin>, SettingsError> {
    let layers = read_layers(line, surroundings)?;
    let text = |v: &clap::builder::OsStr| v.to_string_lossy().into_owned();
    let each = known().into_iter().map(|argument| {
        let id = argument.get_id().to_string();
        let (values, origin) = match (argument_value(line, &id), layers.get(&id)) {
            (Some(value), _) => (vec![value], "argument".to_owned()),
            (None, Some(layer)) => (layer.values.clone(), layer.origin.clone()),
            (None, None) => (argument.get_default_values().iter().map(text).collect(), "default".to_owned()),
        };
        let value = (!values.is_empty()).then(|| shown_value(&id, &values.join(",")));
        Origin { name: id, value, origin }
    });
    Ok(each.collect())
}

/// What the line gives for a setting.
fn argument_value(line: &[OsString], id: &str) -> Option<String> {
    let name = format!("--{}", id.replace('_', "-"));
    let mut words = line.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    while let Some(word) = words.next() {
        if word == name.as_str() {
            let value = words.next().filter(|value| !value.starts_with("--"));
            return Some(value.map_or_else(|| "true".to_owned(), std::borrow::Cow::into_owned));
        }
        if let Some(value) = word.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

/// A value as it may be shown.
fn shown_value(id: &str, value: &str) -> String {
    match id {
        ADMIN_KEY => "(set, not shown)".to_owned(),
        DATABASE => {
            let value = value.split('?').next().unwrap_or_default();
            match value.split_once("://").zip(value.rsplit_once('@')) {
                Some(((scheme, _), (_, host))) => format!("{scheme}://...@{host}"),
                None => value.to_owned(),
            }
        }
        _ => value.to_owned(),
    }
}

/// Parses a command line (with the program's name) in which some subcommands flatten [`Settings`].
/// The file and the variables are read only for those.
///
/// # Errors
/// [`SettingsError`], of which [`SettingsError::Arguments`] carries requests for help too.
pub fn parse_command<C: clap::CommandFactory + clap::FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
) -> Result<C, SettingsError> {
    let line: Vec<OsString> = arguments.into_iter().collect();
    let command = C::command();
    let has_settings = takes_settings(&command, &line);
    let layers = if has_settings {
        match read_layers(&line, surroundings) {
            // Who asks for help may need it just because the file is wrong.
            Err(_) if asks_help(&line) => Layers::new(),
            read => read?,
        }
    } else {
        Layers::new()
    };
    let mut command = with_defaults(command, &layers);
    let matches = command.try_get_matches_from_mut(line)?;
    if has_settings {
        check_together(&matches, &layers)?;
    }
    let parsed = C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok(parsed)
}

/// The file under the variables, every value checked.
fn read_layers(line: &[OsString], surroundings: &Surroundings) -> Result<Layers, SettingsError> {
    let mut layers = read_file(line, surroundings)?;
    layers.extend(read_variables(surroundings)?);
    check_each(&layers)?;
    Ok(layers)
}

fn asks_help(line: &[OsString]) -> bool {
    line.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h")
}

/// Every setting as clap's argument.
fn known() -> Vec<Arg> {
    Settings::augment_args(Command::new("huidu")).get_arguments().cloned().collect()
}

fn variable(id: &str) -> String {
    format!("{PREFIX}{}", id.to_ascii_uppercase())
}

fn is_list(argument: &Arg) -> bool {
    argument.get_value_delimiter().is_some()
}

/// A secret that is empty is not set, so that a variable can be passed on without looking.
fn is_unset(id: &str, values: &[String]) -> bool {
    matches!(id, DATABASE | ADMIN_KEY | CONFIG) && values.iter().all(String::is_empty)
}

fn has_settings(command: &Command) -> bool {
    command.get_arguments().any(|a| a.get_id() == ADMIN_KEY)
}

/// Whether the subcommand that the line names takes settings.
fn takes_settings(command: &Command, line: &[OsString]) -> bool {
    let mut at = command;
    for word in line.iter().skip(1) {
        at = at.find_subcommand(word).unwrap_or(at);
    }
    has_settings(at)
}

/// Puts the layers under the arguments, and the variables' names into the help.
fn with_defaults(command: Command, layers: &Layers) -> Command {
    let command = command.mut_subcommands(|sub| with_defaults(sub, layers));
    if !has_settings(&command) {
        return command;
    }
    let serves = command.get_name() == SERVE;
    let ids: Vec<String> = known().iter().map(|a| a.get_id().to_string()).collect();
    let command = ids.into_iter().fold(command, |command, id| {
        let layer = layers.get(&id);
        command.mut_arg(&id, |argument| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let name = variable(&id);
            let argument = argument
                .hide(!serves && !SHOWN_EVERYWHERE.contains(&id.as_str()))
                .help(format!("{help} [variable: {name}]"))
                .long_help(format!("{help}\n[variable: {name}]"));
            match layer {
                Some(layer) => argument.default_values(layer.values.clone()),
                None => argument,
            }
        })
    });
    let own = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    let more =
        if serves { "" } else { " `huidu serve --help` shows all settings; this command takes them too." };
    command.after_help(format!(
        "{own}Each setting can also be a variable, as shown, or stand in huidu.toml under its name with `_` for `-`. \
         An argument goes before a variable, that before the file, that before the default. \
         The defaults shown are those that hold here, variables and file included.{more}",
    ))
}

/// The file that the arguments, else the variable name.
fn named_file(line: &[OsString], surroundings: &Surroundings) -> Option<PathBuf> {
    let mut words = line.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(file) = word.to_str().and_then(|w| w.strip_prefix("--config=")) {
            return Some(file.into());
        }
    }
    let name = variable(CONFIG);
    let named = surroundings.variables.iter().find(|(n, v)| *n == *name && !v.is_empty());
    named.map(|(_, file)| PathBuf::from(file))
}

fn read_file(line: &[OsString], surroundings: &Surroundings) -> Result<Layers, SettingsError> {
    let named = named_file(line, surroundings);
    let must_exist = named.is_some();
    let file = named.unwrap_or_else(|| PathBuf::from(FILE));
    match std::fs::read_to_string(surroundings.folder.join(&file)) {
        Ok(text) => file_layers(&file, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(Layers::new()),
        Err(error) => Err(SettingsError::Unreadable { file, error }),
    }
}

fn file_layers(file: &Path, text: &str) -> Result<Layers, SettingsError> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| SettingsError::Syntax {
        file: file.to_owned(),
        line: line_number(text, &e),
        // Not the whole error: it shows the line, which may hold a secret.
        message: e.message().to_owned(),
    })?;
    let known = known();
    let mut layers = Layers::new();
    for (key, value) in table {
        let origin = format!("`{key}` in {}", file.display());
        let argument = known.iter().find(|a| a.get_id() == key.as_str() && key != CONFIG);
        let Some(argument) = argument else {
            return Err(SettingsError::Unknown { origin, near: nearest(&key, &known, str::to_owned) });
        };
        let Some(values) = texts(&value, is_list(argument)) else {
            let message = if is_list(argument) { "a list of texts is needed" } else { "one value is needed" };
            return Err(SettingsError::Value { origin, message: message.to_owned() });
        };
        if !is_unset(&key, &values) {
            layers.insert(key, Layer { origin, values });
        }
    }
    Ok(layers)
}

fn line_number(text: &str, error: &toml::de::Error) -> usize {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count().saturating_add(1)
}

/// A TOML value as the texts that an argument would have; `None` if it has another shape.
fn texts(value: &toml::Value, list: bool) -> Option<Vec<String>> {
    match value {
        toml::Value::Array(items) if list => items.iter().map(scalar).collect(),
        _ if list => value.as_str().map(split),
        _ => scalar(value).map(|text| vec![text]),
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(boolean) => Some(boolean.to_string()),
        _ => None,
    }
}

/// A list written with commas; an empty text is an empty list.
fn split(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

fn read_variables(surroundings: &Surroundings) -> Result<Layers, SettingsError> {
    let known = known();
    let mut layers = Layers::new();
    for (name, value) in &surroundings.variables {
        let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)) else { continue };
        let origin = format!("{PREFIX}{rest}");
        if CLIENT_VARIABLES.contains(&origin.as_str()) || is_injected(rest) {
            continue;
        }
        let Some(argument) = known.iter().find(|a| variable(a.get_id().as_str()) == origin) else {
            let near = nearest(&rest.to_ascii_lowercase(), &known, variable);
            return Err(SettingsError::Unknown { origin, near });
        };
        let Some(text) = value.to_str() else {
            return Err(SettingsError::Value { origin, message: "is not UTF-8".to_owned() });
        };
        let id = argument.get_id().to_string();
        let values = if is_list(argument) { split(text) } else { vec![text.to_owned()] };
        if !is_unset(&id, &values) {
            layers.insert(id, Layer { origin, values });
        }
    }
    Ok(layers)
}

/// Whether Kubernetes injects such a variable for a service named huidu, or huidu-something.
fn is_injected(rest: &str) -> bool {
    let numbered = |(_, after): (&str, &str)| after.starts_with(|c: char| c.is_ascii_digit());
    rest.starts_with("PORT")
        || rest.starts_with("SERVICE_")
        || rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.ends_with("_PORT")
        || rest.split_once("_PORT_").is_some_and(numbered)
}

/// The setting that is written most like `name`, if one is near.
fn nearest(name: &str, known: &[Arg], write: impl Fn(&str) -> String) -> Option<String> {
    let ids = known.iter().map(|a| a.get_id().as_str()).filter(|id| *id != CONFIG);
    let (distance, id) = ids.map(|id| (distance(name, id), id)).min()?;
    (distance * 2 < name.len()).then(|| write(id))
}

/// Levenshtein's distance of two short texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (above, y) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(x != *y)).min(*above + 1).min(left + 1);
            (diagonal, left) = (*above, cost);
            *above = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Parses every layered value alone, so that a refusal says where the value stands.
fn check_each(layers: &Layers) -> Result<(), SettingsError> {
    for (id, layer) in layers {
        for value in &layer.values {
            let argument = format!("--{}={value}", id.replace('_', "-"));
            let parsed = Settings::augment_args(Command::new("huidu"))
                .disable_help_flag(true)
                .try_get_matches_from(["huidu", &argument]);
            if let Err(error) = parsed {
                let origin = layer.origin.clone();
                return Err(SettingsError::Value { origin, message: refusal(value, &error) });
            }
        }
    }
    Ok(())
}

/// What clap says about one value, without the argument's name.
fn refusal(value: &str, error: &clap::Error) -> String {
    if let Some(inner) = std::error::Error::source(error) {
        return format!("{value:?}: {inner}");
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("{value:?} is none of {}", valid.join(", ")),
        _ => format!("{value:?} is not allowed"),
    }
}

/// What clap cannot check without showing a secret, or value by value.
fn check_together(matches: &ArgMatches, layers: &Layers) -> Result<(), SettingsError> {
    let mut matches = matches;
    while let Some((_, sub)) = matches.subcommand() {
        matches = sub;
    }
    if matches.value_source(ADMIN_KEY) == Some(ValueSource::CommandLine) {
        return Err(SettingsError::SecretArgument);
    }
    let secret = |id: &str, check: fn(&str) -> Result<(), ValueError>| {
        matches.get_one::<SecretString>(id).map_or(Ok(()), |s| check(s.expose_secret()))
    };
    let origins: Vec<&values::Origin> =
        matches.get_many::<values::Origin>("cors_origins").into_iter().flatten().collect();
    let star = origins.len() > 1 && origins.contains(&&values::Origin::Any);
    let currencies = matches.get_many::<Currency>("currencies").map_or(0, Iterator::count);
    for (id, result) in [
        (DATABASE, secret(DATABASE, check_database)),
        (ADMIN_KEY, secret(ADMIN_KEY, check_admin_key)),
        ("cors_origins", if star { Err(ValueError::Star) } else { Ok(()) }),
        ("currencies", if currencies == 0 { Err(ValueError::Empty) } else { Ok(()) }),
    ] {
        result.map_err(|error| {
            let given = matches.value_source(id) == Some(ValueSource::CommandLine);
            let layer = layers.get(id).filter(|_| !given);
            let origin = layer.map_or_else(|| format!("--{}", id.replace('_', "-")), |l| l.origin.clone());
            SettingsError::Value { origin, message: error.to_string() }
        })?;
    }
    Ok(())
}

/// The settings that can stand in a file, with their defaults: for tests.
#[cfg(test)]
pub(super) fn defaults() -> Vec<(String, Vec<String>)> {
    let text = |v: &clap::builder::OsStr| v.to_string_lossy().into_owned();
    let settings = known().into_iter().filter(|a| a.get_id() != CONFIG);
    settings.map(|a| (a.get_id().to_string(), a.get_default_values().iter().map(text).collect())).collect()
}
