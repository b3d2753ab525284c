//! Writes the golden vectors afresh: `cargo run -p shared --example vectors`.
//!
//! The files are a contract: a change of theirs that a running client would notice needs another
//! subprotocol name.

#![allow(clippy::unwrap_used)]

#[path = "../tests/vectors/cases.rs"]
mod cases;

fn main() -> std::io::Result<()> {
    let directory = cases::directory();
    std::fs::create_dir_all(&directory)?;
    for (name, content) in cases::files() {
        std::fs::write(directory.join(name), content)?;
        println!("{}", directory.join(name).display());
    }
    Ok(())
}
