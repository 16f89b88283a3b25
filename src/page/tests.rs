use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::history::History;
use crate::incident::{End, Incident, PortHolder, Step};
use crate::metrics::Metrics;
use crate::report::tests::service;
use crate::status::{Answer, LastExit, Shared, Status};
use crate::supervisor::{Exit, Fact, Incarnation, Moment, State};
use crate::tally::Tally;

const WALL: Duration = Duration::from_hours(500_000);

const HOSTILE: &str = "</p><script>alert(\"1\")</script>\n\r&'<img src=x onerror=alert(1)>";

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

/// A service that is up since 60 s after its start.
fn up() -> Status {
    let mut status = (*Shared::new(Clock::start(), "gateway").status()).clone();
    status.tally = Tally::new(Moment::ZERO);
    status.tally.fact(at(60), &Fact::Healthy { id: Incarnation(1), settles: false });
    Status { state: State::Healthy, since: at(60), ready: true, attempt: 1, ..status }
}

/// The same after a crash at 11,580 s.
fn down(state: State) -> Status {
    let mut status = up();
    let exit = Fact::Exited { id: Incarnation(1), exit: Exit::Code(1), expected: false };
    status.tally.fact(at(11_580), &exit);
    status.last_exit = Some(LastExit { at: at(11_580), how: "code 1".to_owned(), code: 1 });
    Status { state, since: at(11_580), ready: false, attempt: 3, ..status }
}

fn view(now: u64, statuses: impl IntoIterator<Item = Status>) -> View {
    let shared = Shared::new(Clock::start(), "gateway");
    let metrics = Metrics::new(&service());
    let services = statuses.into_iter().map(|status| {
        let (incident, incidents) = (status.incident.clone(), Arc::clone(&status.incidents));
        shared.publish(status);
        shared.show_incidents(incident, incidents);
        View::of(&shared, &metrics).services.remove(0)
    });
    let services = services.collect();
    View { now: at(now), wall: WALL, services, ..View::of(&shared, &metrics) }
}

fn part(view: &View, id: &str) -> String {
    parts(view).into_iter().find(|part| part.id == id).expect("a part").html
}

/// An outage with a long timeline and everything that may come from outside.
fn incident(text: &str) -> Incident {
    let step =
        |after_seconds| Step { after_seconds, what: text.to_owned(), detail: text.to_owned() };
    Incident {
        id: "20270115T080000Z-3f9a".to_owned(),
        cause: text.to_owned(),
        summary: text.to_owned(),
        began: text.to_owned(),
        detected_after_seconds: 0.6,
        end: Some(End { how: text.to_owned(), at: text.to_owned(), after_seconds: 4.2 }),
        port_holder: Some(PortHolder { pid: 4711, name: text.to_owned() }),
        timeline: (0..1000).map(|number| step(f64::from(number) - 2.0)).collect(),
        output: text.to_owned(),
        ..Incident::default()
    }
}

/// As full as it can be, of `text` wherever others may have written it.
fn full(text: &str) -> View {
    let mut status = down(State::SlowRetry);
    status.service = text.to_owned();
    status.summary = text.to_owned();
    status.last_exit = Some(LastExit { at: at(1), how: text.to_owned(), code: 1 });
    status.incident = Some(Arc::new(incident(text)));
    status.incidents = (0..100).map(|_| Arc::new(incident(text))).collect();
    for role in ["startup", "liveness", "readiness"] {
        let (detail, took) = (text.to_owned(), Duration::from_millis(1));
        let answer =
            Answer { at: at(1), result: "timeout", detail, took, failures: 3, passed: None };
        status.probes.insert(role, answer);
    }
    let mut view = view(12_000, [status]);
    let mut history = History::default();
    let month = Duration::from_hours(30 * 24);
    history.add(WALL.saturating_sub(month), WALL, month / 2, month / 2);
    view.services[0].history = history;
    view.services[0].power_cycle = Some((WALL, Some(Duration::from_secs(41))));
    view.services[0].drill = Some((WALL, true));
    view.live = Err(text.to_owned());
    view.warnings = vec![text.to_owned(); 2];
    view
}

