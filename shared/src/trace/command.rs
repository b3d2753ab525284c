//! The command `trace`, which every program has: asks processes what they remember of a message, and
//! prints one table.
//!
//! ```text
//! fireside trace ROOM SEQ HOST:PORT…
//! fireside trace TRACE HOST:PORT…
//! ```

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    process::ExitCode,
    time::Duration,
};

use super::{Link, Step};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to ask, and whom.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    /// The query of `/trace`.
    query: String,
    /// Admin addresses.
    processes: Vec<String>,
}

/// Runs the command if the arguments begin with it, and gives the code to exit with.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    if words.first() != Some(&"trace") {
        return None;
    }
    let Some(question) = Question::read(&words[1..]) else {
        eprintln!(
            "trace ROOM SEQ HOST:PORT… or trace TRACE HOST:PORT…, with the admin addresses of balancers \
             and nodes, which must follow messages (trace_share)"
        );
        return Some(ExitCode::from(2));
    };
    let (mut steps, mut silent) = (Vec::new(), false);
    let mut ask = |query: &str| {
        for process in &question.processes {
            match ask(process, query) {
                Ok(found) => steps.extend(found),
                Err(error) => {
                    eprintln!("{process}: {error}");
                    silent = true;
                }
            }
        }
    };
    ask(&question.query);
    if question.query.starts_with("room=") {
        // Whoever had it before it had a place in the log knows it by its trace alone.
        let traces: BTreeSet<String> = steps.iter().map(|step| step.trace.clone()).collect();
        steps = Vec::new();
        for trace in &traces {
            for process in &question.processes {
                // Who did not answer was told of above.
                steps.extend(self::ask(process, &format!("id={trace}")).unwrap_or_default());
            }
        }
    }
    let over: BTreeSet<Link> = steps.iter().filter_map(|step| step.over.clone()).collect();
    print!("{}", table(steps.clone()));
    for link in over {
        let asked = question.processes.iter().map(|process| {
            let query = format!("id={}", link.trace);
            self::ask(process, &query).unwrap_or_default()
        });
        let opening = asked.flatten().find(|step| step.span == link.span);
        print!("{}", socket(&link, opening.as_ref(), &steps));
    }
    let found = !steps.is_empty() && !silent;
    Some(if found {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Question {
    fn read(words: &[&str]) -> Option<Self> {
        let (query, processes) = match words {
            [room, seq, processes @ ..] if seq.parse::<u64>().is_ok() => {
                (format!("room={room}&seq={seq}"), processes)
            }
            [trace, processes @ ..] => (format!("id={trace}"), processes),
            [] => return None,
        };
        let fit = |c: char| c.is_ascii_alphanumeric() || "=&_-.:".contains(c);
        let fine = !processes.is_empty() && query.chars().all(fit);
        fine.then(|| Self {
            query,
            processes: processes
                .iter()
                .map(|&process| process.to_owned())
                .collect(),
        })
    }
}

fn ask(process: &str, query: &str) -> io::Result<Vec<Step>> {
    let address = process.to_socket_addrs()?.next();
    let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer ends where the connection does.
    let request = format!("GET /trace?{query} HTTP/1.0\r\nHost: {process}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(io::Error::other(format!("answered {status}")));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}

/// One line a step, by when it began.
fn table(mut steps: Vec<Step>) -> String {
    steps.sort_by_key(|step| (step.trace.clone(), step.at));
    let mut text = String::new();
    let mut trace = "";
    let mut first = 0;
    for step in &steps {
        if step.trace != trace {
            (trace, first) = (&step.trace, step.at);
            let _ = writeln!(text, "trace {trace}");
            let _ = writeln!(
                text,
                "{:>10}  {:>10}  {:10}  by",
                "after ms", "took ms", "step"
            );
        }
        let millis = |micros: u64| micros as f64 / 1000.0;
        let place = match (&step.room, step.seq) {
            (Some(room), Some(seq)) => format!("  {room} {seq}"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{:>10.3}  {:>10.3}  {:10}  {}{place}",
            millis(step.at - first),
            millis(step.took),
            step.name,
            step.process,
        );
    }
    if steps.is_empty() {
        text.push_str("nobody remembers it\n");
    }
    text
}

/// What is known of the opening of a WebSocket that some of the steps came over.
fn socket(link: &Link, opening: Option<&Step>, steps: &[Step]) -> String {
    let Some(opening) = opening else {
        return format!(
            "over a WebSocket of trace {}, which nobody remembers being opened: a balancer's access log may\n",
            link.trace
        );
    };
    let over = steps.iter().filter(|step| step.over.as_ref() == Some(link));
    let came = over.map(|step| step.at).min().unwrap_or(opening.at);
    format!(
        "over a WebSocket that was opened {:.3} s before: {}, {}, took {:.3} ms, trace {}\n",
        came.saturating_sub(opening.at) as f64 / 1e6,
        opening.name,
        opening.process,
        opening.took as f64 / 1e3,
        link.trace,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_question() {
        let entry = Question::read(&["r1", "7", "a:1", "b:2"]).unwrap();
        assert_eq!(entry.query, "room=r1&seq=7");
        assert_eq!(entry.processes, ["a:1", "b:2"]);
        let trace = Question::read(&["4bf9", "a:1"]).unwrap();
        assert_eq!(trace.query, "id=4bf9");
        for bad in [&[][..], &["4bf9"], &["r1", "7"], &["a b", "a:1"]] {
            assert_eq!(Question::read(bad), None, "{bad:?}");
        }
        assert!(run(&["--help".into()]).is_none());
    }

    fn step(name: &'static str, at: u64, took: u64) -> Step {
        Step {
            trace: "t".into(),
            span: "s".into(),
            parent: "p".into(),
            name: name.into(),
            process: "chat-node a".into(),
            at,
            took,
            room: None,
            seq: None,
            over: None,
        }
    }

    #[test]
    fn a_socket_is_told_of_beside_what_came_over_it() {
        let link = Link {
            trace: "u".into(),
            span: "s".into(),
        };
        let said = Step {
            over: Some(link.clone()),
            ..step("session", 3_500_000, 10)
        };
        let opening = step("door", 1_000_000, 12_300);
        let text = socket(&link, Some(&opening), &[said]);
        assert!(
            text.contains("opened 2.500 s before: door, chat-node a, took 12.300 ms, trace u"),
            "{text}"
        );
        let text = socket(&link, None, &[]);
        assert!(
            text.contains("trace u") && text.contains("nobody"),
            "{text}"
        );
    }

    #[test]
    fn steps_stand_in_the_order_they_began() {
        let text = table(vec![
            step("store", 2_500, 1_000),
            step("door", 1_000, 4_000),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].contains("0.000") && lines[2].contains("door"),
            "{text}"
        );
        assert!(
            lines[3].contains("1.500") && lines[3].contains("store"),
            "{text}"
        );
    }
}
