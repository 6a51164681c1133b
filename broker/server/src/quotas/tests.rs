use std::sync::Arc;

use cairn_metadata::QuotaValue;

use super::*;

const WINDOWS: Windows = Windows { count: 11, length: Duration::from_secs(1) };

/// Quotas of client ids; `*` is the default.
fn quotas(all: &[(&str, Kind, f64)]) -> Arc<Quotas> {
    let quotas = Arc::new(Quotas::new(WINDOWS, WINDOWS));
    set(&quotas, all);
    quotas
}

fn set(quotas: &Quotas, all: &[(&str, Kind, f64)]) {
    let mut map = BTreeMap::<QuotaEntity, cairn_metadata::Quotas>::new();
    for (client, kind, value) in all {
        let name = Some(*client).filter(|client| *client != "*").map(Into::into);
        let of_client = map.entry(QuotaEntity::from([(CLIENT_ID.into(), name)])).or_default();
        of_client.insert(kind.name().into(), QuotaValue::new(*value).unwrap());
    }
    quotas.update(&map);
}

#[test]
fn clients_are_held_to_their_own_limits() {
    let quotas = quotas(&[("*", Kind::Produce, 100.0), ("big", Kind::Produce, 1_000.0)]);
    let now = Instant::now();
    assert_eq!(quotas.on_produced("a", 2_000, now).millis(), 10_000);
    assert_eq!(quotas.on_produced("b", 1_000, now), Throttle::NONE, "each has the default for itself");
    assert_eq!(quotas.on_produced("big", 10_500, now).millis(), 500);
    assert_eq!(quotas.on_produced("", 1 << 30, now), Throttle::NONE, "a client without a name has no quota");
    assert_eq!(quotas.on_request("a", Duration::from_secs(9), now), Throttle::NONE, "no quota of this kind");
}

#[test]
fn no_quota_costs_and_keeps_nothing() {
    let quotas = quotas(&[]);
    let now = Instant::now();
    assert!(!quotas.has_any() && Kind::ALL.iter().all(|kind| !quotas.has(*kind)));
    assert_eq!(quotas.on_produced("a", usize::MAX, now), Throttle::NONE);
    assert_eq!(quotas.most_fetched("a"), None);
    assert_eq!(quotas.on_connection("10.0.0.1".parse().unwrap(), UNLIMITED, now), Admission::Now);
    assert!(quotas.rates.iter().all(|sensors| sensors.lock().len() == 0) && quotas.addresses.lock().len() == 0);
}

#[test]
fn a_changed_quota_holds_at_once_for_what_was_used() {
    let quotas = quotas(&[("*", Kind::Produce, 1_000.0)]);
    let now = Instant::now();
    assert_eq!(quotas.on_produced("a", 5_000, now), Throttle::NONE);
    set(&quotas, &[("a", Kind::Produce, 100.0)]);
    assert_eq!(quotas.on_produced("a", 0, now).millis(), 40_000);
    set(&quotas, &[]);
    assert_eq!(quotas.on_produced("a", 1 << 30, now), Throttle::NONE);
    set(&quotas, &[("a", Kind::Produce, 100.0)]);
    assert_eq!(quotas.on_produced("a", 1_000, now), Throttle::NONE, "forgotten meanwhile");
}

#[test]
fn what_is_not_fetched_does_not_count() {
    let quotas = quotas(&[("a", Kind::Fetch, 100.0)]);
    let now = Instant::now();
    assert_eq!(quotas.most_fetched("a"), Some(1_000));
    assert_eq!(quotas.on_fetched("a", 600, Throttle::NONE, now), Throttle::NONE);
    for _ in 0..3 {
        assert_eq!(quotas.on_fetched("a", 600, Throttle::NONE, now).millis(), 2_000, "held back, and not counted");
    }
    assert_eq!(quotas.on_fetched("a", 400, Throttle::NONE, now), Throttle::NONE);
    assert_eq!(quotas.on_fetched("a", 0, Throttle::from_millis(7), now).millis(), 7);
}

#[test]
fn a_batch_larger_than_all_windows_is_given_to_who_fetched_nothing() {
    let quotas = quotas(&[("a", Kind::Fetch, 100.0)]);
    let now = Instant::now();
    assert_eq!(quotas.on_fetched("a", 5_000, Throttle::NONE, now), Throttle::NONE);
    assert_eq!(quotas.on_fetched("a", 1, Throttle::NONE, now).millis(), 40_010);
    let held = quotas.on_fetched("a", 5_000, Throttle::from_millis(7), now + WINDOWS.span());
    assert_eq!(held.millis(), 7, "not while another quota holds it back");
    assert_eq!(quotas.on_fetched("a", 5_000, Throttle::NONE, now + WINDOWS.span()), Throttle::NONE);
}

