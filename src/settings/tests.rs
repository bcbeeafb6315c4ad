use std::error::Error;

use clap::{CommandFactory, Parser, Subcommand};

use super::*;

const EXAMPLE: &str = include_str!("../../huidu.example.toml");
const KEY: &str = "an-admin-key-of-32-characters-ok";

#[derive(Parser, Debug)]
#[command(name = "huidu")]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand, Debug)]
enum Commands {
    /// Runs the service
    #[command(after_help = "Example: huidu serve --listen 0.0.0.0:80")]
    Serve {
        #[command(flatten)]
        settings: Settings,
    },
    /// Keys
    Key {
        #[command(subcommand)]
        command: Key,
    },
    /// Asks a running service
    Flag { key: String },
}

#[derive(Subcommand, Debug)]
enum Key {
    /// Makes a key
    Create {
        #[command(flatten)]
        settings: Settings,
        #[arg(long)]
        role: String,
    },
}

/// A folder with a huidu.toml of this text, and these variables.
struct Place {
    folder: tempfile::TempDir,
    around: Surroundings,
}

fn place(file: &str, variables: &[(&str, &str)]) -> Place {
    let folder = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(folder.path().join("huidu.toml"), file).unwrap();
    }
    let variables = variables.iter().map(|(n, v)| (n.into(), v.into())).collect();
    let around = Surroundings { folder: folder.path().to_owned(), variables };
    Place { folder, around }
}

fn read(arguments: &[&str], file: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::parse(arguments, &place(file, variables).around)
}

fn refused(arguments: &[&str], file: &str, variables: &[(&str, &str)]) -> String {
    read(arguments, file, variables).unwrap_err().to_string()
}

fn help(command: &str, file: &str, variables: &[(&str, &str)]) -> String {
    let words = format!("huidu {command} --help");
    let line = words.split(' ').map(OsString::from);
    let refused = parse_command::<Cli>(line, &place(file, variables).around).unwrap_err();
    assert!(
        matches!(&refused, SettingsError::Arguments(e) if e.kind() == clap::error::ErrorKind::DisplayHelp)
    );
    refused.to_string()
}

