//! Everything within the bounds that fit into a minute on one core. Larger ones: `cargo model`.
#![allow(clippy::print_stdout)]

use model::{Bounds, walk};

fn everything_holds(bounds: Bounds) {
    let found = walk::walk(bounds).expect("the core takes the timing of the model");
    println!("{found}");
    assert!(found.broken.is_empty(), "{found}");
    assert!(found.unmet.is_empty(), "{found}");
}

#[test]
fn two_members_one_fault() {
    everything_holds(Bounds {
        members: 2,
        faults: 1,
        terms: 3,
        blank: false,
    });
}

#[test]
fn two_members_one_fault_while_the_group_is_founded() {
    everything_holds(Bounds {
        members: 2,
        faults: 1,
        terms: 3,
        blank: true,
    });
}

#[test]
fn three_members_one_fault() {
    everything_holds(Bounds {
        members: 3,
        faults: 1,
        terms: 3,
        blank: false,
    });
}
