//! What a run was, as a table for people. It judges nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::flat;
use crate::story::{self, Story};

pub struct Report<'a>(pub &'a Story);

const MIB: f64 = 1024.0 * 1024.0;

/// One line of the table.
fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<24} {value}")
}

fn listed(counts: &BTreeMap<String, u32>) -> String {
    let listed: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    listed.join(", ")
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(story) = self;
        writeln!(f, "\n{}", story.plan)?;
        clients(f, story)?;
        gateway(f, story)?;
        processes(f, story)?;
        use_of_the_machine(f, story)?;
        story.clients.repeated.iter().take(20).try_for_each(|repeated| row(f, "made again", repeated))
    }
}

fn clients(f: &mut fmt::Formatter<'_>, story: &Story) -> fmt::Result {
    let clients = &story.clients;
    let of_books: u64 = story.books.iter().map(|book| book.bytes).sum();
    let requests: u32 = clients.outcomes.values().sum();
    row(f, "requests", format!("{requests}, {} made again, {} left out", clients.repeated.len(), clients.left_out))?;
    row(
        f,
        "bytes",
        format!("{:.1} MiB received, {:.1} MiB recorded", clients.bytes as f64 / MIB, of_books as f64 / MIB),
    )?;
    let mut classes = BTreeMap::<&str, Vec<String>>::new();
    for ((class, outcome), count) in &clients.outcomes {
        classes.entry(class).or_default().push(format!("{count} {outcome}"));
    }
    classes.iter().try_for_each(|(class, outcomes)| row(f, &format!("  {class}"), outcomes.join(", ")))?;
    row(f, "faults of downloads", listed(&clients.faults))
}

fn gateway(f: &mut fmt::Formatter<'_>, story: &Story) -> fmt::Result {
    let counts = &story.counts;
    row(f, "faults of sessions", listed(&story.troubles.faults))?;
    row(f, "", format!("{} thrown out; {} faults met no call", story.troubles.thrown_out, story.faults_left))?;
    row(
        f,
        "gateway",
        format!(
            "{} rotations, {} polls, {} sign-ins of {} called, {} sign-outs",
            counts.rotations, counts.polls, counts.sign_ins, counts.sign_in_calls, counts.sign_outs
        ),
    )?;
    let mut rules = BTreeMap::<String, u32>::new();
    for broken in &story.broken {
        *rules.entry(format!("{:?} of {}", broken.rule, broken.agent.unwrap_or_default())).or_default() += 1;
    }
    row(f, "broken rules", listed(&rules))
}

fn processes(f: &mut fmt::Formatter<'_>, story: &Story) -> fmt::Result {
    let records: usize = story.books.iter().map(|book| book.records).sum();
    row(f, "audit", format!("{records} records; verify: exit code {:?}", story.verified.1))?;
    for (number, lives) in story.processes.iter().enumerate() {
        row(
            f,
            &format!("process {number}"),
            format!(
                "{} lives, exit codes {:?}, {} configurations taken up, {} refused, {} lines logged",
                lives.exits.len(),
                lives.exits.iter().flatten().collect::<Vec<_>>(),
                lives.taken_up,
                lives.refused,
                lives.log.lines
            ),
        )?;
        row(f, "  ends", listed(&story.books[number].outcomes()))?;
        row(f, "  warnings", listed(&lives.log.warnings))?;
    }
    Ok(())
}

fn use_of_the_machine(f: &mut fmt::Formatter<'_>, story: &Story) -> fmt::Result {
    let (quarters, latencies) = (flat::quarters(&story.samples, story.plan.length), story::latencies(story));
    for (number, ((rss, fds), (p50, p99))) in quarters.into_iter().zip(latencies).enumerate() {
        let used = if rss > 0.0 { format!("RSS {:.1} MiB, {fds:.1} descriptors; ", rss / MIB) } else { String::new() };
        row(f, &format!("quarter {}", number + 1), format!("{used}small downloads p50 {p50:.1?}, p99 {p99:.1?}"))?;
    }
    for compared in flat::compare(&story.samples, story.plan.length) {
        let (rss, fds) = (compared.rss, compared.fds);
        row(
            f,
            "flat",
            format!(
                "{}: RSS {:.2} and {:.2} MiB ({:+.1} %), {:.1} and {:.1} descriptors",
                compared.what,
                rss.first / MIB,
                rss.last / MIB,
                100.0 * (rss.last / rss.first - 1.0),
                fds.first,
                fds.last
            ),
        )?;
    }
    Ok(())
}
