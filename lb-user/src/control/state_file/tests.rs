use lb_common::{
    addr::Addr,
    affinity::Affinity,
    backend::{
        Backend,
        backend_flags::{FORWARD, PRESENT},
    },
    hash::Seed,
    service::{Service, ServiceKey},
    settings::Settings,
};

use super::*;
use crate::control::{
    desired::Endpoint,
    members::{Health, Standing},
    record::{TablesRecord, seed_from_text, seed_to_text},
    tables::{Broker, Tables},
};

fn tables() -> (Tables, Health) {
    let mut tables = Tables {
        settings: Some(Settings {
            first_port: 15_000,
            ports: 1000,
            sources_v4: 1,
            ..Settings::default()
        }),
        sources: vec![Addr::v4([10, 0, 0, 2])],
        ..Tables::default()
    };
    tables.next.backend = 9;
    let key = ServiceKey::tcp(Addr::v4([192, 0, 2, 1]), 1883u16.to_be_bytes());
    let affinity = Affinity::client(120);
    let service = Service {
        key,
        id: 4,
        idle_ticks: 0,
        mode: 0,
        flags: 0,
        pad: [0; 6],
        affinity,
        hash_key: Seed::default(),
    };
    tables.services.insert(key, service);
    let broker = Endpoint { address: Addr::v4([10, 0, 1, 1]), port: 1883 };
    for (id, flags) in [(7, PRESENT | FORWARD), (8, PRESENT)] {
        let (address, port) = (broker.address, broker.port.to_be_bytes());
        let backend = Backend { address, port, flags, service: 4, first_peer: 64, pad: 0 };
        tables.backends.insert(id, backend);
    }
    tables.brokers.insert(broker, Broker { first_peer: 64, idle_since: None });
    tables.peers = tables.peers_of_brokers();
    let mut health = Health::default();
    health.set(7, Standing::Down { since: 12 });
    health.set(8, Standing::Unproven);
    (tables, health)
}

fn record() -> Record {
    let (tables, health) = tables();
    Record {
        version: VERSION,
        seed: Some(seed_to_text(Seed(1, u64::MAX))),
        tables: TablesRecord::new(&tables, &health),
        ..Record::default()
    }
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFile::open(&dir.path().join("made/at/first/use")).unwrap();
    assert_eq!(state.load().unwrap(), None);
    state.commit(&record()).unwrap();
    let read = state.load().unwrap().unwrap();
    assert_eq!(read, record());
    assert_eq!(read.tables.restore(0), tables());
    assert_eq!(seed_from_text(&read.seed.unwrap()), Some(Seed(1, u64::MAX)));
}

#[test]
fn nobody_else_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    StateFile::open(dir.path()).unwrap().commit(&record()).unwrap();
    let mode = fs::metadata(dir.path().join(STATE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_was_announced_counts_until_it_is_reached_or_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFile::open(dir.path()).unwrap();
    let next = Record { seed: None, ..record() };
    state.commit(&record()).unwrap();
    state.announce(&next).unwrap();
    assert_eq!(state.load_unfinished().unwrap(), Some(next.clone()));
    assert_eq!(state.load().unwrap(), Some(record()));
    state.withdraw().unwrap();
    assert_eq!(state.load_unfinished().unwrap(), Some(record()));
    state.announce(&next).unwrap();
    state.commit(&next).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_broken_file_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFile::open(dir.path()).unwrap();
    for text in ["", "{", r#"{"version": 2}"#, r#"{"version": 2, "what": 2}"#] {
        fs::write(dir.path().join(STATE), text).unwrap();
        let error = state.load().unwrap_err();
        assert!(matches!(error, StateError::Corrupt { .. }), "{text}");
        assert!(error.hint().contains("mqlb detach"));
    }
}

#[test]
fn another_version_is_refused_whatever_it_looks_like() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFile::open(dir.path()).unwrap();
    fs::write(dir.path().join(STATE), r#"{"version": 3, "new": []}"#).unwrap();
    assert!(matches!(state.load(), Err(StateError::Version { found: 3, .. })));
}

#[test]
fn a_seed_is_32_digits() {
    assert_eq!(seed_from_text("+0000000000000000000000000000001"), None);
    assert_eq!(seed_from_text("1"), None);
    assert_eq!(seed_from_text(&format!("{:032x}", 3)), Some(Seed(0, 3)));
}
