//! What the commands that call a running service are told: apart from the settings of the service itself.

use secrecy::{ExposeSecret, SecretString};

use super::values::{self, ValueError};
use crate::engine::key::EnvironmentKey;

/// Which service is called, with which key, about which environment.
#[derive(clap::Args, Debug, Clone)]
pub struct ClientSettings {
    /// Address of the service
    #[arg(long, value_name = "URL", env = "HUIDU_URL", default_value = "http://127.0.0.1:8080",
          hide_env_values = true, help_heading = HEADING, value_parser = service_url)]
    pub url: String,

    /// Key to call it with. Better set the variable: arguments can be seen by others on this machine
    #[arg(long, value_name = "KEY", env = "HUIDU_KEY", hide_env_values = true, help_heading = HEADING,
          value_parser = values::secret)]
    pub key: Option<SecretString>,

    /// Environment that the command is about
    #[arg(long, value_name = "KEY", env = "HUIDU_ENVIRONMENT", default_value = "production",
          hide_env_values = true, help_heading = HEADING, value_parser = values::environment)]
    pub environment: EnvironmentKey,
}

const HEADING: &str = "Service";

impl ClientSettings {
    /// The key, where one was given; a variable that is empty counts as none.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_ref().map(ExposeSecret::expose_secret).filter(|key| !key.is_empty())
    }
}

/// The address of a service, without its final slash.
///
/// # Errors
/// [`ValueError::Url`] for what is no `http://` or `https://` address, or names a user.
pub fn service_url(text: &str) -> Result<String, ValueError> {
    let text = text.trim().trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@' | '"' | '<' | '>' | '\\');
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') && host.chars().all(plain) => {
            Ok(text.to_owned())
        }
        _ => Err(ValueError::Url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_without_a_query_or_a_name() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("https://huidu.example/", Some("https://huidu.example")),
            ("https://huidu.example/flags//", Some("https://huidu.example/flags")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("127.0.0.1:8080", None),
            ("ftp://huidu.example", None),
            ("http://", None),
            ("http:///path", None),
            ("http://user:secret@host", None),
            ("http://host?x=1", None),
            ("http://a host", None),
            ("", None),
        ] {
            assert_eq!(service_url(text).ok().as_deref(), expected, "{text:?}");
        }
    }
}
