//! `loadtest record` drives a server and writes what its clients saw; `loadtest check` judges it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use loadtest::{
    Recorder,
    bench::Bench,
    check, drive, graph, record,
    scenario::{
        Channel, Comeback, Deploy, Door, Fanout, Flood, Handshakes, Hot, Idle, Instructions,
        Kernel, Latency, Mixed, Presence, Scenario, Send, Stalled, Storm, serve_echo, serve_floor,
    },
};

/// Drives a Fireside server and judges what its clients saw.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure a delivery: rooms of many members, CPU-seconds a million
    Fanout {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Fanout,
    },
    /// Measure durable sends: acknowledgements a second and how long they take
    Send {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Send,
    },
    /// Measure how long a message takes to the last of its recipients
    Latency {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Latency,
    },
    /// Measure idle sessions: memory, the cost of opening one, and of a second of nothing
    Idle {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Idle,
    },
    /// Speak in a channel of ten thousand, steadily and in bursts
    Channel {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Channel,
    },
    /// Flood a server with typing and presence, then with sends too; chat must not feel the first
    ///
    /// One of each group talks, all others type, everybody changes presence. Under overload pairs send as fast
    /// as they can at a server with a short queue. A run fails when typing or presence is not merged as
    /// the contract says, when the newest presence does not arrive in the end, when a message is lost, or when one
    /// that was refused is heard.
    Flood {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Flood,
    },
    /// Rush at the door of a full server; those who are in must not feel it
    ///
    /// Half of the new connections ask for an upgrade, half say nothing. Nobody may be left
    /// without an end, and no more may be in than there are places.
    Handshakes {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Handshakes,
    },
    /// Let some members of a large room stop reading; the others must not feel it
    Stalled {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Stalled,
    },
    /// Let one room run hot beside quiet ones; these must not feel it
    Hot {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Hot,
    },
    /// Cut every socket at once and let everybody resume: the CPU of all the resumes
    ///
    /// While all are away a message is said in each room, by one who stays. "resumes" is what the
    /// server works from the first connection to the last replay; what it works to notice
    /// the cuts is "a cut", what a first start costs is "a start". The people have rooms, but no
    /// friends. A run fails unless everybody was replayed exactly what was said.
    Storm {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Storm,
    },
    /// Kill a server under its sessions and start it: until the last is back
    ///
    /// Everybody tries to resume, hears that the session is lost, and starts another. With --nodes it is the first
    /// node, and those on it come back to it while the others go on. A run fails unless everybody hears
    /// afterwards what is said.
    Comeback {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Comeback,
    },
    /// Let everybody change presence before many friends: the cost of telling them
    ///
    /// A delivery is one event that arrived at one session, one's own echo too. A server tells of a
    /// person at most once in 2 s, the newest state winning, so fewer are told than set; "until
    /// told" includes that wait, "rested" counts only changes after 4 s without one. One state in
    /// eight is invisible. A run fails when somebody hears of a stranger, or of a state that is old
    /// or altered, or does not hear the newest state of a friend in the end.
    Presence {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Presence,
    },
    /// Live a friend-chat day: most idle, some talk, type, read, come and go
    ///
    /// Everybody is in a direct room with two friends and in a group. Everything happens at random
    /// times drawn beforehand, and the clock of a message starts when it is due. Messages that
    /// somebody was away for are verified, but not timed. A delivery is any event that arrived at a
    /// session. A run fails when a message is missing, doubled or altered, when presence is wrong
    /// as in `presence`, or when somebody hears of a room of others.
    Mixed {
        #[command(flatten)]
        bench: Bench,
        #[command(flatten)]
        scenario: Mixed,
    },
    /// Deploy nodes one after the other behind a balancer, or kill one: how long people are interrupted
    ///
    /// It starts store-api, nodes, a balancer, Redis and the MongoDB stand-in. A run fails when a drain is cut, when anybody does not
    /// come back, and when the checker finds anything lost, doubled or out of order.
    Deploy(Deploy),
    /// Measure doors: chat-lb, HAProxy and nginx before the same back end, and none
    ///
    /// In turns, each with one thread that serves. A run fails when a socket hears anything but what it said.
    Door(Door),
    /// Measure the kernel's floor alone: the writes of `fanout`, and no server
    Floor(Kernel),
    /// Count the instructions of a delivery in both encodings, or of a start, with callgrind
    Instructions(Instructions),
    /// The process that `fanout` compares with: writes, and nothing else
    #[command(hide = true)]
    ServeFloor {
        /// How many sockets
        #[arg(long)]
        sockets: usize,
        /// How many bytes a frame
        #[arg(long)]
        length: usize,
    },
    /// The process behind the doors of `door`: says back what it hears
    #[command(hide = true)]
    ServeEcho {
        /// At how many addresses
        #[arg(long)]
        places: usize,
    },
    /// Draw graphs of what `--out` wrote
    ///
    /// Of several files of one scenario each is a case of its own. What a scenario has no graph for is
    /// passed over.
    Graph {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The folder the graphs go into
        #[arg(long, short, default_value = "docs/graphs")]
        out: PathBuf,
    },
    /// Judge records; exits with 1 when one breaks the delivery promise.
    Check {
        /// The records, as `record` writes them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Let senders talk and write the record.
    Record {
        /// The server's origin.
        #[arg(long, default_value = "http://127.0.0.1:8102")]
        url: String,
        /// Where to write the record.
        #[arg(long, default_value = "record.jsonl")]
        out: PathBuf,
        /// How many accounts send.
        #[arg(long, default_value_t = 10)]
        senders: usize,
        /// How many messages each sends.
        #[arg(long, default_value_t = 100)]
        messages: usize,
        /// How many rooms they share.
        #[arg(long, default_value_t = 2)]
        rooms: usize,
        /// How many sends of one sender may be under way.
        #[arg(long, default_value_t = 4)]
        window: usize,
        /// The pause between two sends of one sender, in ms.
        #[arg(long, default_value_t = 100)]
        pace_ms: u64,
        /// Drop a sender's socket every so many messages; 0: never.
        #[arg(long, default_value_t = 25)]
        drop_every: usize,
        /// Delete one of a sender's messages every so many; 0: never.
        #[arg(long, default_value_t = 10)]
        delete_every: usize,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Task::Fanout { bench, scenario } => measure("fanout", &bench, scenario),
        Task::Send { bench, scenario } => measure("send", &bench, scenario),
        Task::Latency { bench, scenario } => measure("latency", &bench, scenario),
        Task::Idle { bench, scenario } => measure("idle", &bench, scenario),
        Task::Channel { bench, scenario } => measure("channel", &bench, scenario),
        Task::Flood { bench, scenario } => measure("flood", &bench, scenario),
        Task::Handshakes { bench, scenario } => measure("handshakes", &bench, scenario),
        Task::Stalled { bench, scenario } => measure("stalled", &bench, scenario),
        Task::Hot { bench, scenario } => measure("hot", &bench, scenario),
        Task::Storm { bench, scenario } => measure("storm", &bench, scenario),
        Task::Comeback { bench, scenario } => measure("comeback", &bench, scenario),
        Task::Presence { bench, scenario } => measure("presence", &bench, scenario),
        Task::Mixed { bench, scenario } => measure("mixed", &bench, scenario),
        Task::Instructions(instructions) => {
            instructions.run()?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Floor(kernel) => {
            kernel.run(&std::env::current_exe()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Deploy(deploy) => {
            deploy.run()?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Door(door) => {
            door.run(&std::env::current_exe()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::ServeEcho { places } => {
            serve_echo(places)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::ServeFloor { sockets, length } => {
            serve_floor(sockets, length)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Graph { files, out } => {
            for graph in graph::draw(&files, &out)? {
                println!("{}", graph.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Check { files } => {
            let mut good = true;
            for file in files {
                let lines =
                    record::read(&file).with_context(|| format!("reading {}", file.display()))?;
                let verdict = check(&lines);
                println!("{}: {verdict}", file.display());
                good &= verdict.holds();
            }
            Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Task::Record {
            url,
            out,
            senders,
            messages,
            rooms,
            window,
            pace_ms,
            drop_every,
            delete_every,
        } => {
            let recorder = Recorder::to_file(&out)?;
            let plan = drive::Plan {
                origin: url,
                senders,
                messages,
                rooms,
                window,
                pace: Duration::from_millis(pace_ms),
                drop_every,
                delete_every,
            };
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(drive::record(&plan, &recorder))?;
            let verdict = check(&recorder.lines()?);
            println!("{}: {verdict}", out.display());
            Ok(if verdict.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn measure(name: &str, bench: &Bench, mut scenario: impl Scenario) -> anyhow::Result<ExitCode> {
    bench.run(name, &mut scenario)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
