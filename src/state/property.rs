//! What must hold for whatever the state file holds.

#![expect(clippy::missing_panics_doc, reason = "a property that is broken panics")]

use std::time::Duration;

use super::begin::{Beginning, Ending, Found, Host, State, begin};
use super::file::{decode, encode, sealed};
use crate::history::WINDOWS;
use crate::supervisor::{Moment, Start};

/// In 2027.
const NOW: Duration = Duration::from_hours(500_000);

/// The state between the version and the checksum, which the property adds, as nobody finds it by
/// chance: a run begins with whatever it is, and what was read is read back.
pub fn state(text: &[u8]) {
    // Without its checksum it is as good as torn.
    assert!(decode(text).is_err());
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(state) = decode(&sealed(text)) else { return };
    let written = encode(&state);
    let again = decode(&written).expect("we have written it");
    // The parser of numbers may be off in the last of seventeen digits.
    assert_eq!(
        (&again.run, &again.boot_id, again.ending, &again.forward),
        (&state.run, &state.boot_id, state.ending, &state.forward)
    );

    for host in hosts() {
        let beginning = begin(&Found::State(state.clone()), &host);
        assert_fits(&beginning, &state, &host);
    }
}

/// One that was up all the time, one that has booted, and one with a clock that is not set.
fn hosts() -> [Host; 3] {
    let host = |boot_id: &str, wall: Duration, uptime: u64| Host {
        now: Moment::ZERO,
        boot_id: Some(boot_id.to_owned()),
        booted: wall.checked_sub(Duration::from_secs(uptime)),
        wall,
        uptime: Duration::from_secs(uptime),
    };
    [host("a", NOW, 5000), host("b", NOW, 42), host("c", Duration::from_secs(50), 42)]
}

fn assert_fits(beginning: &Beginning, last: &State, host: &Host) {
    let booted = last.boot_id.is_some() && last.boot_id != host.boot_id;
    let possible: &[Start] = match (last.ending, booted) {
        (Ending::Stopping | Ending::Stopped, false) => &[Start::Clean],
        (Ending::Stopping | Ending::Stopped, true) => &[Start::Reboot],
        (Ending::Running, false) => &[Start::Crash],
        (Ending::Running, true) => &[Start::Moved, Start::PowerCycle],
    };
    assert!(possible.contains(&beginning.start), "{:?} {last:?}", beginning.start);
    assert_eq!(beginning.forward, last.forward);
    let tally = &beginning.tally;
    let outage = tally.outage().expect("a run begins with an outage");
    let later = Moment::ZERO + Duration::from_hours(24 * 366);
    assert!(outage.until(later) >= beginning.gap.unwrap_or_default().min(outage.earlier));
    for window in WINDOWS {
        let share = beginning.history.share(host.wall, *window);
        assert!(share.ratio().is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
    }
    let (sums, sums_later) = (tally.sums(host.now), tally.sums(later));
    assert!(sums_later.up >= sums.up && sums_later.down(outage.cause) >= sums.down(outage.cause));
}
