use super::*;

fn held(text: &str) -> Held {
    Held::first(text.into(), false)
}

#[test]
fn a_change_counts_up_and_remembers_what_was_before() {
    let one = held("one");
    let two = one.changed("two".into(), false, false);
    assert_eq!((one.revision.counter, two.revision.counter), (1, 2));
    assert!(two.lineage.contains(&one.revision) && !one.lineage.contains(&two.revision));
}

#[test]
fn a_blank_box_has_no_forebears_when_it_is_filled() {
    let blank = Held::first(String::new(), true);
    assert_eq!(blank.revision.counter, 0);
    assert_eq!(blank.changed("one".into(), false, false), held("one"));
    let filled = blank.replaced(&held("two").document(), false);
    assert_eq!(filled, held("two"));
}

#[test]
fn a_lineage_is_bounded_and_the_oldest_are_forgotten() {
    let mut one = held("0");
    let first = one.revision;
    for n in 1..=300 {
        one = one.changed(n.to_string(), false, false);
    }
    assert_eq!(one.lineage.iter().len(), Lineage::MAX);
    let counters: Vec<u64> = one.lineage.iter().map(|revision| revision.counter).collect();
    assert_eq!((counters[0], counters[255]), (300, 45));
    assert!(!one.lineage.contains(&Revision { counter: 2, ..first }));
}

#[test]
fn what_was_changed_off_duty_stays_so_until_it_is_settled() {
    let one = held("one").changed("two".into(), false, true);
    assert!(one.off_duty && one.changed("three".into(), false, false).off_duty);
    assert!(!one.preferred_to(held("x").revision).off_duty);
    assert!(!one.replaced(&held("x").document(), false).off_duty);
}

#[test]
fn a_hash_is_read_as_it_is_shown() {
    let hash = Hash::of(b"");
    assert_eq!(hash.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(Hash::from_hex(&hash.to_string()), Some(hash));
    assert_eq!(hash.word(), 0xe3b0_c442_98fc_1c14);
    assert_eq!((Hash::from_hex("e3"), Hash::from_hex(&"g".repeat(64))), (None, None));
    assert_eq!(Hash::from_hex(&"é".repeat(32)), None);
}