#[test]
fn it_says_what_is_since_when_and_what_comes_next() {
    let healthy = view(11_580, [up()]);
    assert_eq!(part(&healthy, "s0-word"), "Healthy");
    let since = "<time datetime=\"2027-01-15T04:48:00Z\">2027-01-15 04:48:00 UTC</time>";
    assert_eq!(part(&healthy, "s0-next"), format!("for <b>3 h 12 min</b>, since {since}"));
    let next_attempt = Some(at(11_596));
    let broken = view(11_594, [Status { next_attempt, ..down(State::Backoff) }]);
    assert_eq!(part(&broken, "s0-word"), "Down: crash");
    let next = part(&broken, "s0-next");
    assert!(next.starts_with("for <b>14 s</b>, since "), "{next}");
    let ends = "<br>Next: an attempt in <b>2 s</b>; 3 attempts so far";
    assert!(next.ends_with(ends), "{next}");
    assert_eq!(part(&broken, "title"), "Down: crash – gateway – Rekindle");
}

#[test]
fn every_state_has_a_word_that_lasts_as_long_as_it_does() {
    for state in State::ALL.iter().copied() {
        for status in [Status { state, ..up() }, down(state)] {
            let word = |now| part(&view(now, [status.clone()]), "s0-word");
            assert!(!word(12_000).is_empty(), "{state}");
            assert_eq!(word(12_000), word(99_000), "{state}");
        }
    }
}

#[test]
fn shape_title_and_icon_tell_states_apart_without_colour() {
    let views = [up(), Status { state: State::Stopped, ..up() }, down(State::Backoff)]
        .map(|status| view(12_000, [status]));
    let mut boot = up();
    boot.tally = Tally::new(Moment::ZERO);
    let boot = view(12_000, [Status { state: State::Starting, ..boot }]);
    for id in ["s0-mark", "icon", "title", "s0-word"] {
        let seen: BTreeSet<_> = views.iter().chain([&boot]).map(|view| part(view, id)).collect();
        assert_eq!(seen.len(), 4, "{id}: {seen:?}");
    }
}

#[test]
fn it_is_an_alert_only_when_somebody_has_to_do_something() {
    for state in State::ALL.iter().copied() {
        let alert = part(&view(12_000, [down(state)]), "s0-alert");
        assert_eq!(alert.is_empty(), state != State::SlowRetry, "{state}: {alert}");
    }
    let stuck = "the supervision loop is 11 s late".to_owned();
    let stuck = View { live: Err(stuck), ..view(12_000, [up()]) };
    assert_eq!(part(&stuck, "s0-word"), "Unknown: Rekindle is stuck");
    let alert = part(&stuck, "s0-alert");
    assert!(alert.starts_with("the supervision loop is 11 s late: what stands here is old"));
}

#[test]
fn text_from_outside_is_shown_and_not_obeyed() {
    let view = full(HOSTILE);
    let document = document(&view);
    assert_eq!(document.matches("<script").count(), 1);
    assert!(!document.contains("<img") && !document.contains("\"1\""), "{document}");
    assert!(document.contains("&lt;script&gt;alert(&quot;1&quot;)"));
    for part in parts(&view) {
        assert!(!part.html.contains(['\n', '\r']), "an event is a line: {}", part.id);
    }
}

#[test]
fn the_fullest_page_stays_below_sixty_kilobytes() {
    let longest = "\"".repeat(10_000);
    let document = document(&full(&longest));
    assert!(document.len() < 60_000, "{} bytes", document.len());
    let usual = super::document(&view(12_000, [up()]));
    assert!(usual.len() < 20_000, "{} bytes", usual.len());
}

#[test]
fn every_part_has_its_one_element() {
    let views = [view(12_000, [up()]), full("x"), view(12_000, [up(), down(State::Backoff)])];
    for view in views {
        let document = document(&view);
        for part in parts(&view) {
            let count = document.matches(&format!(" id=\"{}\"", part.id)).count();
            assert_eq!(count, 1, "{}", part.id);
            if !part.html.is_empty() && part.id != "page" {
                assert!(document.contains(&part.html), "{}: {}", part.id, part.html);
            }
        }
    }
}

#[test]
fn of_several_services_the_worst_one_is_in_the_title() {
    let other = Status { service: "other".to_owned(), ..down(State::Backoff) };
    let view = view(12_000, [up(), other]);
    assert_eq!(part(&view, "title"), "Down: crash – other – Rekindle");
    let document = document(&view);
    assert_eq!(document.matches("<section").count(), 2);
    assert!(document.contains("<h1 id=\"s1\">other</h1>"));
}