fn serve(file: &str, variables: &[(&str, &str)]) -> Settings {
    let line = ["huidu", "serve"].map(OsString::from);
    match parse_command::<Cli>(line, &place(file, variables).around).unwrap().command {
        Commands::Serve { settings } => settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn clap_finds_no_fault_in_the_arguments() {
    Cli::command().debug_assert();
}

#[test]
fn each_default_is_as_documented() {
    let s = read(&[], "", &[]).unwrap();
    assert_eq!(s.config, None);
    assert_eq!(s.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(s.data_dir, PathBuf::from("huidu-data"));
    assert!(s.database_url.is_none() && s.bootstrap_admin_key.is_none());
    assert_eq!(s.database().expose_secret(), "sqlite:huidu-data/huidu.db");
    assert!(s.is_embedded());
    assert_eq!((s.workers, s.connections_max, s.shutdown_seconds), (0, 10_000, 10));
    assert_eq!((s.database_connections, s.database_timeout_ms), (8, 3_000));
    assert_eq!(s.default_environment.as_str(), "production");
    assert_eq!(s.unit_ids, UnitIds::Plain);
    assert_eq!(s.currencies, ["CNY".parse().unwrap()]);
    assert_eq!(s.timezone, TimeZone::UTC);
    assert_eq!((s.event_queue_events, s.event_queue_bytes), (100_000, 64 << 20));
    assert_eq!(s.event_batch_max, 20_000);
    assert!(s.cors_origins.is_empty() && s.trusted_proxies.is_empty());
    assert_eq!((s.failed_auth_per_minute.get(), s.writes_per_minute.get()), (60, 600));
    assert_eq!(
        (s.log_format, s.log.as_str(), s.metrics_public),
        (LogFormat::Pretty, "info,actix_server=warn,sqlx=warn", false)
    );
}

#[test]
fn the_example_file_names_every_setting_with_its_default() {
    let table: toml::Table = EXAMPLE.parse().unwrap();
    let defaults = layers::defaults();
    assert_eq!(table.len(), defaults.len());
    for (id, default) in defaults {
        let written = match table.get(&id).unwrap_or_else(|| panic!("{id} is missing")) {
            toml::Value::Array(items) => items.iter().map(|i| i.as_str().unwrap().to_owned()).collect(),
            toml::Value::String(text) if text.is_empty() => Vec::new(),
            toml::Value::String(text) => vec![text.clone()],
            other => vec![other.to_string()],
        };
        assert_eq!(written, default, "{id}");
    }
    assert_eq!(format!("{:?}", serve(EXAMPLE, &[])), format!("{:?}", serve("", &[])));
}

#[test]
fn argument_before_variable_before_file_before_default() {
    let file = "workers = 1\ncurrencies = [\"USD\"]\nmetrics_public = true";
    let variables =
        [("HUIDU_WORKERS", "2"), ("HUIDU_CURRENCIES", "EUR, JPY"), ("HUIDU_METRICS_PUBLIC", "false")];
    let arguments = ["--workers", "3", "--currencies", "GBP,CHF", "--metrics-public"];
    let codes = |s: &Settings| s.currencies.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for (arguments, file, variables, workers, currencies, public) in [
        (&[][..], "", &[][..], 0, "CNY", false),
        (&[], file, &[], 1, "USD", true),
        (&[], file, &variables, 2, "EUR,JPY", false),
        (&[], "", &variables, 2, "EUR,JPY", false),
        (&arguments, file, &variables, 3, "GBP,CHF", true),
        (&arguments, "", &[], 3, "GBP,CHF", true),
    ] {
        let s = read(arguments, file, variables).unwrap();
        assert_eq!((s.workers, codes(&s).as_str(), s.metrics_public), (workers, currencies, public));
    }
}

#[test]
fn each_setting_can_be_argument_variable_and_line_of_the_file() {
    for (id, value, seen) in [
        ("listen", "0.0.0.0:0", "listen: 0.0.0.0:0"),
        ("workers", "7", "workers: 7"),
        ("connections_max", "77", "connections_max: 77"),
        ("shutdown_seconds", "15", "shutdown_seconds: 15"),
        ("data_dir", "/var/lib/huidu", "data_dir: \"/var/lib/huidu\""),
        ("database_url", "postgres://u:p@h/d", "database_url: Some(SecretBox"),
        ("database_connections", "9", "database_connections: 9"),
        ("database_timeout_ms", "999", "database_timeout_ms: 999"),
        ("default_environment", "staging", "default_environment: \"staging\""),
        ("unit_ids", "hashed", "unit_ids: Hashed"),
        ("currencies", "CNY,HKD", "currencies: [CNY, HKD]"),
        ("timezone", "Asia/Shanghai", "Asia/Shanghai"),
        ("event_queue_events", "5000", "event_queue_events: 5000"),
        ("event_queue_bytes", "1048576", "event_queue_bytes: 1048576"),
        ("event_batch_max", "50", "event_batch_max: 50"),
        ("bootstrap_admin_key", KEY, "bootstrap_admin_key: Some(SecretBox"),
        (
            "cors_origins",
            "https://a.example,http://b:8080",
            "cors_origins: [Exact(\"https://a.example\"), Exact(",
        ),
        ("cors_origins", "*", "cors_origins: [Any]"),
        ("trusted_proxies", "10.0.0.0/8,::1", "prefix: 128 }]"),
        ("failed_auth_per_minute", "1", "failed_auth_per_minute: 1,"),
        ("writes_per_minute", "2", "writes_per_minute: 2,"),
        ("log_format", "json", "log_format: Json"),
        ("log", "warn,huidu=debug", "log: \"warn,huidu=debug\""),
        ("metrics_public", "true", "metrics_public: true"),
    ] {
        let argument = format!("--{}={value}", id.replace('_', "-"));
        let line = format!("{id} = \"{value}\"");
        let variable = format!("HUIDU_{}", id.to_uppercase());
        assert!(!format!("{:?}", read(&[], "", &[]).unwrap()).contains(seen), "{id} is not so by default");
        let mut ways = vec![read(&[], &line, &[]), read(&[], "", &[(&variable, value)])];
        if id != "bootstrap_admin_key" {
            ways.push(read(&[&argument], "", &[]));
        }
        for way in ways {
            let shown = format!("{:?}", way.unwrap());
            assert!(shown.contains(seen), "{id}: {shown}");
        }
    }
}

#[test]
fn each_bad_value_is_refused_and_the_setting_named() {
    for (id, value, why) in [
        ("listen", "localhost", "invalid socket address"),
        ("listen", "127.0.0.1:65536", "invalid socket address"),
        ("workers", "-1", "invalid digit"),
        ("workers", "1025", "1025 is not in 0..=1024"),
        ("connections_max", "0", "0 is not in 1..=1000000"),
        ("shutdown_seconds", "16", "16 is not in 0..=15"),
        ("data_dir", "", "cannot be empty"),
        ("database_url", "mysql://x", "postgres://user:password@host/name or sqlite:file"),
        ("database_url", "postgres://", "postgres://user:password@host/name or sqlite:file"),
        ("database_connections", "0", "0 is not in"),
        ("database_timeout_ms", "9", "9 is not in"),
        ("default_environment", "a/b", "a key is"),
        ("unit_ids", "clear", "none of plain, hashed"),
        ("currencies", "cny", "three letters"),
        ("currencies", "CNY,", "three letters"),
        ("timezone", "Mars/Olympus", "no time zone"),
        ("timezone", "", "no time zone"),
        ("event_queue_events", "999", "999 is not in"),
        ("event_queue_bytes", "1048575", "1048575 is not in"),
        ("event_batch_max", "0", "0 is not in"),
        ("bootstrap_admin_key", "too-short-a-key-of-31-character", "32 to 200"),
        ("bootstrap_admin_key", "a key of 32 characters and blanks", "32 to 200"),
        ("cors_origins", "https://a.example/", "an origin is"),
        ("cors_origins", "*,https://a.example", "`*` stands alone"),
        ("trusted_proxies", "10.0.0.1/8", "bits set"),
        ("failed_auth_per_minute", "0", "zero"),
        ("writes_per_minute", "many", "invalid digit"),
        ("log_format", "xml", "none of pretty, json"),
        ("log", "huidu=loud", "a log filter"),
        ("log", "", "a log filter"),
        ("metrics_public", "yes", "none of true, false"),
    ] {
        let variable = format!("HUIDU_{}", id.to_uppercase());
        let by_variable = refused(&[], "", &[(&variable, value)]);
        let by_file = refused(&[], &format!("{id} = \"{value}\""), &[]);
        assert!(by_variable.starts_with(&format!("{variable}: ")), "{by_variable}");
        assert!(by_file.starts_with(&format!("`{id}` in huidu.toml: ")), "{by_file}");
        assert!(by_variable.contains(why) && by_file.contains(why), "{by_variable} | {by_file}");
        if id != "bootstrap_admin_key" {
            let argument = format!("--{}", id.replace('_', "-"));
            let by_argument = refused(&[&format!("{argument}={value}")], "", &[]);
            assert!(by_argument.contains(&argument), "{by_argument}");
        }
    }
    for (file, why) in [
        ("currencies = []", "at least one"),
        ("currencies = [1.5]", "a list of texts"),
        ("workers = [1]", "one value"),
        ("listen = { port = 1 }", "one value"),
    ] {
        assert!(refused(&[], file, &[]).contains(why), "{file}");
    }
    assert!(refused(&[], "", &[("HUIDU_CURRENCIES", "")]).starts_with("HUIDU_CURRENCIES: at least one"));
}

#[test]
fn what_is_unknown_is_refused() {
    for (file, variables, message) in [
        ("listne = \"x\"", &[][..], "unknown setting `listne` in huidu.toml; did you mean listen?"),
        ("[server]\nport = 1", &[], "unknown setting `server` in huidu.toml"),
        ("config = \"x\"", &[], "unknown setting `config` in huidu.toml"),
        ("", &[("HUIDU_WORKER", "1")], "unknown setting HUIDU_WORKER; did you mean HUIDU_WORKERS?"),
        ("", &[("HUIDU_", "1")], "unknown setting HUIDU_"),
        ("", &[("HUIDU_listen", "1")], "unknown setting HUIDU_listen; did you mean HUIDU_LISTEN?"),
    ] {
        assert_eq!(refused(&[], file, variables), message);
    }
    assert!(refused(&["--listne", "x"], "", &[]).contains("--listne"));
}

#[test]
fn variables_of_clients_and_of_kubernetes_are_left_alone() {
    let ours = ["URL", "KEY", "PORT", "PORT_8080_TCP_ADDR", "SERVICE_HOST", "SERVICE_PORT_HTTP"];
    let neighbours = ["DB_SERVICE_HOST", "DB_SERVICE_PORT", "DB_PORT", "DB_PORT_5432_TCP"];
    for name in ours.iter().chain(&neighbours) {
        assert!(read(&[], "", &[(&format!("HUIDU_{name}"), "tcp://10.0.0.1:80")]).is_ok(), "{name}");
    }
    assert!(read(&[], "", &[("HUIDUX", "1"), ("PATH", "/bin")]).is_ok());
}

#[test]
fn a_named_file_must_exist_and_replaces_the_usual_one() {
    let place = place("workers = 1", &[]);
    let other = place.folder.path().join("other.toml");
    std::fs::write(&other, "workers = 5").unwrap();
    let mut around = place.around.clone();
    let workers =
        |arguments: &[&str], around: &Surroundings| Settings::parse(arguments, around).map(|s| s.workers);
    assert_eq!(workers(&["--config", other.to_str().unwrap()], &around).unwrap(), 5);
    assert_eq!(workers(&["--config=other.toml"], &around).unwrap(), 5);
    around.variables = vec![("HUIDU_CONFIG".into(), "other.toml".into())];
    assert_eq!(Settings::parse([""; 0], &around).unwrap().config, Some("other.toml".into()));
    assert_eq!(workers(&[], &around).unwrap(), 5);
    assert_eq!(workers(&["--config", "huidu.toml"], &around).unwrap(), 1);
    around.variables = vec![("HUIDU_CONFIG".into(), "".into())];
    assert_eq!(workers(&[], &around).unwrap(), 1);
    let missing = workers(&["--config", "none.toml"], &around).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read the settings file none.toml: "), "{missing}");
    assert!(matches!(workers(&["--config"], &around), Err(SettingsError::Arguments(_))));
}

#[test]
fn secrets_are_never_shown() {
    let url = "postgres://huidu:hunter2@db/huidu";
    let file = format!("bootstrap_admin_key = \"{KEY}\"\ndatabase_url = \"{url}\"");
    let variables = [("HUIDU_BOOTSTRAP_ADMIN_KEY", KEY), ("HUIDU_DATABASE_URL", url)];
    let mut shown = Vec::new();
    for (file, variables) in [(file.as_str(), &[][..]), ("", &variables)] {
        let s = serve(file, variables);
        assert_eq!(s.bootstrap_admin_key.as_ref().unwrap().expose_secret(), KEY);
        assert_eq!(s.database().expose_secret(), url);
        assert!(!s.is_embedded());
        shown.push(format!("{s:?} {s:#?} {:?}", place(file, variables).around));
        shown.push(help("serve", file, variables));
    }
    let bad = "hunter2-with-umlaut-\u{fc}-and-32-characters";
    let argument = format!("--bootstrap-admin-key={KEY}");
    for refusal in [
        read(&[], &format!("bootstrap_admin_key = \"{bad}\""), &[]),
        read(&[], "", &[("HUIDU_BOOTSTRAP_ADMIN_KEY", bad)]),
        read(&[], "database_url = \"mysql://hunter2\"", &[]),
        read(&[], "database_url = \"postgres://hunter2", &[]),
        read(&[], "database_url = [\"hunter2\"]", &[]),
        read(&["--database-url", "mysql://hunter2"], "", &[]),
        read(&[&argument], "", &[]),
    ] {
        let error = refusal.unwrap_err();
        shown.push(format!("{error} {error:?} {:?}", error.source()));
    }
    for text in shown {
        assert!(!text.contains("hunter2") && !text.contains(KEY), "{text}");
    }
}

#[test]
fn an_admin_key_is_no_argument_and_an_empty_secret_is_none() {
    let refusal = read(&["--bootstrap-admin-key", KEY], "", &[]).unwrap_err();
    assert!(matches!(refusal, SettingsError::SecretArgument));
    let empty = [("HUIDU_BOOTSTRAP_ADMIN_KEY", ""), ("HUIDU_DATABASE_URL", "")];
    let s = read(&[], &format!("bootstrap_admin_key = \"{KEY}\""), &empty).unwrap();
    assert_eq!(s.bootstrap_admin_key.unwrap().expose_secret(), KEY);
    assert!(s.database_url.is_none());
}

#[test]
fn a_broken_file_is_named_with_its_line_and_troubles_no_client() {
    assert!(refused(&[], "workers = 1\nlisten = \n", &[]).starts_with("huidu.toml, line 2: "));
    assert!(refused(&[], "workers = 1\nworkers = 2", &[]).starts_with("huidu.toml, line 2: duplicate key"));
    let broken = place("listen = ", &[("HUIDU_NONSENSE", "1")]);
    let line = ["huidu", "flag", "serve"].map(OsString::from);
    let command = parse_command::<Cli>(line, &broken.around).unwrap().command;
    assert!(matches!(command, Commands::Flag { key } if key == "serve"));
}

#[test]
fn other_commands_take_the_settings_beside_their_own_arguments() {
    let place = place("workers = 4", &[]);
    let line = ["huidu", "key", "create", "--role", "admin", "--listen", "[::1]:0"].map(OsString::from);
    let command = parse_command::<Cli>(line, &place.around).unwrap().command;
    let Commands::Key { command: Key::Create { settings, role } } = command else { panic!("{command:?}") };
    assert_eq!((settings.workers, role.as_str(), settings.listen.port()), (4, "admin", 0));
}

#[test]
fn help_documents_each_setting_with_variable_and_default() {
    let text = help("serve", "", &[]);
    assert!(text.starts_with("Runs the service\n"), "{text}");
    assert_eq!(help("key create", "", &[]).lines().next(), Some("Makes a key"));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Example: huidu serve --listen 0.0.0.0:80 Each setting can"));
    for heading in ["Service:", "Storage:", "Decisions and events:", "Access:", "Logs and metrics:"] {
        assert_eq!(words.matches(heading).count(), 1, "{heading}");
    }
    for (id, default) in layers::defaults() {
        let variable = format!("[variable: HUIDU_{}]", id.to_uppercase());
        let after = words.split_once(&variable).unwrap_or_else(|| panic!("{variable} in {text}")).1;
        let own = after.split("[variable:").next().unwrap();
        let wanted = default.iter().map(|d| format!("[default: {d}]")).collect::<String>();
        assert!(own.contains(&wanted), "{id}: {own}");
        assert_eq!(own.contains("[default:"), !default.is_empty(), "{id}: {own}");
        assert!(words.contains(&format!("--{} ", id.replace('_', "-"))), "{id}");
    }
    assert_eq!(
        help("serve", "workers = ", &[("HUIDU_NONSENSE", "1")]),
        text,
        "help in spite of a broken file"
    );
    let words = help("serve", "workers = 3", &[("HUIDU_LOG", "debug")]);
    assert!(words.contains("[default: 3]") && words.contains("[default: debug]"), "{words}");
}

#[test]
fn networks_hold_their_addresses_only() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("10.0.0.0/8", "::ffff:10.1.1.1", "a00::"),
        ("192.168.1.7", "192.168.1.7", "192.168.1.6"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("::/0", "ffff::", "1.2.3.4"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("::1/128", "::1", "::2"),
        ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
    ] {
        let cidr: Cidr = network.parse().unwrap();
        assert!(cidr.contains(inside.parse().unwrap()), "{network} {inside}");
        assert!(!cidr.contains(outside.parse().unwrap()), "{network} {outside}");
        assert_eq!(cidr.to_string().parse::<Cidr>().unwrap(), cidr);
    }
    for text in
        ["", "10", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", "fd00::1/8", "a.b"]
    {
        assert!(text.parse::<Cidr>().is_err(), "{text:?}");
    }
}

#[test]
fn origins_are_as_browsers_send_them() {
    for text in
        ["https://a.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080", "app+x://b-c"]
    {
        assert_eq!(text.parse(), Ok(Origin::Exact(text.into())));
        assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
    }
    assert_eq!("*".parse(), Ok(Origin::Any));
    for text in [
        "",
        "null",
        "a.example",
        "https://",
        "https://A.example",
        "HTTPS://a",
        "https://a/",
        "https://a/b",
        "https://*.a",
        "https://a:443",
        "http://a:80",
        "https://a:0443",
        "https://a:x",
        "https://a:",
        "https://u@a",
        "http://[::01]",
        "://a",
    ] {
        assert_eq!(text.parse::<Origin>(), Err(ValueError::Origin), "{text:?}");
    }
}
