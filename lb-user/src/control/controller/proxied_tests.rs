//! Services in the mode `mqtt`: the same controller, and nothing of them in the tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use super::{stage::*, *};
use crate::control::{error::Blame, rebalance::RebalanceOrder, report::BackendState};

/// An address that nobody else uses: all of 127.0.0.0/8 is this host's.
fn loopback() -> IpAddr {
    let [b, c, d] = std::array::from_fn(|_| fastrand::u8(1..255));
    Ipv4Addr::new(127, b, c, d).into()
}

fn services(vip: IpAddr, mode: &str) -> String {
    format!(
        "
  - name: mqtt
    vip: {vip}
    port: 1883
    mode: {mode}
    health: {{ type: none }}
    backends:
      - {{ name: b1, address: 10.0.1.1 }}
      - {{ name: b2, address: 10.0.1.2 }}
"
    )
}

fn listens(vip: IpAddr) -> bool {
    TcpListener::bind(SocketAddr::new(vip, 1883)).is_err()
}

#[tokio::test]
async fn the_data_plane_hears_nothing_of_a_service_in_userspace() {
    let (dir, vip) = (tempfile::tempdir().unwrap(), loopback());
    write(dir.path(), &services(vip, "mqtt"));
    let (mut controller, tables) = fresh(dir.path());
    assert!(listens(vip));
    controller.drain("mqtt", "b1", true).unwrap();
    {
        let tables = tables.lock().unwrap();
        assert!(tables.services.is_empty() && tables.backends.is_empty());
        assert!(tables.owners.is_empty() && tables.peers.is_empty());
    }
    let states = |controller: &Controller| {
        ["b1", "b2"].map(|name| controller.backend("mqtt", name).unwrap().state)
    };
    assert_eq!(states(&controller), [BackendState::Drained, BackendState::Active]);
    let ids =
        |controller: &Controller| ["b1", "b2"].map(|b| controller.backend("mqtt", b).unwrap().id);
    let before = ids(&controller);
    drop(controller);

    // What another controller takes over, it knows by the same numbers.
    let mut controller = start(dir.path(), &tables, Origin::TakenOver).unwrap();
    assert_eq!((ids(&controller), states(&controller)[0]), (before, BackendState::Drained));
    controller.remove_backend("mqtt", "b1").unwrap();
    assert!(controller.backend("mqtt", "b1").is_err());
    assert!(tables.lock().unwrap().backends.is_empty());
}

#[tokio::test]
async fn a_service_that_changes_its_mode_is_taken_off_the_data_plane_and_put_back() {
    let (dir, vip) = (tempfile::tempdir().unwrap(), IpAddr::from([192, 0, 2, 10]));
    write(dir.path(), &services(vip, "nat"));
    let (mut controller, tables) = fresh(dir.path());
    let forwarded = |expected: usize| {
        let tables = tables.lock().unwrap();
        assert_eq!((tables.services.len(), tables.owners.len()), (expected, expected));
        assert_eq!(tables.backends.len(), 2 * expected);
    };
    forwarded(1);
    for (mode, expected) in [("mqtt", 0), ("nat", 1), ("mqtt", 0)] {
        write(dir.path(), &services(vip, mode));
        controller.reload(false).unwrap();
        forwarded(expected);
        assert_eq!(controller.backend("mqtt", "b2").unwrap().state, BackendState::Active);
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_listened_at_changes_nothing() {
    let (dir, vip, taken) = (tempfile::tempdir().unwrap(), loopback(), loopback());
    write(dir.path(), &services(vip, "mqtt"));
    let (mut controller, _tables) = fresh(dir.path());
    let _other = TcpListener::bind(SocketAddr::new(taken, 1883)).unwrap();
    write(dir.path(), &services(taken, "mqtt"));
    let error = controller.reload(false).unwrap_err();
    assert_eq!(error.blame(), Blame::Conflict);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert!(error.hint().contains("another program"), "{}", error.hint());
    assert!(listens(vip));
    assert_eq!(controller.config().services[0].vip, vip);
}

#[tokio::test]
async fn a_service_whose_routes_name_backends_has_no_shares_to_move_connections_by() {
    let (dir, vip) = (tempfile::tempdir().unwrap(), loopback());
    let with = |routes: &str| {
        let mode = format!("mqtt\n    mqtt: {{ tls_passthrough: {routes} }}");
        write(dir.path(), &services(vip, &mode));
    };
    with("[{}]");
    let (mut controller, _tables) = fresh(dir.path());
    let order = RebalanceOrder { dry_run: true, ..RebalanceOrder::default() };
    controller.rebalance("mqtt", order).unwrap();
    with("[{ backends: [b1, b2] }]");
    controller.reload(false).unwrap();
    let error = controller.rebalance("mqtt", order).unwrap_err();
    assert_eq!(error.blame(), Blame::Conflict);
    assert!(error.hint().contains("drain"), "{}", error.hint());
}
