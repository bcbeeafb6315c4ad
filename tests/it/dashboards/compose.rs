//! `docker-compose.yaml` against what it names: files, ports, settings, services. Whether Compose itself takes it is
//! asked by `tests/run`; that it runs needs a container engine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use huidu::settings::{Settings, Surroundings};
use serde_json::Value;

use super::{list, repository, text, word};

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A value with its variables left to their defaults.
fn by_default(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (inside, after) = rest.split_once('}').unwrap();
    let (_, default) = inside.split_once(":-").unwrap_or_else(|| panic!("{inside} has no default"));
    format!("{before}{default}{}", by_default(after))
}

/// A service's variables as they are without any of one's own.
fn variables(service: &Value) -> Vec<(String, String)> {
    let all = service["environment"].as_object().into_iter().flatten();
    all.map(|(name, value)| (name.clone(), by_default(&word(value)))).collect()
}

/// The variables that the image sets.
fn of_the_image() -> Vec<(String, String)> {
    let recipe = text("Dockerfile").replace("\\\n", " ");
    let lines = recipe.lines().filter_map(|line| line.strip_prefix("ENV ").map(str::to_owned));
    let words: Vec<_> =
        lines.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    words
        .iter()
        .map(|word| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap())
        .collect()
}

/// What is mounted from the repository: where it lies here, where it is seen there.
fn mounts(service: &Value) -> Vec<(PathBuf, String)> {
    let all = list(&service["volumes"]).iter().map(word);
    all.filter(|mount| mount.starts_with("./"))
        .map(|mount| {
            let parts: Vec<_> = mount.split(':').collect();
            assert_eq!(parts[2], "ro", "{mount}");
            (repository(parts[0].trim_start_matches("./")), parts[1].to_owned())
        })
        .collect()
}

/// The file of the repository that a service sees at `path`.
fn seen(service: &Value, path: &str) -> PathBuf {
    let found = mounts(service).into_iter().find_map(|(here, there)| {
        let rest = path.strip_prefix(&there)?;
        Some(if rest.is_empty() { here } else { here.join(rest.trim_start_matches('/')) })
    });
    found.unwrap_or_else(|| panic!("nothing is mounted at {path}"))
}