#[test]
fn request_time_is_a_part_of_one_thread_and_no_wait_is_longer_than_a_window() {
    let quotas = quotas(&[("a", Kind::Request, 10.0)]);
    let now = Instant::now();
    assert_eq!(quotas.on_request("a", Duration::from_millis(1_000), now), Throttle::NONE);
    assert_eq!(quotas.on_request("a", Duration::from_millis(50), now).millis(), 500);
    assert_eq!(quotas.on_request("a", Duration::from_secs(50), now).millis(), 1_000);
}

#[test]
fn mutations_are_refused_or_paid_by_waiting() {
    let quotas = quotas(&[("*", Kind::ControllerMutation, 2.0)]);
    let now = Instant::now();
    let mut strict = Mutations::new(&quotas, Some("a"), Enforcement::Strict);
    assert_eq!(strict.take(30, now), Ok(()), "a burst is taken whole");
    assert_eq!(strict.throttle(now), Throttle::NONE);
    let exceeded = QuotaExceeded(Throttle::from_millis(4_000));
    assert_eq!(strict.take(1, now), Err(exceeded));
    assert_eq!(strict.take(1, now), Err(exceeded), "what is refused does not count");
    assert_eq!(strict.throttle(now + Duration::from_millis(500)).millis(), 3_500);
    assert_eq!(strict.throttle(now + Duration::from_secs(9)), Throttle::NONE);

    let mut permissive = Mutations::new(&quotas, Some("a"), Enforcement::Permissive);
    assert_eq!(permissive.take(2, now), Ok(()));
    assert_eq!(permissive.throttle(now).millis(), 5_000);
    let mut other = Mutations::new(&quotas, Some("b"), Enforcement::Strict);
    assert_eq!(other.take(1, now), Ok(()), "each has the default for itself");
}

#[test]
fn the_quota_of_a_host_is_in_force_once_its_address_is_known() {
    let quotas = Quotas::new(WINDOWS, WINDOWS);
    let rate = cairn_metadata::Quotas::from([(CONNECTION_CREATION_RATE.into(), QuotaValue::new(0.1).unwrap())]);
    let of = |ip: &str| QuotaEntity::from([(IP.into(), Some(ip.into()))]);
    let map = BTreeMap::from([(of("a.host"), rate.clone()), (of("10.0.0.9"), rate)]);
    quotas.update(&map);
    assert_eq!(quotas.unknown_hosts(), ["a.host".into()]);
    let (ip, now): (IpAddr, _) = ("10.0.0.1".parse().unwrap(), Instant::now());
    for _ in 0..10 {
        assert_eq!(quotas.on_connection(ip, UNLIMITED, now), Admission::Now);
    }
    quotas.on_host("a.host", ip);
    assert!(quotas.unknown_hosts().is_empty());
    assert_eq!(quotas.on_connection(ip, UNLIMITED, now), Admission::Now);
    assert_eq!(quotas.on_connection(ip, UNLIMITED, now), Admission::RefusedAfter(Duration::from_secs(1)));
    // It stays known as long as a quota names it.
    quotas.update(&map);
    assert!(quotas.unknown_hosts().is_empty());
    quotas.update(&BTreeMap::new());
    quotas.update(&map);
    assert_eq!(quotas.unknown_hosts(), ["a.host".into()]);
}

#[test]
fn connections_are_held_to_the_rate_of_their_address_and_of_the_broker() {
    let quotas = Quotas::new(WINDOWS, WINDOWS);
    let rate = cairn_metadata::Quotas::from([(CONNECTION_CREATION_RATE.into(), QuotaValue::new(1.0).unwrap())]);
    quotas.update(&BTreeMap::from([(QuotaEntity::from([(IP.into(), Some("10.0.0.1".into()))]), rate)]));
    let now = Instant::now();
    let (limited, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    for _ in 0..10 {
        assert_eq!(quotas.on_connection(limited, UNLIMITED, now), Admission::Now);
    }
    let second = Duration::from_secs(1);
    assert_eq!(quotas.on_connection(limited, UNLIMITED, now), Admission::RefusedAfter(second));
    assert_eq!(
        quotas.on_connection(limited, UNLIMITED, now),
        Admission::RefusedAfter(second),
        "refused ones do not count"
    );
    assert_eq!(quotas.on_connection(limited, UNLIMITED, now + 11 * second), Admission::Now);
    for _ in 0..10 {
        assert_eq!(quotas.on_connection(other, 1, now), Admission::Now);
    }
    assert_eq!(quotas.on_connection(other, 1, now), Admission::After(second));
}