#[test]
fn it_is_well_formed_and_says_what_screen_readers_need() {
    let document = document(&full("x"));
    let body = &document[document.find("<body>").unwrap()..document.find("<script>").unwrap()];
    let mut open = Vec::new();
    for tag in body.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).expect("a tag has a name");
        match tag {
            _ if ["br", "meta"].contains(&name) || tag.ends_with('/') => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "</{name}>"),
            _ => open.push(name),
        }
        assert!(name != "th" || tag.starts_with('/') || tag.contains("scope="), "{tag}");
        assert!(name != "time" || tag.starts_with('/') || tag.contains("datetime="), "{tag}");
        assert!(!tag.contains("style="), "the policy forbids it: {tag}");
    }
    assert_eq!(open, ["body"]);
    assert_eq!(body.matches("role=\"status\"").count(), 1);
    assert_eq!(body.matches("role=\"img\" aria-label=\"").count(), 2);
    assert!(document.contains("<html lang=\"en\""));
    assert!(STYLE.contains("prefers-reduced-motion"));
}

#[test]
fn a_long_timeline_is_cut_in_its_middle() {
    let incident = part(&full("x"), "s0-incident");
    assert_eq!(incident.matches("<li>").count(), 21);
    assert!(incident.contains("<span>−2.0 s</span>"), "{incident}");
    assert!(incident.contains("… 980 more"), "{incident}");
    assert!(incident.contains("its port is held by pid 4711 (x)"), "{incident}");
    assert_eq!(part(&full("x"), "s0-past").matches("<tr>").count(), 11);
}

#[test]
fn power_cycle_and_drill_are_held_against_the_objective() {
    let mut view = full("x");
    let objective = |view: &mut View, seconds| {
        let service = &mut view.services[0];
        service.status = Arc::new(Status { objective: Some(Duration::from_secs(seconds)), ..up() });
    };
    objective(&mut view, 60);
    let facts = part(&view, "s0-facts");
    assert!(facts.contains("healthy 41 s after the host booted, within the objective of 1 min"));
    assert!(facts.contains("healed within the objective of 1 min"), "{facts}");
    objective(&mut view, 40);
    assert!(part(&view, "s0-facts").contains("beyond the objective of 40 s"));
}

/// SHA-256 in Base64, as a content security policy wants it.
fn hash(text: &str) -> String {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("a suite of TLS 1.3");
    base64(suite.common.hash_provider.hash(text.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = (at(0) << 16) | (at(1) << 8) | at(2);
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
        }
        text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    text
}

#[test]
fn the_policy_allows_this_style_and_this_script_and_nothing_else() {
    assert_eq!(base64(b"ab"), "YWI=");
    assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
        let rule = format!("{kind}-src 'sha256-{}';", hash(text));
        assert!(POLICY.contains(&rule), "write {rule} into POLICY");
    }
    assert!(POLICY.starts_with("default-src 'none'; "));
}

/// The colours of the palette: name, light, dark.
fn palette() -> Vec<(&'static str, [u32; 2])> {
    let colour = |text: &str| u32::from_str_radix(text.trim_start_matches('#'), 16).unwrap();
    let lines = STYLE
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--")?.split_once(": light-dark("));
    let pair = |colours: &str| {
        let (light, dark) = colours.trim_end_matches(");").split_once(", ").unwrap();
        [colour(light), colour(dark)]
    };
    lines.map(|(name, colours)| (name, pair(colours))).collect()
}

/// As WCAG 2 has it.
fn contrast(one: u32, other: u32) -> f64 {
    let luminance = |colour: u32| {
        let channel = |shift: u32| {
            let value = f64::from((colour >> shift) & 0xff) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

#[test]
fn every_text_stands_out_on_every_ground_in_light_and_dark() {
    assert!((contrast(0, 0x00ff_ffff) - 21.0).abs() < 0.01);
    let palette = palette();
    let is_ground = |name: &&str| ["ground", "card"].contains(name);
    let (grounds, rest): (Vec<_>, Vec<_>) = palette.iter().partition(|(name, _)| is_ground(name));
    assert_eq!((grounds.len(), rest.len()), (2, 8), "{palette:?}");
    for (name, colours) in rest.iter().filter(|(name, _)| *name != "line") {
        for (ground, behind) in &grounds {
            for scheme in [0, 1] {
                let contrast = contrast(colours[scheme], behind[scheme]);
                assert!(contrast >= 4.5, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}