#[test]
fn every_service_is_pinned_watched_and_reached_from_this_machine_only() {
    let compose = yaml("docker-compose.yaml");
    let services = compose["services"].as_object().unwrap();
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    assert_eq!(
        BTreeSet::from_iter(names),
        BTreeSet::from(["huidu", "postgres", "prometheus", "grafana", "demo"])
    );
    let declared = compose["volumes"].as_object().unwrap();
    let mut used = BTreeSet::new();
    for (name, service) in services {
        let image = word(&service["image"]);
        match service.get("build") {
            Some(folder) => assert_eq!((folder, image.as_str()), (&".".into(), "huidu"), "{name}"),
            None => {
                let tag =
                    image.rsplit_once(':').map(|(_, tag)| tag.trim_start_matches('v')).unwrap_or_default();
                let number = tag.split('-').next().unwrap();
                let parts = number.split('.').filter(|part| part.parse::<u32>().is_ok()).count();
                assert!(parts >= 2, "{name}: {image} is not pinned");
            }
        }
        assert!(list(&service["healthcheck"]["test"]).len() > 1, "{name} is not watched");
        for port in list(&service["ports"]) {
            assert!(word(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
        for (waited_for, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(how["condition"], "service_healthy", "{name}: {waited_for}");
            assert!(services.contains_key(waited_for), "{name}: {waited_for}");
        }
        for mount in list(&service["volumes"]).iter().map(word).filter(|mount| !mount.starts_with('.')) {
            used.insert(mount.split(':').next().unwrap().to_owned());
        }
        for (here, _) in mounts(service) {
            assert!(here.exists(), "{name}: {}", here.display());
        }
    }
    assert_eq!(used, declared.keys().cloned().collect(), "volumes");
}

#[test]
fn huidu_takes_every_setting_and_listens_where_it_is_looked_for() {
    let compose = yaml("docker-compose.yaml");
    let service = &compose["services"]["huidu"];
    let mut all = of_the_image();
    all.extend(variables(service));
    assert!(all.iter().all(|(name, _)| name.starts_with("HUIDU_")), "{all:?}");
    let folder = tempfile::tempdir().unwrap();
    let variables_of = |all: &[(String, String)]| Surroundings {
        folder: folder.path().to_owned(),
        variables: all.iter().map(|(name, value)| (name.into(), value.into())).collect(),
    };
    let settings = Settings::parse(Vec::<String>::new(), &variables_of(&all)).unwrap();
    assert!(settings.metrics_public && settings.cors_origins.is_empty());
    let mut typo = all.clone();
    typo.push(("HUIDU_METRIC_PUBLIC".into(), "true".into()));
    assert!(Settings::parse(Vec::<String>::new(), &variables_of(&typo)).is_err());

    let value =
        |name: &str| all.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    // The database that is made is the one that is asked.
    let made = variables(&compose["services"]["postgres"]);
    let made =
        |name: &str| made.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    let url = format!(
        "postgres://{}:{}@postgres:5432/{}",
        made("POSTGRES_USER"),
        made("POSTGRES_PASSWORD"),
        made("POSTGRES_DB")
    );
    assert_eq!(value("HUIDU_DATABASE_URL"), url);
    // The volume is the data folder, and the port the one that is published and exposed.
    assert_eq!(service["volumes"][0], format!("huidu:{}", value("HUIDU_DATA_DIR")));
    let port = value("HUIDU_LISTEN").rsplit(':').next().unwrap().to_owned();
    assert!(word(&service["ports"][0]).ends_with(&format!(":{port}")));
    assert!(text("Dockerfile").contains(&format!("EXPOSE {port}\n")));
    let demo = &compose["services"]["demo"];
    assert_eq!(demo["command"], serde_json::json!(["demo", "--listen", value("HUIDU_LISTEN")]));
    assert_eq!(demo["profiles"], serde_json::json!(["demo"]));
}

#[test]
fn prometheus_finds_its_rules_and_who_to_scrape() {
    let compose = yaml("docker-compose.yaml");
    let service = &compose["services"]["prometheus"];
    let arguments: Vec<_> = list(&service["command"]).iter().map(word).collect();
    let path = arguments.iter().find_map(|argument| argument.strip_prefix("--config.file=")).unwrap();
    assert_eq!(seen(service, path), repository("dashboards/prometheus.yml"));
    let config = yaml("dashboards/prometheus.yml");
    let rules: Vec<_> = list(&config["rule_files"]).iter().map(word).collect();
    assert_eq!(rules, ["rules/huidu_recording.yml", "rules/huidu_alerts.yml"]);
    for file in rules {
        // Beside the configuration, in the container and here.
        assert!(seen(service, &format!("/etc/prometheus/{file}")).is_file(), "{file}");
        assert!(repository("dashboards").join(&file).is_file(), "{file}");
    }
    let jobs = list(&config["scrape_configs"]);
    assert_eq!(
        (&jobs[0]["job_name"], &jobs[0]["static_configs"][0]["targets"][0]),
        (&"huidu".into(), &"huidu:8080".into())
    );
    let found = &jobs[1]["dns_sd_configs"][0];
    assert_eq!((&found["names"], &found["port"]), (&serde_json::json!(["demo"]), &8080.into()));
    assert_eq!(
        jobs[1]["relabel_configs"][0],
        serde_json::json!({"target_label": "job", "replacement": "huidu"})
    );
}

#[test]
fn grafana_finds_prometheus_and_the_dashboards() {
    let compose = yaml("docker-compose.yaml");
    let service = &compose["services"]["grafana"];
    let folder = "/etc/grafana/provisioning";
    for kind in ["datasources", "dashboards"] {
        let file = format!("{folder}/{kind}/huidu.yaml");
        let here = format!("dashboards/grafana/provisioning/{kind}/huidu.yaml");
        assert_eq!(seen(service, &file), repository(&here));
    }
    let source = &yaml("dashboards/grafana/provisioning/datasources/huidu.yaml")["datasources"][0];
    assert_eq!((&source["type"], &source["url"]), (&"prometheus".into(), &"http://prometheus:9090".into()));
    let scraped = &yaml("dashboards/prometheus.yml")["global"]["scrape_interval"];
    assert_eq!(&source["jsonData"]["timeInterval"], scraped);
    let provider = &yaml("dashboards/grafana/provisioning/dashboards/huidu.yaml")["providers"][0];
    let path = word(&provider["options"]["path"]);
    assert_eq!(seen(service, &path), repository("dashboards/grafana/dashboards"));
    let variables = variables(service);
    let home =
        variables.iter().find(|(name, _)| name == "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH").unwrap();
    assert!(seen(service, &home.1).is_file(), "{home:?}");
}
