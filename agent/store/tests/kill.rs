//! A cut in a process of its own, killed by the system. A binary of its own, since a fork holds the file locks of all
//! threads until its exec.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "shared with the other tests of cuts")]
#[path = "cut/lab.rs"]
mod lab;

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use store::{CutOrder, Host, Layout, Store};

use self::lab::{FILE, Fake, Lab};

/// Names the store and the step at which the child of the next test stops.
const CHILD: &str = "STORE_TEST_CHILD";

#[test]
fn a_cut_killed_by_the_system_is_finished_to_the_same_tree() {
    let to = Lab::new().records[8];
    let whole = Lab::new();
    let host = Fake::new();
    let store = whole.on(&host);
    store.cut(&store.lock().unwrap(), &whole.order(to)).unwrap();
    let steps = host.steps().len();
    for stops_before in [2, 5, steps / 2, steps - 2] {
        let lab = Lab::new();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_of_the_kill_test",
                "--ignored",
                "--nocapture",
            ])
            .env(
                CHILD,
                format!("{} {to} {stops_before}", lab.layout.root.display()),
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Ends without that line if the child ends, so this cannot wait for ever.
        let reached = lines
            .map(Result::unwrap)
            .any(|line| line.contains("REACHED"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(reached, "step {stops_before} of {steps}");
        let store = lab.store();
        store.resume_cut(&store.lock().unwrap()).unwrap().unwrap();
        assert_eq!(
            lab.sums(),
            whole.sums(),
            "killed at step {stops_before} of {steps}"
        );
    }
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn child_of_the_kill_test() {
    struct Stop {
        left: AtomicUsize,
    }
    impl Host for Stop {
        fn free_bytes(&self, _: &Path) -> io::Result<u64> {
            Ok(u64::MAX)
        }
        fn step(&self, _: &str, _: &Path) -> io::Result<()> {
            if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
                println!("REACHED");
                // Wait to be killed; give up if nobody does.
                std::thread::sleep(Duration::from_secs(60));
            }
            Ok(())
        }
    }
    let Ok(orders) = std::env::var(CHILD) else {
        return;
    };
    let [root, to, stops_before] = orders.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{orders}");
    };
    let layout = Layout::new(Path::new(root), FILE, 200);
    let left = AtomicUsize::new(stops_before.parse().unwrap());
    let store = Store::open_on(layout, Arc::new(Stop { left })).unwrap();
    let order = CutOrder {
        to: to.parse().unwrap(),
        epoch: 9,
        why: "longer than the group's log".to_owned(),
        lost_and_found: store.lost_and_found(),
    };
    let _ = store.cut(&store.lock().unwrap(), &order);
}
