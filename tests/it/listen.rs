//! A busy listen port never stops the healing, and is taken as soon as it is free.

use crate::crash::served_by;
use crate::support::http::free_port;
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
