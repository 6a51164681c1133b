//! Brokers of one cluster that are killed, frozen, stopped, cut off from each other, robbed of their disks and moved about, under foreign
//! producers that wait for acks=all and readers that commit, with three replicas of everything: nothing that was acknowledged is lost,
//! repeated, reordered or changed, no committed offset and no end of a partition goes back, the cluster is whole again after each fault,
//! and at the end all replicas have the same bytes.
//!
//! `CAIRN_FAILOVER_SECONDS` is how long the faults of a case go on (default 60), `CAIRN_FAILOVER_RATE` the records a second of each
//! producer, `CAIRN_FAILOVER_BROKERS` how many brokers (default 3), `CAIRN_FAILOVER_FAULTS` the faults instead of a case's own, by their
//! names with commas between. `tests/suites/failover` runs all of it for as long as it is told to.

mod memory;
mod scene;

use std::process::ExitCode;

use cairn_tests::broker::Kind;
use cairn_tests::clients::{Client, Console};
use cairn_tests::cluster::{Disks, Fault};
use cairn_tests::report::{Suite, Verdict};
use cairn_tests::traffic::Traffic;
use cairn_tests::wire::{Enclosed, enclose};

use crate::scene::{Course, Network, Scene};

fn main() -> ExitCode {
    let suite = Suite::new("failover");
    let (kind, enclosed) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            suite.fail("nothing to judge", &error);
            return suite.close();
        }
    };
    let missing = Traffic::missing().or_else(|| Console.missing());
    for scene in scenes().map(|scene| scene.with(&kind)) {
        suite.case(scene.name, || match missing.clone().or_else(|| scene.missing(&enclosed)) {
            Some(missing) => Ok(Verdict::Skipped(missing)),
            None => scene.play(&kind).map(Verdict::Passed),
        });
    }
    suite.case("memory", || match missing.clone().or_else(|| memory::missing(&kind)) {
        Some(missing) => Ok(Verdict::Skipped(missing)),
        None => memory::stays_flat(&kind).map(Verdict::Passed),
    });
    suite.close()
}

/// What needs a real network comes first: there is none where the process goes on.
fn prepare() -> anyhow::Result<(Kind, Enclosed)> {
    let kind = Kind::from_environment()?;
    // It fetches what it can; what is missing then is told by the cases.
    drop(Console.missing());
    let binary = cairn_tests::broker::binary()?;
    Ok((kind, enclose(&[("CAIRN_BIN", binary.as_os_str())])?))
}

fn scenes() -> [Scene; 3] {
    let more = [&Fault::PROCESSES[..], &Fault::NETWORK, &Fault::DISKS, &[Fault::SegmentLost]];
    let scene = |name, faults, course, network, disks| Scene { name, faults, course, network, disks };
    [
        scene("processes", Fault::PROCESSES.to_vec(), Course::Drawn, Network::Loopback, Disks::Shared),
        scene("hosts", more.concat(), Course::Drawn, Network::Hosts, Disks::Own),
        scene("replaced", vec![Fault::Replaced, Fault::KillAll], Course::Told, Network::Loopback, Disks::Shared),
    ]
}
