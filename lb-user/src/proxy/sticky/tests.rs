use std::{collections::VecDeque, fs, os::unix::fs::PermissionsExt};

use proptest::prelude::*;

use super::{file::StickyFileError, *};

const HOUR: Lifetime = Lifetime::from_interval(3600);
const A: &str = "10.0.1.1:1883";
const B: &str = "10.0.1.2:1883";

fn table(entries: u32) -> Sticky {
    Sticky::new(Limits { entries, id_bytes: 1000 })
}

fn ids(table: &Sticky) -> Vec<&str> {
    table.entries().map(|entry| entry.client_id).collect()
}

#[test]
fn a_client_returns_to_the_broker_that_has_its_session() {
    let mut table = table(10);
    table.opened("c1", A, HOUR, WhenAway::ComeBack);
    table.opened("c2", B, HOUR, WhenAway::ComeBack);
    assert_eq!(table.home("c1", 0), Some(A));
    assert_eq!(table.home("c2", 0), Some(B));
    assert_eq!(table.home("c3", 0), None);
    assert_eq!(table.brokers().collect::<Vec<_>>(), [(A, 1), (B, 1)]);
}

#[test]
fn a_session_expires_after_its_interval_but_not_while_its_connection_is_open() {
    let mut table = table(10);
    table.opened("c", A, HOUR, WhenAway::ComeBack);
    assert_eq!(table.home("c", 1_000_000), Some(A));
    table.closed("c", None, 1_000_000);
    assert_eq!(table.home("c", 1_003_599), Some(A));
    assert_eq!(table.home("c", 1_003_600), None);
    assert!(table.is_empty());
    table.opened("c", A, Lifetime::UNLIMITED, WhenAway::ComeBack);
    table.closed("c", None, 1);
    assert_eq!(table.home("c", u32::MAX - 2), Some(A));
    assert_eq!(table.entries().next().unwrap().ends, Ends::Never);
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_remembered() {
    let mut table = table(10);
    table.opened("c", A, Lifetime::CONNECTION, WhenAway::ComeBack);
    assert!(table.is_empty());
    table.opened("c", A, HOUR, WhenAway::ComeBack);
    table.opened("c", B, Lifetime::CONNECTION, WhenAway::ComeBack);
    assert!(table.is_empty(), "it took the place of the one before");
    table.opened("c", A, HOUR, WhenAway::ComeBack);
    table.closed("c", Some(Lifetime::CONNECTION), 5);
    assert!(table.is_empty(), "DISCONNECT changed it");
    table.opened("", A, HOUR, WhenAway::ComeBack);
    assert!(table.is_empty(), "no identifier, no session to return to");
}

#[test]
fn who_was_led_elsewhere_comes_back_or_stays() {
    let mut table = table(10);
    table.opened("c", A, HOUR, WhenAway::ComeBack);
    table.opened("c", B, HOUR, WhenAway::ComeBack);
    assert_eq!(table.home("c", 0), Some(A));
    table.opened("c", B, HOUR, WhenAway::Stay);
    assert_eq!(table.home("c", 0), Some(B));
    assert_eq!(table.brokers().collect::<Vec<_>>(), [(B, 1)]);
}

#[test]
fn the_longest_unused_makes_room() {
    let mut table = table(3);
    for id in ["a", "b", "c", "a", "d"] {
        table.opened(id, A, HOUR, WhenAway::ComeBack);
    }
    assert_eq!(ids(&table), ["d", "a", "c"]);
    assert_eq!(table.evicted(), 1);
    let long = "x".repeat(999);
    table.opened(&long, A, HOUR, WhenAway::ComeBack);
    assert_eq!(ids(&table), [long.as_str(), "d"], "bytes are limited, too");
    table.opened(&"y".repeat(1001), A, HOUR, WhenAway::ComeBack);
    assert_eq!(table.len(), 2, "what can never fit drives nobody out");
}

#[test]
fn entries_are_cleared_by_what_they_are() {
    let mut table = table(10);
    for (id, broker) in [("x/1", A), ("x/2", B), ("y/1", A)] {
        table.opened(id, broker, HOUR, WhenAway::ComeBack);
    }
    assert_eq!(table.clear(|entry| entry.broker == A && entry.client_id.starts_with("x/")), 1);
    assert!(table.forget("y/1") && !table.forget("y/1"));
    assert_eq!(ids(&table), ["x/2"]);
    table.closed("x/2", None, 100);
    bytes_at(&mut table, 3699);
    let before = table.len();
    bytes_at(&mut table, 3700);
    assert_eq!(before - table.len(), 1);
}

#[test]
fn a_table_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.sticky");
    let limits = Limits { entries: 10, id_bytes: 1000 };
    assert!(file::load(&path, limits, 0).unwrap().is_empty());
    let mut table = Sticky::new(limits);
    for (id, broker, lifetime) in
        [("gone", A, HOUR), ("open", B, HOUR), ("ever", A, Lifetime::UNLIMITED), ("over", B, HOUR)]
    {
        table.opened(id, broker, lifetime, WhenAway::ComeBack);
    }
    table.closed("gone", None, 1000);
    table.closed("ever", None, 1000);
    table.closed("over", None, 10);
    file::save(&path, &bytes(&mut table)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut read = file::load(&path, limits, 4000).unwrap();
    let all: Vec<_> = read.entries().map(|one| (one.client_id, one.broker, one.ends)).collect();
    assert_eq!(
        all,
        [("ever", A, Ends::Never), ("open", B, Ends::At(7600)), ("gone", A, Ends::At(4600))]
    );
    assert_eq!(read.home("open", 7600), None);
    let narrow = file::load(&path, Limits { entries: 1, ..limits }, 4000).unwrap();
    assert_eq!(ids(&narrow), ["ever"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_in_the_way_of_no_other_whatever_services_are_called() {
    let dir = tempfile::tempdir().unwrap();
    let tables = ["sessions-a", "sessions-a.new", "sessions-.a", "sessions-.a.new"];
    let limits = Limits { entries: 10, id_bytes: 1000 };
    let paths = tables.map(|name| dir.path().join(name));
    for path in &paths {
        let mut table = Sticky::new(limits);
        table.opened(path.to_str().unwrap(), A, HOUR, WhenAway::ComeBack);
        // Half-written, as after a crash.
        fs::write(file::unfinished(path), b"half").unwrap();
        file::save(path, &bytes(&mut table)).unwrap();
    }
    for path in &paths {
        assert_eq!(ids(&file::load(path, limits, 0).unwrap()), [path.to_str().unwrap()]);
    }
}

#[test]
fn a_file_that_was_cut_off_or_changed_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.sticky");
    let limits = Limits { entries: 10, id_bytes: 1000 };
    let mut table = Sticky::new(limits);
    table.opened("c", A, HOUR, WhenAway::ComeBack);
    let bytes = bytes(&mut table);
    for length in 0..bytes.len() {
        assert!(Sticky::from_bytes(&bytes[..length], limits, 0).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Sticky::from_bytes(&changed, limits, 0).is_err(), "byte {at}");
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = file::load(&path, limits, 0).unwrap_err();
    assert!(matches!(error, StickyFileError::Content { error: SnapshotError::Checksum, .. }));
    assert!(error.hint().contains("remove it"));
    // A right checksum over nonsense.
    let body = [&b"mqlb-sticky-1\n"[..], &[0xff; 8]].concat();
    let forged = [&body[..], &crc32c::crc32c(&body).to_be_bytes()].concat();
    let error = Sticky::from_bytes(&forged, limits, 0).unwrap_err();
    assert_eq!(error, SnapshotError::Malformed);
}

/// The table as bytes, three slots at a time.
fn bytes_at(table: &mut Sticky, now: u32) -> Vec<u8> {
    let mut snapshot = Snapshot::default();
    while snapshot.take(table, 3, now) {}
    snapshot.into_bytes()
}

fn bytes(table: &mut Sticky) -> Vec<u8> {
    bytes_at(table, 0)
}

#[test]
fn a_snapshot_is_taken_piece_by_piece_while_the_table_changes() {
    let mut table = table(100);
    for number in 0..20 {
        table.opened(&format!("c{number}"), A, HOUR, WhenAway::Stay);
    }
    let mut snapshot = Snapshot::default();
    assert!(snapshot.take(&mut table, 10, 0));
    // Of those that were taken, and of those that were not: forgotten, moved, used; and a new one.
    for gone in ["c1", "c11"] {
        table.forget(gone);
    }
    for moved in ["c2", "c12"] {
        table.opened(moved, B, HOUR, WhenAway::Stay);
    }
    table.opened("new", B, HOUR, WhenAway::Stay);
    table.opened("newer", B, HOUR, WhenAway::Stay);
    assert!(snapshot.take(&mut table, 9, 0));
    assert!(!snapshot.take(&mut table, 9, 0), "that was all");
    let limits = table.limits;
    let mut read = Sticky::from_bytes(&snapshot.into_bytes(), limits, 0).unwrap();
    for number in (0..20).filter(|number| ![1, 2, 11, 12].contains(number)) {
        assert_eq!(read.home(&format!("c{number}"), 1), Some(A), "{number}");
    }
    assert_eq!(read.home("c2", 1), Some(A), "as it was");
    assert_eq!(read.home("c12", 1), Some(B), "as it is");
    assert_eq!(read.home("c11", 1), None);
    // The next one has everything.
    let again = Sticky::from_bytes(&bytes(&mut table), limits, 0).unwrap();
    assert_eq!(ids(&again), ids(&table));
}

#[test]
fn the_order_of_their_use_is_kept_when_the_count_of_uses_begins_anew() {
    let mut table = table(100);
    table.recency.set_uses(u32::MAX - 2);
    for number in 0..6 {
        table.opened(&format!("c{number}"), A, HOUR, WhenAway::Stay);
    }
    table.opened("c1", A, HOUR, WhenAway::Stay);
    let again = Sticky::from_bytes(&bytes(&mut table), table.limits, 0).unwrap();
    assert_eq!(ids(&again), ids(&table));
}

/// The same table, simple and slow: identifiers with their brokers, the last used at the end.
#[derive(Default)]
struct Model(VecDeque<(String, String)>);

impl Model {
    fn opened(&mut self, id: &str, broker: &str, away: WhenAway, limit: usize) {
        let known = self.0.iter().position(|one| one.0 == id);
        let old = known.and_then(|at| self.0.remove(at)).map(|one| one.1);
        let home = old.filter(|_| away == WhenAway::ComeBack).unwrap_or_else(|| broker.into());
        if self.0.len() == limit {
            self.0.pop_front();
        }
        self.0.push_back((id.into(), home));
    }
}

proptest! {
    #[test]
    fn it_remembers_what_a_simple_model_remembers(
        steps in proptest::collection::vec((0u8..4, 0u8..12, 0u8..3, any::<bool>()), 0..200),
    ) {
        let mut table = table(8);
        let mut model = Model::default();
        for (kind, id, broker, comes_back) in steps {
            let (id, broker) = (format!("c{id}"), format!("b{broker}"));
            let away = if comes_back { WhenAway::ComeBack } else { WhenAway::Stay };
            if kind == 0 {
                let at = model.0.iter().position(|one| one.0 == id);
                prop_assert_eq!(table.forget(&id), at.is_some());
                at.and_then(|at| model.0.remove(at));
            } else {
                table.opened(&id, &broker, HOUR, away);
                model.opened(&id, &broker, away, 8);
            }
            let have = table.entries().map(|one| (one.client_id.to_owned(), one.broker.to_owned()));
            let want: Vec<_> = model.0.iter().rev().cloned().collect();
            prop_assert_eq!(have.collect::<Vec<_>>(), want);
            let again = Sticky::from_bytes(&bytes(&mut table), table.limits, 0).unwrap();
            prop_assert_eq!(ids(&again), ids(&table));
            let counted: u32 = table.brokers().map(|(_, entries)| entries).sum();
            prop_assert_eq!(counted as usize, table.len());
        }
    }
}

/// Bytes that are allocated from the heap in this process.
fn allocated() -> usize {
    // SAFETY: mallinfo2 takes no pointer and only reads the allocator's own counts.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn bytes_of_an_entry() {
    const ENTRIES: u32 = 1_000_000;
    let mut table = Sticky::new(Limits { entries: ENTRIES, id_bytes: usize::MAX });
    let before = allocated();
    for number in 0..ENTRIES {
        table.opened(&format!("device-{number:016}"), A, HOUR, WhenAway::ComeBack);
    }
    let bytes = (allocated() - before) / ENTRIES as usize;
    println!("{bytes} bytes for each of {} entries", table.len());
    assert!(bytes < 120);
}
