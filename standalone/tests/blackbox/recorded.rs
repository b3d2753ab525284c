//! The programs of the load generator, as somebody runs them from the command line.

use std::process::{Command, Output};

use loadtest::{
    cluster::built,
    record::{self, Happened},
};
use shared::protocol::room::EntryBody;

use crate::app::TestApp;

fn run(arguments: &[&str]) -> Output {
    Command::new(built("loadtest").unwrap())
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_run_is_judged_from_the_file_and_a_planted_fault_is_found() {
    let app = TestApp::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("record.jsonl");
    let path = file.to_str().unwrap().to_owned();
    let arguments = [
        "record",
        "--url",
        &app.origin,
        "--out",
        &path,
        "--senders",
        "6",
        "--messages",
        "30",
        "--pace-ms",
        "20",
        "--drop-every",
        "8",
        "--delete-every",
        "4",
    ];
    let arguments = arguments.map(str::to_owned);
    let recorded =
        tokio::task::spawn_blocking(move || run(&arguments.each_ref().map(String::as_str)));
    let recorded = recorded.await.unwrap();
    assert!(recorded.status.success(), "{recorded:?}");
    let judged = run(&["check", &path]);
    let told = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{judged:?}");
    assert!(told.contains("the delivery promise held"), "{told}");

    let mut lines = record::read(&file).unwrap();
    let deletions = lines.iter().filter_map(|line| match &line.what {
        Happened::Log { entries, .. } => Some(entries),
        _ => None,
    });
    let deletions = deletions
        .flatten()
        .filter(|entry| matches!(entry.body, EntryBody::Delete { .. }));
    assert!(deletions.count() > 10, "{told}");
    // One word of one message that one client saw.
    let seen = lines.iter_mut().find_map(|line| match &mut line.what {
        Happened::Entry { entry, .. } => match &mut entry.body {
            EntryBody::Message(message) => Some(message),
            _ => None,
        },
        _ => None,
    });
    seen.unwrap().text.push('!');
    let lines: Vec<String> = lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let judged = run(&["check", &path]);
    assert_eq!(judged.status.code(), Some(1), "{judged:?}");
    assert!(String::from_utf8_lossy(&judged.stdout).contains("Altered"));
}
