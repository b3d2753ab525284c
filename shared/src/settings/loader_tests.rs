use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::settings::{ByteSize, Secret, duration, reference};

#[derive(Debug, clap::Args)]
struct Section {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8102")]
    listen: SocketAddr,
    /// Signs tokens
    #[arg(long)]
    jwt_secret: Option<Secret>,
}

#[derive(Debug, clap::Args)]
struct Example {
    #[command(flatten)]
    section: Section,
    /// How long to wait
    #[arg(long, value_parser = duration, default_value = "25s")]
    shutdown_grace: Duration,
    /// The bound of a queue
    #[arg(long, default_value = "256KiB")]
    outbox_bytes: ByteSize,
    /// Who may connect
    #[arg(long, value_delimiter = ',')]
    origins: Vec<String>,
    /// Everybody may
    #[arg(long)]
    open: bool,
}

impl Settings for Example {
    fn validate(&self, report: &mut Report) {
        report.require(
            !self.shutdown_grace.is_zero(),
            "shutdown_grace",
            "must not be zero",
        );
        report.require(
            self.outbox_bytes >= ByteSize::kib(1),
            "outbox_bytes",
            "at least 1KiB",
        );
    }
}

fn loader() -> Loader {
    Loader::new("example", "1.2.3", "An example").default_for("listen", "127.0.0.1:9000")
}

fn load(
    file: Option<&str>,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Loaded<Example>, SettingsError> {
    let mut environment: Vec<(String, String)> = environment
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    let mut written = tempfile::NamedTempFile::new().unwrap();
    if let Some(text) = file {
        written.write_all(text.as_bytes()).unwrap();
        let path = written.path().display().to_string();
        environment.push(("FIRESIDE_CONFIG".into(), path));
    }
    loader().load(Sources {
        arguments: arguments.iter().map(OsString::from).collect(),
        environment,
    })
}

#[test]
fn each_layer_covers_the_one_below() {
    let file = "listen = \"127.0.0.1:1\"\nshutdown_grace = \"1s\"\n[outbox]\nbytes = \"1KiB\"";
    let loaded = load(None, &[], &[]).unwrap();
    assert_eq!(loaded.settings.section.listen.port(), 9000);
    assert_eq!(loaded.origins["listen"], Origin::Default);

    let loaded = load(Some(file), &[], &[]).unwrap();
    assert_eq!(loaded.settings.section.listen.port(), 1);
    assert_eq!(loaded.settings.outbox_bytes, ByteSize::kib(1));
    assert_eq!(loaded.origins["outbox_bytes"], Origin::File);

    let variable = ("FIRESIDE_LISTEN", "127.0.0.1:2");
    let loaded = load(Some(file), &[variable], &[]).unwrap();
    assert_eq!(loaded.settings.section.listen.port(), 2);
    assert_eq!(loaded.settings.shutdown_grace, Duration::from_secs(1));

    let loaded = load(Some(file), &[variable], &["--listen", "127.0.0.1:3"]).unwrap();
    assert_eq!(loaded.settings.section.listen.port(), 3);
    assert_eq!(loaded.origins["listen"], Origin::CommandLine);
}

#[test]
fn lists_and_flags_come_from_every_layer() {
    let loaded = load(Some("origins = [\"a\", \"b\"]\nopen = true"), &[], &[]).unwrap();
    assert_eq!(loaded.settings.origins, ["a", "b"]);
    assert!(loaded.settings.open);
    let loaded = load(
        Some("origins = [\"a\"]"),
        &[("FIRESIDE_ORIGINS", "c,d")],
        &[],
    )
    .unwrap();
    assert_eq!(loaded.settings.origins, ["c", "d"]);
    let loaded = load(Some("origins = \"a\""), &[], &["--origins", "e"]).unwrap();
    assert_eq!(loaded.settings.origins, ["e"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    let error = load(
        Some("lisetn = \"127.0.0.1:1\"\n[outbox]\nbites = \"1KiB\""),
        &[],
        &[],
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("`lisetn`: did you mean `listen`?"), "{text}");
    assert!(
        text.contains("`outbox.bites`: did you mean `outbox_bytes`?"),
        "{text}"
    );
}

#[test]
fn an_unknown_variable_is_warned_about_and_an_empty_one_is_not_set() {
    let loaded = load(
        None,
        &[("FIRESIDE_LISTEM", "x"), ("FIRESIDE_LISTEN", "")],
        &[],
    )
    .unwrap();
    assert_eq!(loaded.settings.section.listen.port(), 9000);
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(warning.contains("FIRESIDE_LISTEM"), "{warning}");
    assert!(
        warning.contains("did you mean FIRESIDE_LISTEN?"),
        "{warning}"
    );
}

#[test]
fn a_bad_value_names_its_place() {
    let text = load(Some("listen = \"here\""), &[], &[])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("key `listen` of the configuration file"),
        "{text}"
    );
    let text = load(None, &[("FIRESIDE_SHUTDOWN_GRACE", "25")], &[])
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("FIRESIDE_SHUTDOWN_GRACE"), "{text}");
    assert!(text.contains("needs a unit"), "{text}");
    let text = load(None, &[], &["--outbox-bytes", "3"])
        .unwrap_err()
        .to_string();
    assert!(text.contains("--outbox-bytes"), "{text}");
    let text = load(Some("listen = [\"a\", \"b\"]"), &[], &[])
        .unwrap_err()
        .to_string();
    assert!(text.contains("not a list"), "{text}");
    let text = load(Some("= what"), &[], &[]).unwrap_err().to_string();
    assert!(text.starts_with("cannot read"), "{text}");
}

#[test]
fn validate_reports_all_it_finds() {
    let error = load(
        None,
        &[],
        &["--shutdown-grace", "0s", "--outbox-bytes", "1B"],
    )
    .unwrap_err();
    let SettingsError::Refused { complaints } = error else {
        panic!("{error}")
    };
    assert_eq!(complaints.len(), 2);
}

#[test]
fn help_names_variables_and_prints_no_secret() {
    let error = load(None, &[("FIRESIDE_JWT_SECRET", "hunter2")], &["--help"]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, SettingsError::Asked(_)));
    assert!(
        text.contains("FIRESIDE_JWT_SECRET") && !text.contains("hunter2"),
        "{text}"
    );
    let loaded = load(None, &[("FIRESIDE_JWT_SECRET", "hunter2")], &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert_eq!(
        loaded.settings.section.jwt_secret.unwrap().expose(),
        "hunter2"
    );
}

#[test]
fn the_reference_lists_every_setting() {
    let docs = reference::<Example>(&loader());
    let listen = docs.iter().find(|doc| doc.key == "listen").unwrap();
    assert_eq!(listen.variable, "FIRESIDE_LISTEN");
    assert_eq!(listen.flag, "--listen");
    assert_eq!(listen.default.as_deref(), Some("127.0.0.1:9000"));
    assert_eq!(listen.help, "Where to listen");
    assert_eq!(
        listen.row(),
        "| `listen` | `127.0.0.1:9000` | Where to listen |"
    );
    assert_eq!(docs.len(), 7);
}
