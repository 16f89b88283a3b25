//! A busy listen port never stops the healing, and is taken as soon as it is free. Many scrapes at
//! once are answered, and delay nothing.

use std::time::Duration;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::lateness::Lateness;
use crate::support::time::Witness;
use crate::support::{Config, World, get};

#[test]
fn a_second_instance_on_the_same_listen_port_heals_all_the_same() {
    let (world, elsewhere, listen) = (World::new(), World::new(), free_port());
    let mut first = world.run(&Config::script("exec sleep 1000").listen(listen));
    first.wait_state("healthy");
    let port = free_port();
    let second = elsewhere.run(&Config::demo(port).listen(listen));
    second.expect_errors();

    second.wait_said(&[&listen.to_string(), &format!("pid {}", first.pid())]);
    served_by(&second, port);
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    second.wait_restarts("signal", 1);
    second.wait_state("healthy");

    first.stop();
    second.wait("it serves on the port", || {
        get(listen, "/metrics").is_ok_and(|page| page.body.contains("reason=\"signal\"} 1"))
    });
}

#[test]
fn a_hundred_scrapes_at_once_are_all_answered_and_the_loop_stays_on_time() {
    const ROUNDS: usize = 5;
    let (world, port, listen) = (World::new(), free_port(), free_port());
    // Many turns, so that the 99th of a hundred is not the worst of all.
    let config = Config::demo(port)
        .listen(listen)
        .with("probe.liveness.period = \"10ms\"\nprobe.liveness.failure_threshold = 1000");
    let rekindle = world.run(&config);
    let child = served_by(&rekindle, port);
    rekindle.wait_said(&["it has settled"]);
    let before = Lateness::of(&rekindle);
    let witness = Witness::start();

    let scrape = |_| {
        let pages = (0..ROUNDS).map(|_| get(listen, "/metrics").expect("an answer"));
        pages.filter(|page| page.status == 200 && page.body.contains("rekindle_build_info")).count()
    };
    let answered: usize = std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..100).map(|n| scope.spawn(move || scrape(n))).collect();
        scrapers.into_iter().map(|scraper| scraper.join().expect("it asks")).sum()
    });

    let (late, machine) = (Lateness::of(&rekindle).since(&before), witness.lateness());
    assert_eq!(answered, 100 * ROUNDS, "{}", rekindle.story());
    let most = Duration::from_millis(10) + machine.allowance();
    assert!(late.keeps(most), "{late:?}, {machine:?}");
    assert_eq!((served_by(&rekindle, port), rekindle.all_restarts()), (child, 0));
}
